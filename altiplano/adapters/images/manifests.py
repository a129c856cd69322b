"""What registries and archives say about images, read strictly.  Pure.

Three documents: an *index* lists manifests by platform, a *manifest* lists a configuration and layers, and the
*configuration* tells how to run the image and which digests its layers have when unpacked.  A digest names the
exact bytes of each, so one digest pins all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from altiplano.model.images import BadReference, Digest, Platform, digest
from altiplano.ports.images import Bounds, ImageConfig, ImageRefused

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
INDICES: Final = (OCI_INDEX, DOCKER_LIST)

NAME_ANNOTATION: Final = "org.opencontainers.image.ref.name"
T = TypeVar("T")

INDEX_DEPTH_MAX: Final = 3
"""An index may list indices."""

LAYER_TYPES: Final = frozenset(
    (
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    )
)


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str | None = None


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """Names some bytes elsewhere: their digest and how many they are."""

    digest: str
    size: int
    media_type: str = ""
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, rename="camel"):
    manifests: list[Descriptor]
    media_type: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = ""


ABSENT: Final = msgspec.Raw(b"null")


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    """Enough to tell the documents apart."""

    media_type: str = ""
    schema_version: int = 0
    manifests: msgspec.Raw = ABSENT
    layers: msgspec.Raw = ABSENT


class _Run(msgspec.Struct, frozen=True, rename="pascal"):
    user: str | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str | None = None
    stop_signal: str | None = None
    volumes: dict[str, msgspec.Raw] | None = None
    labels: dict[str, str] | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str]
    type: str = "layers"


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFs
    os: str = ""
    architecture: str = ""
    config: _Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How to run an image, and the digests of its layers when unpacked, the lowest first."""

    id: Digest
    config: ImageConfig
    diff_ids: tuple[Digest, ...]


