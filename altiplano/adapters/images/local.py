"""Images from this machine's own files: OCI layouts, tar files of them, and what `docker save` writes.

The path is a user's word and we may be root: so it must lie under a directory that is open to images, and
what lies there is only followed inside of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from altiplano.adapters.images import compression, inside, manifests, tar, threads
from altiplano.adapters.images.sources import Blob, Found, Progress
from altiplano.model.images import Digest, Form, LocalReference, Platform
from altiplano.ports.images import Bounds, ImageError, ImageFailed, ImageRefused

MEMBERS_MAX: Final = 100_000
LINKS_MAX: Final = 8


class _Files(Protocol):
    """Members of a layout or an archive, by the names they have there."""

    def open(self, name: str) -> Blob: ...

    def has(self, name: str) -> bool: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Directory:
    fd: int

    def open(self, name: str) -> Blob:
        fd = inside.open_in(self.fd, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "no ordinary file", name)
        return Blob(fd=fd, offset=0, size_bytes=found.st_size)

    def has(self, name: str) -> bool:
        try:
            self.open(name).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self.fd)


class _Archive:
    """A plain tar file whose members are read where they lie."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._at = 0
        reader = tar.TarReader(self._read, self._skip)
        for entry in reader:
            name = posixpath.normpath(os.fsdecode(entry.name))
            if entry.kind == tar.FILE and entry.extents is None:
                self._members[name] = (reader.offset, entry.stored_bytes)
            elif entry.kind == tar.SYMLINK:
                self._links[name] = posixpath.normpath(
                    posixpath.join(posixpath.dirname(name), os.fsdecode(entry.target))
                )
            elif entry.kind == tar.LINK:
                self._links[name] = posixpath.normpath(os.fsdecode(entry.target))
            if len(self._members) + len(self._links) > MEMBERS_MAX:
                raise tar.TarError(f"the archive has more than {MEMBERS_MAX} members")

    def open(self, name: str) -> Blob:
        name = posixpath.normpath(name)
        # Docker once wrote a layer that two images share as a link to the other's.
        for _ in range(LINKS_MAX):
            if name in self._members:
                offset, size = self._members[name]
                return Blob(fd=os.dup(self._fd), offset=offset, size_bytes=size)
            name = self._links.get(name, "")
        raise FileNotFoundError(errno.ENOENT, "no such member", name)

    def has(self, name: str) -> bool:
        return name in self._members or name in self._links

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data

    def _skip(self, size: int) -> None:
        self._at += size


