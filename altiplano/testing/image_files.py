"""Images made by tests: layers, configurations, and the forms in which they travel."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from altiplano.adapters.images.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    NAME_ANNOTATION,
    OCI_INDEX,
    OCI_MANIFEST,
)
from altiplano.model.images import Digest, platform_of

TYPES: Final = {
    False: (
        DOCKER_MANIFEST,
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    True: (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
}


def digest_of(raw: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(raw).hexdigest()}")


def member(
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    target: str = "",
    uid: int = 0,
    gid: int = 0,
    device: tuple[int, int] = (0, 0),
    attributes: Mapping[str, str] | None = None,
    modified_s: float = 1_600_000_000,
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a layer, however strange."""
    info = tarfile.TarInfo(name)
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    info.type, info.mode, info.linkname, info.uid, info.gid, info.mtime = kind, mode, target, uid, gid, modified_s
    info.devmajor, info.devminor = device
    info.pax_headers = dict(attributes or {})
    return info, content


def directory(name: str, mode: int = 0o755, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.DIRTYPE, mode=mode, **more)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, mode=0o777, target=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.LNKTYPE, target=target)


def layer(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A plain tar stream."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def files(content: Mapping[str, str | bytes]) -> bytes:
    """A layer of plain files."""
    return layer(member(name, text.encode() if isinstance(text, str) else text) for name, text in content.items())


@dataclass(slots=True)
class BuiltImage:
    """An image as documents and blobs, all named by their digests."""

    layers: Sequence[bytes]
    """Plain tar streams, the lowest first."""
    run: Mapping[str, Any] = field(default_factory=dict)
    oci: bool = True
    machine: str = field(default_factory=lambda: os.uname().machine)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""

    def __post_init__(self) -> None:
        manifest_type, config_type, layer_type = TYPES[self.oci]
        packed = [gzip.compress(raw, 1, mtime=0) for raw in self.layers]
        config = json.dumps(
            {
                "architecture": platform_of(self.machine).architecture,
                "os": "linux",
                "config": dict(self.run),
                "rootfs": {"type": "layers", "diff_ids": [digest_of(raw) for raw in self.layers]},
            }
        ).encode()
        self.blobs.update((digest_of(raw), raw) for raw in (config, *packed))
        self.config_digest = digest_of(config)
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": descriptor(config, config_type),
                "layers": [descriptor(raw, layer_type) for raw in packed],
            }
        ).encode()
        self.packed = packed
        self.media_type = manifest_type

    config_digest: Digest = field(init=False)
    packed: list[bytes] = field(init=False)
    media_type: str = field(init=False)

    @property
    def digest(self) -> Digest:
        """Of its manifest: what a reference pins."""
        return digest_of(self.manifest)


def descriptor(raw: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(raw), "size": len(raw), **more}


def index(images: Mapping[str, BuiltImage], *, oci: bool = True) -> bytes:
    """An index of images by `architecture` or `architecture/variant`."""
    entries = []
    for name, image in images.items():
        architecture, _, variant = name.partition("/")
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        entries.append(descriptor(image.manifest, image.media_type, platform=platform))
    kind = OCI_INDEX if oci else DOCKER_LIST
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()


def write_layout(path: str, images: Mapping[str, BuiltImage]) -> None:
    """An OCI layout of images by their names."""
    os.makedirs(f"{path}/blobs/sha256")
    for name, content in layout_members(images).items():
        with open(f"{path}/{name}", "wb") as file:
            file.write(content)


def layout_members(images: Mapping[str, BuiltImage]) -> dict[str, bytes]:
    entries = [
        descriptor(image.manifest, image.media_type, annotations={NAME_ANNOTATION: name})
        for name, image in images.items()
    ]
    members = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
    }
    for image in images.values():
        for raw in (image.manifest, *image.blobs.values()):
            members[f"blobs/{digest_of(raw).replace(':', '/')}"] = raw
    return members


def oci_archive(images: Mapping[str, BuiltImage]) -> bytes:
    return files(layout_members(images))


def docker_archive(images: Mapping[str, BuiltImage]) -> bytes:
    """What `docker save` wrote for most of its life: plain layers, one of two alike as a link."""
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    written: dict[str, str] = {}
    listed = []
    for number, (name, image) in enumerate(images.items()):
        config = f"{image.config_digest.removeprefix('sha256:')}.json"
        entries.append(member(config, image.blobs[image.config_digest]))
        paths = []
        for position, raw in enumerate(image.layers):
            path = f"{number}-{position}/layer.tar"
            first = written.setdefault(digest_of(raw), path)
            entries.append(member(path, raw) if first == path else link(path, f"../{first}"))
            paths.append(path)
        listed.append({"Config": config, "RepoTags": [name], "Layers": paths})
    return layer([*entries, member("manifest.json", json.dumps(listed).encode())])