class DockerArchive(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of the `manifest.json` that `docker save` writes."""

    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


def document(raw: bytes, what: str, media_type: str = "") -> Index | Manifest:
    """An index or a manifest; `media_type` as it was announced, for documents that do not say themselves."""
    kind = _decoded(raw, _Kind, what)
    stated = kind.media_type or media_type.partition(";")[0].strip()
    if kind.schema_version == 1:
        raise ImageRefused(
            f"{what} is in Docker's first format, which has no digests; push it with a tool of this decade."
        )
    # A document that could be read as both is the classic way to show one image and run another.
    if (kind.manifests == ABSENT) == (kind.layers == ABSENT):
        raise ImageRefused(f"{what} must list either manifests or layers; its type is {stated!r:.100}.")
    is_index = kind.manifests != ABSENT
    if stated in ACCEPTED and (stated in INDICES) is not is_index:
        raise ImageRefused(f"{what} says that it is {stated!r:.100}, and is not.")
    return _decoded(raw, Index, what) if is_index else _decoded(raw, Manifest, what)


def choose(index: Index, platform: Platform, what: str) -> Descriptor:
    """The manifest for this machine: the exact variant, else one that names none, else a lower one of arm64."""
    candidates = [
        one
        for one in index.manifests
        if one.platform is None
        or (one.platform.os, one.platform.architecture) == (platform.system, platform.architecture)
        if one.media_type in ("", *ACCEPTED)
    ]
    named = [one for one in candidates if one.platform is not None]
    for wanted in (platform.variant, None, ""):
        for one in named:
            if one.platform is not None and one.platform.variant == wanted:
                return one
    if named and platform.variant is None:
        return named[0]
    if len(index.manifests) == 1 and candidates:
        return candidates[0]
    there = sorted(
        "/".join(filter(None, (one.platform.os, one.platform.architecture, one.platform.variant)))
        for one in index.manifests
        if one.platform is not None and one.platform.os != "unknown"
    )
    raise ImageRefused(f"{what} has nothing for {platform}; it is made for {', '.join(there) or 'no named platform'}.")


def named(index: Index, name: str | None, what: str) -> Descriptor:
    """The manifest of an OCI layout that carries a name; without one, the only manifest there."""
    if name is None:
        if len(index.manifests) == 1:
            return index.manifests[0]
        names = _names(index)
        raise ImageRefused(f"{what} holds {len(index.manifests)} images; add one of these names: {names}.")
    found = [one for one in index.manifests if (one.annotations or {}).get(NAME_ANNOTATION) == name]
    if not found:
        raise ImageRefused(f"{what} has no image named {name!r:.120}; it holds: {_names(index) or 'none with a name'}.")
    return found[0]


def check(manifest: Manifest, bounds: Bounds, what: str) -> None:
    """Refuse what a pull may not begin with."""
    if len(manifest.layers) > bounds.layers_max:
        raise ImageRefused(f"{what} has {len(manifest.layers)} layers, at most {bounds.layers_max} are allowed.")
    total = 0
    for layer in manifest.layers:
        if layer.media_type and layer.media_type not in LAYER_TYPES:
            raise ImageRefused(
                f"{what} is no image of a file system: it has a layer of type {layer.media_type!r:.120}."
            )
        check_descriptor(layer, what)
        total += layer.size
    if total > bounds.download_bytes_max:
        raise ImageRefused(f"{what} has {total} bytes to download, at most {bounds.download_bytes_max} are allowed.")
    check_descriptor(manifest.config, what)
    if manifest.config.size > bounds.manifest_bytes_max:
        raise ImageRefused(
            f"The configuration of {what} has {manifest.config.size} bytes, "
            f"at most {bounds.manifest_bytes_max} are read."
        )


def check_descriptor(descriptor: Descriptor, what: str) -> Digest:
    try:
        named = digest(descriptor.digest)
    except BadReference as error:
        raise ImageRefused(f"{what} names {descriptor.digest!r:.100}: {error}") from None
    if descriptor.size < 0:
        raise ImageRefused(f"{what} names {descriptor.digest} with {descriptor.size} bytes.")
    return named


def configuration(raw: bytes, platform: Platform, what: str) -> Configuration:
    """Read a configuration, and refuse one for another kind of machine."""
    config = _decoded(raw, _Config, what)
    if config.os and config.os != platform.system:
        raise ImageRefused(f"{what} is for {config.os!r:.40}, and this machine runs {platform.system}.")
    if config.architecture and config.architecture != platform.architecture:
        raise ImageRefused(f"{what} is for {config.architecture!r:.40}, and this machine is {platform.architecture}.")
    try:
        diff_ids = tuple(digest(text) for text in config.rootfs.diff_ids)
    except BadReference as error:
        raise ImageRefused(f"{what} does not name its layers rightly: {error}") from None
    run = config.config or _Run()
    return Configuration(id=digest_of(raw), diff_ids=diff_ids, config=_image_config(run, what))


def match_layers(count: int, config: Configuration, what: str) -> None:
    if not count:
        raise ImageRefused(f"{what} has no layers: there is nothing in it to run.")
    if count != len(config.diff_ids):
        raise ImageRefused(f"{what} has {count} layers, and its configuration names {len(config.diff_ids)}.")


def docker_archive(raw: bytes, name: str | None, what: str) -> DockerArchive:
    """The image of a `docker save` archive that carries a name; without one, the only image there."""
    images = _decoded(raw, list[DockerArchive], what)
    if name is None:
        if len(images) == 1:
            return images[0]
    else:
        wanted = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        for image in images:
            if wanted in (image.repo_tags or ()):
                return image
    names = ", ".join(tag for image in images for tag in image.repo_tags or ()) or "none with a name"
    raise ImageRefused(
        f"{what} holds {len(images)} images, and none is meant by {name!r:.120}; it holds: {names:.500}."
    )


def digest_of(raw: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")


def verified(raw: bytes, wanted: Digest | None, what: str) -> Digest:
    """The digest of some bytes, which is the one wanted."""
    found = digest_of(raw)
    if wanted is not None and found != wanted:
        raise ImageRefused(
            f"{what} should be {wanted}, and what came is {found}: it was changed on the way or at its source."
        )
    return found


def _image_config(run: _Run, what: str) -> ImageConfig:
    environment = []
    for entry in run.env or ():
        key, _, value = entry.partition("=")
        if not key or "\0" in entry:
            raise ImageRefused(f"{what} sets an environment variable without a name: {entry!r:.80}.")
        environment.append((key, value))
    for word in (*(run.entrypoint or ()), *(run.cmd or ()), run.working_dir or "", *(run.volumes or ())):
        if "\0" in word:
            raise ImageRefused(f"{what} has a zero byte in {word!r:.80}.")
    return ImageConfig(
        entrypoint=tuple(run.entrypoint or ()),
        command=tuple(run.cmd or ()),
        environment=tuple(environment),
        user=run.user or "",
        directory=run.working_dir or "",
        stop_signal=run.stop_signal or None,
        volumes=tuple(sorted(run.volumes or ())),
        labels=tuple(sorted((run.labels or {}).items())),
    )


def _names(index: Index) -> str:
    found: Sequence[str] = [(one.annotations or {}).get(NAME_ANNOTATION, "") for one in index.manifests]
    return ", ".join(sorted(filter(None, found)))[:500]


def _decoded(raw: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageRefused(f"{what} cannot be read: {error}.") from error
