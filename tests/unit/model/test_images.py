"""What an image is called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altiplano.model import images
from altiplano.model.images import BadReference, Defaults, Form, LocalReference, RegistryReference, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("group/tool", "docker.io/group/tool:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/tool", "localhost/tool:latest"),
        ("host:5000/tool", "host:5000/tool:latest"),
        ("HOST.example/tool:V1", "host.example/tool:V1"),
        ("docker://127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/tool", "[::1]:5000/tool:latest"),
        (f"host.example/tool@{DIGEST}", f"host.example/tool@{DIGEST}"),
        (f"host:443/tool:1@{DIGEST}", f"host:443/tool:1@{DIGEST}"),
        ("a__b/c.d-e--f", "docker.io/a__b/c.d-e--f:latest"),
        ("oci:/images/root:el6", "oci:/images/root:el6"),
        (f"oci:/images/root@{DIGEST}", f"oci:/images/root@{DIGEST}"),
        ("docker-archive:/x/y.tar:host:5000/tool:1", "docker-archive:/x/y.tar:host:5000/tool:1"),
        ("oci-archive:/x/y.tar", "oci-archive:/x/y.tar"),
        ("/images/root/", "/images/root"),
        ("/images/a:b.tar", "/images/a:b.tar"),
    ],
)
def test_a_reference_is_completed_and_its_text_leads_to_the_same(text: str, full: str) -> None:
    found = parse(text)
    assert str(found) == full
    assert parse(full, Defaults(host=None)) == found


def test_parts_are_told_apart() -> None:
    assert parse(f"host:5000/group/tool:1@{DIGEST}") == RegistryReference(
        host="host:5000", repository="group/tool", tag="1", digest=images.Digest(DIGEST)
    )
    assert parse("docker-archive:/x/y.tar:tool:1") == LocalReference(
        form=Form.DOCKER_ARCHIVE, path="/x/y.tar", name="tool:1"
    )


def test_short_names_go_to_the_default_registry_or_are_refused_where_there_is_none() -> None:
    ours = Defaults(host="registry.example", tag="stable")
    assert str(parse("tool", ours)) == "registry.example/tool:stable"
    with pytest.raises(BadReference, match="names no registry"):
        parse("tool", Defaults(host=None))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 4096 characters"),
        ("x" * 5000, "1 to 4096 characters"),
        (" tool", "spaces"),
        ("tool\n", "cannot be printed"),
        ("Tool", "lower case"),
        ("host.example/Tool", "lower case"),
        ("tool:", "tag"),
        ("tool:.x", "tag"),
        ("tool:" + "x" * 129, "tag"),
        ("tool@sha256:abc", "no digest"),
        ("tool@md5:" + "0" * 32, "no digest"),
        ("tool@" + DIGEST.upper(), "no digest"),
        ("a//b", "no name of a repository"),
        ("a/../b", "no name of a repository"),
        ("host:0/tool", "no host"),
        ("host:99999/tool", "no host"),
        ("host:5000/", "names no repository"),
        ("ho_st.example/tool", "no host"),
        ("user@host/tool", "no digest"),
        ("https://host/tool", "no "),
        ("x" * 256, "more than 255"),
        ("oci:relative", "absolute"),
        ("oci:/a/../b", "plain"),
        ("/", "root directory"),
        ("tool%2f..", "no name of a repository"),
        ("töol", "no name of a repository"),
        ("tool:١", "tag"),
    ],
)
def test_what_names_no_image_is_refused_with_the_rule(text: str, why: str) -> None:
    with pytest.raises(BadReference, match=re.escape(why)):
        parse(text)


@given(st.one_of(st.text(max_size=60), st.text(alphabet="ab:/@.-_[]0159A%\\ \t\0", max_size=40)))
def test_any_text_is_a_reference_or_is_refused_and_a_reference_is_safe_in_an_address(text: str) -> None:
    try:
        found = parse(text)
    except BadReference:
        return
    assert parse(str(found), Defaults(host=None)) == found
    if isinstance(found, RegistryReference):
        assert re.fullmatch(r"[a-z0-9._/-]+", found.repository)
        assert ".." not in found.repository.split("/")
        assert re.fullmatch(r"[a-z0-9.\[\]:-]+", found.host)
    else:
        assert found.path.startswith("/")
        assert ".." not in found.path.split("/")


def test_machines_have_the_names_that_images_use() -> None:
    assert str(images.platform_of("x86_64")) == "linux/amd64"
    assert str(images.platform_of("aarch64")) == "linux/arm64/v8"
    assert str(images.platform_of("strange")) == "linux/strange"
