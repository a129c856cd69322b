"""The real store and registries that ask, break off, send elsewhere and lie; and images from local files."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from altiplano.adapters.images.manifests import OCI_INDEX
from altiplano.adapters.images.registry import Hosts
from altiplano.adapters.images.store import LocalImages, Settings
from altiplano.adapters.system import SystemClock, SystemIds
from altiplano.model.images import RegistryReference, parse, platform_of
from altiplano.ports.images import Bounds, Credentials, Image, ImageFailed, ImageRefused, Policy
from altiplano.testing import image_files
from altiplano.testing.image_files import BuiltImage, files, index, member
from altiplano.testing.registry import TestRegistry

CONTENT = os.urandom(300_000)
IMAGE = BuiltImage([files({"base": CONTENT}), files({"top": "t"})], run={"Cmd": ["/base"]})
ANA = Credentials(user="ana", password="right")
BOUNDS = Bounds(attempts_max=3, stall_s_max=5)


@pytest.fixture
async def registry() -> AsyncIterator[TestRegistry]:
    async with TestRegistry() as registry:
        registry.publish("group/tool", "1", IMAGE)
        yield registry


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalImages]:
    async with _opened(tmp_path, Settings(bounds=BOUNDS, local_under=(str(tmp_path),))) as store:
        yield store


class _opened:
    def __init__(self, directory: Path, settings: Settings) -> None:
        self.store = LocalImages(str(directory / "store"), settings, clock=SystemClock(), ids=SystemIds())

    async def __aenter__(self) -> LocalImages:
        await self.store.open()
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()


def reference(registry: TestRegistry, text: str = "group/tool:1") -> RegistryReference:
    found = parse(f"{registry.host}/{text}")
    assert isinstance(found, RegistryReference)
    return found


async def pulled(store: LocalImages, registry: TestRegistry, credentials: Credentials | None = None) -> Image:
    image = await store.pull(reference(registry), holder="c", credentials=credentials, policy=Policy.ALWAYS)
    assert Path(image.layers[0], "base").read_bytes() == CONTENT
    return image


async def refused(store: LocalImages, registry: TestRegistry, why: str, credentials: Credentials | None = None) -> None:
    with pytest.raises(ImageRefused, match=why):
        await store.pull(reference(registry), holder="c", credentials=credentials, policy=Policy.ALWAYS)
    assert await store.stored() == []


async def test_an_interrupted_download_goes_on_where_it_broke(store: LocalImages, registry: TestRegistry) -> None:
    registry.faults.cut_after_bytes = 70_000
    await pulled(store, registry)
    assert len(registry.ranges) >= 3
    assert registry.blob_bytes < len(CONTENT) + 50_000


async def test_without_ranges_a_download_that_is_always_cut_fails_with_how_far_it_came(
    store: LocalImages, registry: TestRegistry
) -> None:
    registry.faults.cut_after_bytes, registry.faults.ranges = 70_000, False
    with pytest.raises(ImageFailed, match=r"layer 1 of .* in 3 attempts"):
        await pulled(store, registry)
    registry.faults.cut_after_bytes = None
    await pulled(store, registry)


async def test_a_registry_that_is_busy_is_asked_again(store: LocalImages, registry: TestRegistry) -> None:
    registry.faults.refuse_next, registry.faults.refuse_status, registry.faults.retry_after = 2, 429, "0"
    await pulled(store, registry)


async def test_a_wrong_byte_is_noticed_and_not_believed_twice(store: LocalImages, registry: TestRegistry) -> None:
    registry.faults.corrupt = True
    await refused(store, registry, "what came twice is sha256")


async def test_a_byte_too_many_is_refused(store: LocalImages, registry: TestRegistry) -> None:
    registry.faults.longer = True
    await refused(store, registry, "the registry sends more")


async def test_a_changed_manifest_is_not_the_pinned_one(store: LocalImages, registry: TestRegistry) -> None:
    registry._manifests["group/tool", IMAGE.digest] = IMAGE.manifest + b" ", IMAGE.media_type
    with pytest.raises(ImageRefused, match="changed on the way"):
        await store.pull(reference(registry, f"group/tool@{IMAGE.digest}"), holder="c")


async def test_a_layer_that_is_not_the_configured_one_is_refused(store: LocalImages, registry: TestRegistry) -> None:
    other = BuiltImage([files({"base": "other"}), IMAGE.layers[1]])
    mixed = json.loads(IMAGE.manifest)
    mixed["layers"] = json.loads(other.manifest)["layers"]
    registry.publish("group/tool", "2", other)
    registry.publish_document("group/tool", "1", json.dumps(mixed).encode(), IMAGE.media_type)
    await refused(store, registry, "do not belong together")


async def test_the_password_is_sent_where_it_is_asked_for(store: LocalImages, registry: TestRegistry) -> None:
    registry.users = {"ana": "right"}
    await refused(store, registry, "wants a user and a password")
    await refused(store, registry, "does not let 'ana'", Credentials(user="ana", password="wrong"))
    await pulled(store, registry, ANA)


async def test_tokens_are_had_used_and_had_again(store: LocalImages, registry: TestRegistry) -> None:
    registry.users, registry.tokens = {"ana": "right"}, True
    await refused(store, registry, "does not let anybody in")
    await pulled(store, registry, ANA)
    paths = {path for path, value in registry.authorizations if value.startswith("Basic")}
    assert paths == {"/token"}
    registry.expire_tokens()
    await pulled(store, registry, ANA)


async def test_a_token_is_not_sent_where_a_blob_is_redirected(store: LocalImages, registry: TestRegistry) -> None:
    registry.tokens = True
    async with TestRegistry() as elsewhere:
        elsewhere.publish("x", "1", IMAGE)
        registry.faults.blobs_at = f"http://{elsewhere.host}"
        await pulled(store, registry)
        assert elsewhere.layer_requests() == 2
        assert elsewhere.authorizations == []
        assert registry.authorizations


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://registry.invalid", "not encrypted"),
        ("file:///etc", "no plain http address"),
        ("http://user:password@127.0.0.1:1", "no plain http address"),
        ("http://127.0.0.1:99999", "no address"),
    ],
)
async def test_redirections_that_are_not_followed(
    store: LocalImages, registry: TestRegistry, address: str, why: str
) -> None:
    registry.faults.blobs_at = address
    await refused(store, registry, why)


async def test_endless_redirections_end(store: LocalImages, registry: TestRegistry) -> None:
    registry.faults.blobs_at = f"http://{registry.host}/v2/group/tool"
    await refused(store, registry, "redirected more than 5 times")


async def test_a_password_goes_unencrypted_to_no_other_machine(store: LocalImages, registry: TestRegistry) -> None:
    registry.users = {"ana": "right"}
    registry.faults.challenge = 'Bearer realm="http://token.invalid/token"'
    await refused(store, registry, "unencrypted to token.invalid", ANA)


def test_only_this_machine_and_configured_hosts_are_reached_without_encryption() -> None:
    hosts = Hosts(endpoints={"plain.example": "http://plain.example:5000/"})
    assert hosts.base("127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert hosts.base("[::1]:5000") == "http://[::1]:5000"
    assert hosts.base("localhost") == "http://localhost"
    assert hosts.base("registry.example:5000") == "https://registry.example:5000"
    assert hosts.base("plain.example") == "http://plain.example:5000"
    assert hosts.base("127.0.0.1.example") == "https://127.0.0.1.example"


async def test_an_index_leads_to_the_image_for_this_machine(store: LocalImages, registry: TestRegistry) -> None:
    here = platform_of(os.uname().machine).architecture
    other = BuiltImage([files({"wrong": "x"})], machine="s390x")
    registry.publish("group/tool", "other", other)
    registry.publish_document("group/tool", "1", index({"s390x": other, here: IMAGE}), OCI_INDEX)
    await pulled(store, registry)


async def test_a_pull_has_a_time(tmp_path: Path, registry: TestRegistry) -> None:
    registry.gate = asyncio.Event()
    async with _opened(tmp_path, Settings(bounds=msgspec.structs.replace(BOUNDS, pull_s_max=0.3))) as store:
        with pytest.raises(ImageFailed, match=r"did not come within 0.3 seconds"):
            await pulled(store, registry)
        assert list((tmp_path / "store/incoming").iterdir()) == []


async def test_a_registry_that_falls_silent_is_left(tmp_path: Path, registry: TestRegistry) -> None:
    registry.gate = asyncio.Event()
    bounds = msgspec.structs.replace(BOUNDS, stall_s_max=0.1, attempts_max=2)
    async with _opened(tmp_path, Settings(bounds=bounds)) as store:
        with pytest.raises(ImageFailed, match="nothing came for too long"):
            await pulled(store, registry)


@pytest.mark.parametrize(
    "form",
    [
        "oci:{}/layout:el6",
        "oci-archive:{}/oci.tar:el6",
        "docker-archive:{}/docker.tar:t:el6",
        "{}/oci.tar",
        "{}/layout",
        "{}/docker.tgz",
    ],
)
async def test_local_images_are_used_where_they_lie(tmp_path: Path, store: LocalImages, form: str) -> None:
    image = BuiltImage([files({"base": CONTENT}), files({"top": "t"}), files({"base": CONTENT})])
    image_files.write_layout(str(tmp_path / "layout"), {"el6": image})
    (tmp_path / "oci.tar").write_bytes(image_files.oci_archive({"el6": image}))
    (tmp_path / "docker.tar").write_bytes(image_files.docker_archive({"t:el6": image, "t:other": IMAGE}))
    (tmp_path / "docker.tgz").write_bytes(gzip.compress(image_files.docker_archive({"t:el6": image})))
    found = await store.pull(parse(form.format(tmp_path)), holder="c")
    assert found.id == image.config_digest
    assert Path(found.layers[-1], "base").read_bytes() == CONTENT
    assert list((tmp_path / "store/incoming").iterdir()) == []


async def test_local_images_have_their_own_refusals(tmp_path: Path, store: LocalImages) -> None:
    image_files.write_layout(str(tmp_path / "layout"), {"one": IMAGE, "two": IMAGE})
    (tmp_path / "file").write_bytes(b"no archive")
    (tmp_path / "empty.tar").write_bytes(files({"x": "y"}))
    (tmp_path / "away").symlink_to("/etc")
    for text, why in (
        (f"oci:{tmp_path}/layout", "add one of these names: one, two"),
        (f"oci:{tmp_path}/layout:three", "no image named 'three'"),
        (f"oci:{tmp_path}/missing", "there is no"),
        (f"{tmp_path}/file", "cannot be read"),
        (f"{tmp_path}/empty.tar", "neither an OCI layout nor"),
        (f"oci:{tmp_path}/away", "outside of the directories open to images"),
        ("oci:/etc", "outside of the directories open to images"),
        (f"docker-archive:{tmp_path}/layout", "is a directory"),
    ):
        with pytest.raises(ImageRefused, match=why):
            await store.pull(parse(text), holder="c")


async def test_a_layout_is_not_followed_out_of_its_directory(tmp_path: Path, store: LocalImages) -> None:
    image_files.write_layout(str(tmp_path / "layout"), {"one": IMAGE})
    secret = tmp_path / "secret"
    secret.write_bytes(IMAGE.packed[0])
    blob = tmp_path / "layout/blobs" / image_files.digest_of(IMAGE.packed[0]).replace(":", "/")
    blob.unlink()
    blob.symlink_to(secret)
    with pytest.raises(ImageRefused, match="there is no"):
        await store.pull(parse(f"oci:{tmp_path}/layout"), holder="c")


async def test_a_hostile_layer_is_refused_with_its_number_and_leaves_nothing(
    tmp_path: Path, store: LocalImages, registry: TestRegistry
) -> None:
    evil = BuiltImage([files({"base": "b"}), image_files.layer([member("../../evil", b"x")])])
    registry.publish("group/tool", "1", evil)
    await refused(store, registry, r"layer 2 of .* climbs out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["store", "lock", "layers", "images", "names", "holds", "incoming"]
    )


async def test_a_store_is_closed_to_others(tmp_path: Path, store: LocalImages) -> None:
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
