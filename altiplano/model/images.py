"""What an image is called, and which machine it is for.

A reference is parsed once, where it comes in; what the parser returns names exactly one place.  Texts:

    busybox                                    on the default registry, tag `latest`
    host:5000/group/name:tag@sha256:…          on a registry; the digest decides, the tag is for readers
    docker://host/name:tag                     the same
    oci:/directory:tag                         an OCI layout
    oci-archive:/file.tar:tag                  a tar file of one
    docker-archive:/file.tar:name:tag          what `docker save` writes
    /directory or /file.tar                    whichever of the three it turns out to be
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NewType

REFERENCE_CHARS_MAX: Final = 4096
"""A path and a name; longer texts are no reference."""

REPOSITORY_CHARS_MAX: Final = 255
"""Rule of the distribution protocol: host and repository together."""

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hexadecimal digits."""

DOCKER_HUB: Final = "docker.io"
"""Where a name without a host is looked for, as every user of `docker run` expects."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::([0-9]{1,5}))?",
    re.ASCII,
)


class BadReference(ValueError):
    """The text names no image; the sentence says which rule it breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a short name is completed with; no host: names must be written in full."""

    host: str | None = DOCKER_HUB
    namespaces: Mapping[str, str] = field(default_factory=lambda: {DOCKER_HUB: "library"})
    """By host: where repositories of one component lie."""
    tag: str = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryReference:
    """An image on a registry.  `host` may carry a port; a digest, where there is one, decides."""

    host: str
    repository: str
    tag: str | None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        assert self.tag is not None or self.digest is not None

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.host}/{self.repository}{tag}{digest}"


class Form(enum.Enum):
    """How a local image lies on disk."""

    LAYOUT = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    ANY = "path"
    """To be found out by looking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReference:
    """An image in a directory or a tar file; no name: the only one there."""

    form: Form
    path: str
    name: str | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        transport = "" if self.form is Form.ANY else f"{self.form.value}:"
        name = "" if self.name is None else f":{self.name}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{transport}{self.path}{name}{digest}"


Reference = RegistryReference | LocalReference

DEFAULTS: Final = Defaults()
_LOCAL_FORMS: Final = {form.value: form for form in Form if form is not Form.ANY}


def digest(text: str) -> Digest:
    """The text as a digest, if it is one."""
    if not _DIGEST.fullmatch(text):
        raise BadReference(f"{text!r:.120} is no digest: write sha256: and 64 digits of 0-9 and a-f.")
    return Digest(text)


def parse(text: str, defaults: Defaults = DEFAULTS) -> Reference:
    """The one image that a text names; `BadReference` says what is wrong with it.

    `str()` of the answer names the same image, whatever the defaults are then.

    >>> str(parse("busybox"))
    'docker.io/library/busybox:latest'
    >>> str(parse("127.0.0.1:5000/tools/root:6"))
    '127.0.0.1:5000/tools/root:6'
    """
    if not text or len(text) > REFERENCE_CHARS_MAX:
        raise BadReference(f"An image's name has 1 to {REFERENCE_CHARS_MAX} characters; this one has {len(text)}.")
    if not text.isprintable() or text != text.strip():
        raise BadReference(f"The image's name {text!r:.120} holds spaces at its ends or signs that cannot be printed.")
    transport, colon, rest = text.partition(":")
    if colon and transport in _LOCAL_FORMS:
        return _local(_LOCAL_FORMS[transport], rest)
    if text.startswith("/"):
        return _local(Form.ANY, text)
    return _registry(text.removeprefix("docker://"), defaults)


def _local(form: Form, rest: str) -> LocalReference:
    if not rest.startswith("/"):
        raise BadReference(f"The path in {form.value}:{rest:.120} must be absolute: it would depend on who looks.")
    pinned: Digest | None = None
    if "@sha256:" in rest:
        rest, _, wanted = rest.rpartition("@")
        pinned = digest(wanted)
    # The path ends at the first colon, as skopeo and podman read it; a name may hold more of them.
    path, _, name = (rest, "", "") if form is Form.ANY else rest.partition(":")
    if "\\" in path or any(part in ("..", ".") for part in path.split("/")):
        raise BadReference(f"The path {path!r:.120} must be plain: without . and .. and backslashes.")
    if path.rstrip("/") == "":
        raise BadReference("The root directory is no image.")
    return LocalReference(form=form, path=path.rstrip("/"), name=name or None, digest=pinned)


def _registry(text: str, defaults: Defaults) -> RegistryReference:
    name, at, wanted = text.partition("@")
    pinned = digest(wanted) if at else None
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise BadReference(
            f"The tag {tag!r:.140} of {text!r:.120} is none: 1 to 128 letters, digits, _ . - and no . or - in front."
        )
    host, repository = _split_host(name, defaults)
    if not repository:
        raise BadReference(f"{text!r:.120} names no repository: write HOST/NAME, as in 127.0.0.1:5000/busybox.")
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            hint = " Names are in lower case." if component != component.lower() else ""
            raise BadReference(
                f"The part {component!r:.120} of {text!r:.120} is no name of a repository: "
                f"a-z and 0-9, with single . or _, two __ or any number of - between them.{hint}"
            )
    if len(host) + 1 + len(repository) > REPOSITORY_CHARS_MAX:
        raise BadReference(f"Host and repository of {text!r:.60}… have more than {REPOSITORY_CHARS_MAX} characters.")
    if tag is None and pinned is None:
        tag = defaults.tag
    return RegistryReference(host=host, repository=repository, tag=tag, digest=pinned)


def _split_tag(name: str) -> tuple[str, str | None]:
    """A colon in the last part begins a tag; one before belongs to a port."""
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return head + slash + last, tag if colon else None


def _split_host(name: str, defaults: Defaults) -> tuple[str, str]:
    """Docker's rule: the first part is a host if it has a dot, a colon or a bracket, or is `localhost`."""
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(sign in first for sign in ".:[") or first != first.lower()):
        host, repository = first.lower(), rest
        match = _HOST.fullmatch(host)
        if match is None or len(host) > REPOSITORY_CHARS_MAX or int(match[1] or "1") not in range(1, 65536):
            raise BadReference(f"{first!r:.120} is no host with or without a port from 1 to 65535.")
    elif defaults.host is None:
        raise BadReference(f"{name!r:.120} names no registry, and none is configured as the default: write HOST/NAME.")
    else:
        host, repository = defaults.host, name
    namespace = defaults.namespaces.get(host)
    if namespace is not None and repository and "/" not in repository:
        repository = f"{namespace}/{repository}"
    return host, repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A machine, in the words that images use."""

    system: str = "linux"
    architecture: str = "amd64"
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(filter(None, (self.system, self.architecture, self.variant)))


_ARCHITECTURES: Final = {
    "x86_64": ("amd64", None),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", None),
    "ppc64le": ("ppc64le", None),
    "riscv64": ("riscv64", None),
    "s390x": ("s390x", None),
}


def platform_of(machine: str) -> Platform:
    """The platform of a machine by what `uname -m` calls it; an unknown one keeps its name."""
    architecture, variant = _ARCHITECTURES.get(machine, (machine, None))
    return Platform(architecture=architecture, variant=variant)
