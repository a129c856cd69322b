"""What registries say, read strictly: manifests, indices, configurations, challenges, tokens."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.adapters.images import challenges, manifests
from altiplano.adapters.images.challenges import Basic, Bearer
from altiplano.model.images import Platform, platform_of
from altiplano.ports.images import Bounds, Credentials, ImageConfig, ImageRefused
from altiplano.testing.image_files import BuiltImage, files, index

HERE = Platform(architecture="arm64", variant="v8")
IMAGE = BuiltImage([files({"a": "a"}), files({"b": "b"})], machine="aarch64")
WHAT = "the image x"


def listed(*names: str) -> manifests.Index:
    found = manifests.document(index({name: BuiltImage([files({"a": name})]) for name in names}), WHAT)
    assert isinstance(found, manifests.Index)
    return found


def test_an_index_gives_the_manifest_of_this_machine() -> None:
    for names, wanted in (
        (("amd64", "arm64/v8", "arm64"), 1),
        (("amd64", "arm64", "arm/v7"), 1),
        (("arm64/v9", "arm64"), 1),
    ):
        found = listed(*names)
        assert manifests.choose(found, HERE, WHAT) is found.manifests[wanted]
    plain = Platform(architecture="riscv64")
    found = listed("riscv64/x")
    assert manifests.choose(found, plain, WHAT) is found.manifests[0]


def test_an_index_without_it_says_what_there_is() -> None:
    with pytest.raises(ImageRefused, match=r"nothing for linux/arm64/v8; it is made for linux/amd64, linux/arm/v7"):
        manifests.choose(listed("arm/v7", "amd64"), HERE, WHAT)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "first format"),
        ({"schemaVersion": 2}, "either manifests or layers"),
        ({"manifests": [], "layers": [], "config": {}}, "either manifests or layers"),
        ({"mediaType": manifests.OCI_INDEX, "layers": [], "config": {"digest": "", "size": 0}}, "and is not"),
        ({"layers": [{"digest": "sha256:x"}], "config": {}}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_documents_that_are_none_are_refused(document: object, why: str) -> None:
    with pytest.raises(ImageRefused, match=why):
        manifests.document(json.dumps(document).encode(), WHAT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "layers",
                        "config",
                        "manifests",
                        "digest",
                        "size",
                        "mediaType",
                        "schemaVersion",
                        "rootfs",
                        "diff_ids",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused(document: object) -> None:
    raw = json.dumps(document).encode()
    for read in (
        lambda: manifests.document(raw, WHAT),
        lambda: manifests.configuration(raw, HERE, WHAT),
        lambda: manifests.docker_archive(raw, None, WHAT),
        lambda: challenges.token(raw, WHAT),
    ):
        with contextlib.suppress(ImageRefused):
            read()


def test_a_manifest_is_held_to_the_bounds_before_anything_is_downloaded() -> None:
    document = manifests.document(IMAGE.manifest, WHAT)
    assert isinstance(document, manifests.Manifest)
    manifests.check(document, Bounds(), WHAT)
    for bounds, why in (
        (Bounds(layers_max=1), "2 layers, at most 1"),
        (Bounds(download_bytes_max=10), "bytes to download, at most 10"),
        (Bounds(manifest_bytes_max=10), "at most 10 are read"),
    ):
        with pytest.raises(ImageRefused, match=why):
            manifests.check(document, bounds, WHAT)


def test_what_is_no_file_system_is_refused() -> None:
    raw = json.loads(IMAGE.manifest)
    raw["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    document = manifests.document(json.dumps(raw).encode(), WHAT)
    assert isinstance(document, manifests.Manifest)
    with pytest.raises(ImageRefused, match="no image of a file system"):
        manifests.check(document, Bounds(), WHAT)


def test_a_configuration_tells_how_to_run_and_which_layers_there_are() -> None:
    run = {
        "Entrypoint": ["/e"],
        "Cmd": None,
        "Env": ["A=b=c", "EMPTY="],
        "User": "ana:physics",
        "WorkingDir": "/home/ana",
        "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}},
        "Labels": {"k": "v"},
    }
    image = BuiltImage([files({"a": "a"})], run=run)
    found = manifests.configuration(image.blobs[image.config_digest], platform_of(image.machine), WHAT)
    assert found.id == image.config_digest
    assert found.config == ImageConfig(
        entrypoint=("/e",),
        environment=(("A", "b=c"), ("EMPTY", "")),
        user="ana:physics",
        directory="/home/ana",
        stop_signal="SIGQUIT",
        volumes=("/data",),
        labels=(("k", "v"),),
    )


def test_an_image_of_another_machine_is_refused() -> None:
    with pytest.raises(ImageRefused, match="for 'arm64', and this machine is amd64"):
        manifests.configuration(IMAGE.blobs[IMAGE.config_digest], platform_of("x86_64"), WHAT)


def test_changed_bytes_are_noticed() -> None:
    with pytest.raises(ImageRefused, match="changed on the way"):
        manifests.verified(IMAGE.manifest + b" ", IMAGE.digest, WHAT)


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        (['Basic realm="x"'], Basic()),
        (["basic"], Basic()),
        (
            ['Bearer realm="https://t/token",service="s",scope="repository:a:pull"'],
            Bearer(realm="https://t/token", service="s"),
        ),
        (['bearer realm="https://t/token"'], Bearer(realm="https://t/token", service=None)),
        (['Basic realm="x", Bearer realm="https://t/token"'], Bearer(realm="https://t/token", service=None)),
        (["Negotiate", 'Basic realm="a \\"quoted\\" one"'], Basic()),
        (['Bearer realm="https://t/token?x=1" , service = s'], Bearer(realm="https://t/token?x=1", service="s")),
    ],
)
def test_challenges_are_read(headers: list[str], challenge: challenges.Challenge) -> None:
    assert challenges.parse(headers, "host") == challenge


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([], "not in a way we understand"),
        (["Negotiate"], "not in a way we understand"),
        (["Bearer"], "no plain http address"),
        (['Bearer realm="file:///etc/passwd"'], "no plain http address"),
        (['Bearer realm="//t/token"'], "no plain http address"),
        (['Bearer realm="https://user:password@t/token"'], "no plain http address"),
        (['Bearer realm="https://t/token#x"'], "no plain http address"),
        (['Bearer realm="https://t/to ken"'], "no plain http address"),
        (['Bearer realm="https://t:99999/"'], "no address"),
        (['Bearer realm="https://t/",realm="https://evil/"'], "twice"),
        (['Bearer realm="https://t/token'], "breaks the rules"),
        (["Bearer realm=https://t/"], "breaks the rules"),
        (['Bearer realm="a";x'], "breaks the rules"),
        (["Basic realm=" + "x" * 5000], "more than 4096"),
    ],
)
def test_challenges_that_break_the_rules_are_refused(headers: list[str], why: str) -> None:
    with pytest.raises(ImageRefused, match=why):
        challenges.parse(headers, "host")


@given(st.lists(st.text(max_size=80) | st.text('Bearealmscop="\\, :/ht.', max_size=60), max_size=3))
def test_any_challenge_is_read_or_refused(headers: list[str]) -> None:
    try:
        found = challenges.parse(headers, "host")
    except ImageRefused:
        return
    assert isinstance(found, Basic) or found.address("a/b").startswith(("http://", "https://"))


def test_the_scope_that_is_asked_for_is_ours() -> None:
    address = Bearer(realm="https://t/token?x=1", service="a&b").address("group/tool")
    assert address == "https://t/token?x=1&service=a%26b&scope=repository%3Agroup%2Ftool%3Apull"


def test_passwords_and_tokens_that_would_break_a_header_are_refused() -> None:
    assert challenges.basic(Credentials(user="u", password="p:w")) == "Basic dTpwOnc="
    for user, password in (("a:b", "p"), ("u", "p\r\nX: y")):
        with pytest.raises(ImageRefused, match="cannot be sent"):
            challenges.basic(Credentials(user=user, password=password))
    assert challenges.token(b'{"access_token": "t", "expires_in": 30}', "t") == ("t", 30.0)
    assert challenges.token(b'{"token": "t", "expires_in": -1}', "t") == ("t", 60.0)
    for raw in (b'{"token": "a\\r\\nb"}', b"{}", b"[]", b"\xff"):
        with pytest.raises(ImageRefused, match="token"):
            challenges.token(raw, "t")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials(user="u", password="secret"))