class LocalSource:
    """One image in a directory or a tar file.  `under`: where images may be read from."""

    def __init__(
        self,
        reference: LocalReference,
        *,
        under: Sequence[str],
        scratch: str,
        platform: Platform,
        bounds: Bounds,
    ) -> None:
        self._reference = reference
        self._under = under
        self._scratch = scratch
        self._platform = platform
        self._bounds = bounds
        self._what = f"the image {reference}"
        self._files: _Files | None = None
        self._names: list[str] = []

    async def find(self) -> Found:
        return await threads.finish(self._find)

    async def layer(self, number: int, path: str, progress: Progress) -> Blob:
        """The layer where it lies: nothing is copied."""
        with self._telling():
            assert self._files is not None
            blob = self._files.open(self._names[number])
        progress(blob.size_bytes)
        return blob

    async def close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None

    def _find(self) -> Found:
        with self._telling():
            files = self._files = self._open()
            docker = self._reference.form is Form.DOCKER_ARCHIVE or not files.has("index.json")
            return self._find_docker(files) if docker else self._find_oci(files)

    def _find_oci(self, files: _Files) -> Found:
        what = self._what
        raw = self._read(files, "index.json")
        document = manifests.document(raw, what, manifests.OCI_INDEX)
        if not isinstance(document, manifests.Index):
            raise ImageRefused(f"The index.json of {what} lists no manifests.")
        wanted = self._reference.digest
        if wanted is None:
            wanted = manifests.check_descriptor(manifests.named(document, self._reference.name, what), what)
        for _ in range(manifests.INDEX_DEPTH_MAX):
            raw = self._read(files, _blob(wanted))
            manifests.verified(raw, wanted, what)
            document = manifests.document(raw, what)
            if isinstance(document, manifests.Manifest):
                break
            wanted = manifests.check_descriptor(manifests.choose(document, self._platform, what), what)
        else:
            raise ImageRefused(f"{what} is an index of indices, more than {manifests.INDEX_DEPTH_MAX} deep.")
        manifests.check(document, self._bounds, what)
        id_ = manifests.check_descriptor(document.config, what)
        raw = self._read(files, _blob(id_))
        manifests.verified(raw, id_, f"the configuration of {what}")
        self._names = [_blob(manifests.check_descriptor(layer, what)) for layer in document.layers]
        return self._found(files, raw, wanted)

    def _find_docker(self, files: _Files) -> Found:
        """What `docker save` writes has no manifest with digests: the configuration pins the layers."""
        what = self._what
        if not files.has("manifest.json"):
            raise ImageRefused(f"{what} is neither an OCI layout nor what docker save writes.")
        image = manifests.docker_archive(self._read(files, "manifest.json"), self._reference.name, what)
        raw = self._read(files, image.config)
        if self._reference.digest is not None:
            manifests.verified(raw, self._reference.digest, f"the configuration of {what}")
        if len(image.layers) > self._bounds.layers_max:
            raise ImageRefused(f"{what} has {len(image.layers)} layers, at most {self._bounds.layers_max} are allowed.")
        self._names = image.layers
        return self._found(files, raw, manifests.digest_of(raw))

    def _found(self, files: _Files, raw: bytes, manifest: Digest) -> Found:
        configuration = manifests.configuration(raw, self._platform, self._what)
        manifests.match_layers(len(self._names), configuration, self._what)
        sizes = []
        for name in self._names:
            blob = files.open(name)
            blob.close()
            sizes.append(blob.size_bytes)
        if sum(sizes) > self._bounds.download_bytes_max:
            raise ImageRefused(
                f"{self._what} has {sum(sizes)} bytes of layers, at most {self._bounds.download_bytes_max} are allowed."
            )
        return Found(what=self._what, manifest=manifest, configuration=configuration, sizes_bytes=tuple(sizes))

    def _open(self) -> _Files:
        fd = os.open(self._reference.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Asked of what is open, so that nobody can put something else in its place.
            real = os.readlink(f"/proc/self/fd/{fd}")
            if not any(
                real == one or real.startswith(one.rstrip("/") + "/") for one in map(os.path.realpath, self._under)
            ):
                places = ", ".join(self._under) or "none are configured"
                raise ImageRefused(f"{self._what} lies outside of the directories open to images: {places}.")
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                if self._reference.form in (Form.DOCKER_ARCHIVE, Form.OCI_ARCHIVE):
                    raise ImageRefused(f"{self._what} is a directory; write oci:{self._reference.path} for a layout.")
                return _Directory(fd)
            if not stat.S_ISREG(mode):
                raise ImageRefused(f"{self._what} is neither a file nor a directory.")
            if self._reference.form is Form.LAYOUT:
                raise ImageRefused(f"{self._what} is a file; write oci-archive:{self._reference.path} for a tar file.")
            fd = self._plain(fd)
            return _Archive(fd)
        except BaseException:  # closed whatever happened, and passed on
            os.close(fd)
            raise

    def _plain(self, fd: int) -> int:
        """The archive itself, or an unpacked copy of one that is packed as a whole."""
        first = os.pread(fd, 4, 0)
        if first[:2] != compression.GZIP and first != compression.ZSTD:
            return fd
        at = 0

        def stored(size: int) -> bytes:
            nonlocal at
            data = os.pread(fd, size, at)
            at += len(data)
            return data

        plain = compression.unpacked(stored)
        copy = os.open(os.path.join(self._scratch, "archive"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = 0
            while data := plain(compression.CHUNK_BYTES):
                size += len(data)
                if size > self._bounds.download_bytes_max:
                    raise ImageRefused(
                        f"{self._what} unpacks to more than the {self._bounds.download_bytes_max} bytes allowed."
                    )
                left = memoryview(data)
                while left:
                    left = left[os.write(copy, left) :]
        except BaseException:  # closed whatever happened, and passed on
            os.close(copy)
            raise
        os.close(fd)
        return copy

    def _read(self, files: _Files, name: str) -> bytes:
        blob = files.open(name)
        try:
            if blob.size_bytes > self._bounds.manifest_bytes_max:
                raise ImageRefused(
                    f"{name} of {self._what} has {blob.size_bytes} bytes, "
                    f"at most {self._bounds.manifest_bytes_max} are read."
                )
            return os.pread(blob.fd, blob.size_bytes, blob.offset)
        finally:
            blob.close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except ImageError:
            raise
        except FileNotFoundError as error:
            raise ImageRefused(f"{self._what} cannot be read: there is no {error.filename or 'such file'}.") from error
        except (tar.TarError, compression.PackedBadly) as error:
            raise ImageRefused(f"{self._what} cannot be read: {error}.") from error
        except OSError as error:
            raise ImageFailed(f"{self._what} cannot be read: {error.strerror}.") from error


def _blob(name: Digest) -> str:
    return f"blobs/{name.replace(':', '/')}"
