"""The directory in which images lie, and what in it counts.

    lock                 held by the one process that uses the store
    layers/<hex>/        an unpacked layer, by the digest of its plain stream
    images/<hex>.json    a whole image, by the digest of its configuration; its time is that of its last use
    names/<hex>.json     what a reference led to, for one user of the registry
    holds/<holder>       a link whose text is the image that is held
    incoming/            everything that is not finished, and everything on its way out

The one thing to know before changing it: a layer counts when it has come from `incoming` by a rename, and an
image counts when its record has, which happens after all its layers are on the disk.  So a process killed at any
step, or a machine that loses power, leaves an image that is whole or none; `sweep` removes the rest.
Nobody but the owner may enter: layers hold programs that run with the rights of root wherever found.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from altiplano.adapters.images import inside
from altiplano.kit import crash
from altiplano.model.images import Digest, digest
from altiplano.ports.images import ImageConfig, ImageFailed

PLACES: Final = ("layers", "images", "names", "holds", "incoming")
POINTS: Final = (
    "images_before_layer",
    "images_after_layer",
    "images_before_record",
    "images_after_record",
    "images_after_name",
    "images_after_hold",
    "images_after_unlink",
    "images_after_set_aside",
)
"""Crash points: see `altiplano.kit.crash`."""

RECORD_VERSION: Final = 1
REMOVALS_MAX: Final = 40
"""Attempts to remove a tree that changes at the same time."""
REMOVAL_S: Final = 0.05
"""Between two of them."""

R = TypeVar("R", "ImageRecord", "NameRecord")


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    diff_id: Digest
    size_bytes: int
    entries: int


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A whole image: `layers` without repetitions, the lowest first."""

    version: int
    id: Digest
    layers: tuple[LayerRecord, ...]
    config: ImageConfig


class NameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reference led when it was last pulled."""

    version: int
    reference: str
    user: str | None
    image: Digest
    manifest: Digest
    pulled_wall_s: float


@dataclass(slots=True, kw_only=True)
class Content:
    """What a store holds."""

    images: dict[Digest, ImageRecord] = field(default_factory=dict)
    used_wall_s: dict[Digest, float] = field(default_factory=dict)
    names: dict[str, NameRecord] = field(default_factory=dict)
    holds: dict[str, Digest] = field(default_factory=dict)

    def layers(self) -> dict[Digest, LayerRecord]:
        """Layers of all images, each once."""
        return {layer.diff_id: layer for record in self.images.values() for layer in record.layers}


class Shelf:
    """File calls of a store; each of them blocks."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock: int | None = None
        self._counter = 0

    def open(self) -> Content:
        """Take the store for this process, remove what an earlier one left unfinished, read the rest."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        os.chmod(self.root, 0o700)
        self._lock = os.open(os.path.join(self.root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise ImageFailed(
                f"The image store {self.root} is used by another process; give each agent its own."
            ) from error
        for place in PLACES:
            os.makedirs(os.path.join(self.root, place), mode=0o700, exist_ok=True)
        return self._sweep()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def has_layer(self, diff_id: Digest) -> bool:
        return os.path.isdir(self.layer_path(diff_id))

    def has_image(self, image: Digest) -> bool:
        return os.path.exists(self._record(image))

    def layer_path(self, diff_id: Digest) -> str:
        return os.path.join(self.root, "layers", _hex(diff_id))

    def make_incoming(self) -> str:
        """A directory for something unfinished."""
        path = self._fresh()
        os.mkdir(path, 0o700)
        return path

    def keep_layer(self, directory: str, diff_id: Digest) -> None:
        """A whole layer, synced by whoever unpacked it, takes its place."""
        crash.at("images_before_layer")
        os.rename(directory, self.layer_path(diff_id))
        self._sync("layers")
        crash.at("images_after_layer")

    def keep_image(self, record: ImageRecord) -> None:
        """Its layers are there: from now on it is an image."""
        crash.at("images_before_record")
        self._write(os.path.join("images", f"{_hex(record.id)}.json"), msgspec.json.encode(record))
        crash.at("images_after_record")

    def keep_name(self, key: str, record: NameRecord) -> None:
        self._write(os.path.join("names", f"{key}.json"), msgspec.json.encode(record))
        crash.at("images_after_name")

    def hold(self, holder: str, image: Digest) -> None:
        """Not synced: what held an image is gone as well when the machine has lost its power."""
        fresh = self._fresh()
        os.symlink(_hex(image), fresh)
        os.rename(fresh, os.path.join(self.root, "holds", holder))
        crash.at("images_after_hold")

    def release(self, holder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, "holds", holder))

    def used(self, image: Digest, wall_s: float) -> None:
        os.utime(self._record(image), (wall_s, wall_s))

    def forget_image(self, image: Digest) -> None:
        """It is an image no longer.  Its layers are removed by `remove_aside`."""
        os.unlink(self._record(image))
        crash.at("images_after_unlink")

    def forget_name(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, "names", f"{key}.json"))

    def set_layer_aside(self, diff_id: Digest) -> str:
        """Out of its place in one step; the tree is removed afterwards."""
        path = self._fresh()
        os.rename(self.layer_path(diff_id), path)
        crash.at("images_after_set_aside")
        return path

    def remove_aside(self, paths: Sequence[str]) -> None:
        """Remove layers that were set aside, when no image can come back that had them."""
        for place in ("images", "layers"):
            self._sync(place)
        for path in paths:
            self.remove(path)

    def remove(self, path: str) -> None:
        """Remove something of this store, a tree or a file."""
        for _ in range(REMOVALS_MAX):
            try:
                with self._directory(os.path.dirname(path)) as parent:
                    inside.remove_tree(os.path.basename(path), parent)
                return
            except OSError as error:
                # Whoever unpacked into it dies with the process that wanted it, though a moment later.
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise
                time.sleep(REMOVAL_S)
        raise ImageFailed(f"{path} cannot be removed: somebody keeps writing into it.")

    def _sweep(self) -> Content:
        content = Content()
        for path in self._inside("incoming"):
            self.remove(path)
        for path in self._inside("images"):
            record = _decoded(path, ImageRecord)
            if record is None or not all(self.has_layer(layer.diff_id) for layer in record.layers):
                os.unlink(path)
                continue
            content.images[record.id] = record
            content.used_wall_s[record.id] = os.stat(path).st_mtime
        wanted = {self.layer_path(diff_id) for diff_id in content.layers()}
        for path in self._inside("layers"):
            if path not in wanted:
                self.remove(path)
        for path in self._inside("names"):
            name = _decoded(path, NameRecord)
            if name is None or name.image not in content.images:
                os.unlink(path)
            else:
                content.names[os.path.basename(path).removesuffix(".json")] = name
        for path in self._inside("holds"):
            image = _held(path)
            if image not in content.images:
                os.unlink(path)
            else:
                content.holds[os.path.basename(path)] = image
        return content

    def _inside(self, place: str) -> list[str]:
        directory = os.path.join(self.root, place)
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]

    def _record(self, image: Digest) -> str:
        return os.path.join(self.root, "images", f"{_hex(image)}.json")

    def _write(self, name: str, data: bytes) -> None:
        """Whole or not at all, and there when this returns."""
        fresh = self._fresh()
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(fresh, os.path.join(self.root, name))
        self._sync(os.path.dirname(name))

    def _sync(self, place: str) -> None:
        with self._directory(os.path.join(self.root, place)) as fd:
            os.fsync(fd)

    def _fresh(self) -> str:
        self._counter += 1
        # The process is alone in here, but its threads are not.
        return os.path.join(self.root, "incoming", f"{self._counter}-{os.urandom(4).hex()}")

    @contextlib.contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)


def name_key(reference: str, user: str | None) -> str:
    """Under which a name is kept: another user of the registry has to be let in there himself."""
    return hashlib.sha256(f"{'' if user is None else user + ':'}\n{reference}".encode()).hexdigest()


def _hex(name: Digest) -> str:
    return name.removeprefix("sha256:")


def _held(path: str) -> Digest | None:
    try:
        return digest(f"sha256:{os.readlink(path)}")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        return None


def _decoded(path: str, kind: type[R]) -> R | None:
    """A record, or None for one that this version cannot read: what it named is pulled again."""
    try:
        with open(path, "rb") as file:
            record = msgspec.json.decode(file.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if record.version == RECORD_VERSION else None
