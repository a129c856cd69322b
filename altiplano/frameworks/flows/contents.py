"""Files by what is in them: hashes of inputs, directories as tar streams.

A directory travels as a tar stream that is the same whenever its files are: entries sorted by
name, no times and no owners.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from altiplano.frameworks.flows.progress import Stamp

BLOCK_BYTES = 1024 * 1024
"""Read and hashed at a time."""

ENTRIES_MAX = 1_000_000
"""Files of one directory that is carried as a whole."""


class ContentError(Exception):
    """A file cannot be carried; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file or directory as it was when it was hashed."""

    path: Path
    sha256: str
    size_bytes: int
    """Of what is sent: a file's bytes, or those of a directory's tar stream."""
    is_directory: bool
    executable: bool
    stamp: Stamp


def stamp_of(path: Path) -> Stamp | None:
    """Size and time of a file; None if it is not there.  Of a directory, those of the newest entry inside."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return Stamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        size, newest = 0, 0
        for entry in entries(path):
            inner = entry.lstat()
            if not stat.S_ISDIR(inner.st_mode):
                size, newest = size + inner.st_size, max(newest, inner.st_mtime_ns)
        return Stamp(size_bytes=size, mtime_ns=newest)
    except (FileNotFoundError, NotADirectoryError):
        return None


def entries(directory: Path) -> Iterator[Path]:
    """Everything below a directory, sorted; links are not followed."""
    count = 0
    for at, names, files in os.walk(directory):
        names.sort()
        count += len(names) + len(files)
        if count > ENTRIES_MAX:
            raise ContentError(f"'{directory}' holds more than {ENTRIES_MAX} files: pack them into one")
        links = [name for name in names if os.path.islink(os.path.join(at, name))]
        yield from (Path(at, name) for name in sorted([*names, *files]))
        for name in links:
            names.remove(name)


def describe(path: Path) -> Content:
    """Hash a file or directory.  Takes as long as reading it; meant for a thread of its own."""
    stamp = stamp_of(path)
    if stamp is None:
        raise ContentError(f"'{path}' is not there any more")
    digest, size = hashlib.sha256(), 0
    is_directory = path.is_dir()
    try:
        for block in tar_blocks(path) if is_directory else file_blocks(path):
            digest.update(block)
            size += len(block)
    except OSError as error:
        raise ContentError(f"'{path}' cannot be read: {error.strerror}") from error
    if stamp_of(path) != stamp:
        raise ContentError(f"'{path}' was changed while it was read: inputs must not change during a run")
    return Content(
        path=path,
        sha256=digest.hexdigest(),
        size_bytes=size,
        is_directory=is_directory,
        executable=not is_directory and os.access(path, os.X_OK),
        stamp=stamp,
    )


def blocks(content: Content) -> Iterator[bytes]:
    """What is sent of a content, in blocks.  Raises ContentError if it is no longer what was hashed."""
    if stamp_of(content.path) != content.stamp:
        raise ContentError(f"'{content.path}' was changed after it was hashed: inputs must not change during a run")
    yield from tar_blocks(content.path) if content.is_directory else file_blocks(content.path)


def file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def tar_blocks(directory: Path) -> Iterator[bytes]:
    """The tar stream of all that a directory holds."""
    for path in entries(directory):
        status = path.lstat()
        info = tarfile.TarInfo(str(path.relative_to(directory)))
        info.mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            info.size = status.st_size
        else:
            raise ContentError(f"'{path}' is neither file, directory nor link and cannot be carried")
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.size:
            yield from _exactly(path, info.size)
    yield bytes(tarfile.BLOCKSIZE * 2)


def _exactly(path: Path, size: int) -> Iterator[bytes]:
    """A file's blocks, filled up to whole tar blocks."""
    sent = 0
    for block in file_blocks(path):
        sent += len(block)
        yield block
    if sent != size:
        raise ContentError(f"'{path}' was changed while it was sent: inputs must not change during a run")
    yield bytes(-size % tarfile.BLOCKSIZE)


def unpack(archive: Path, target: Path) -> None:
    """Put what a tar file holds below `target`, a new directory; nothing of it may lead outside."""
    target.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:") as tar:
            tar.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise ContentError(f"what was sent for '{target.name}' cannot be unpacked: {error}") from error
