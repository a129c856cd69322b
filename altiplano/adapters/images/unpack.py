"""Unpacks one layer into a directory of its own, as a layer of an overlay; runs as a process of its own.

A layer is written by strangers, and the agent is root: so this process first makes the directory its root
(where it may), then reads the stream, and every file call goes through `inside` besides.  It is killed when
its time is over or its parent is gone, and what it leaves then is thrown away as a whole.

    python -s -P -m altiplano.adapters.images.unpack  < layer  > report      (the job, as JSON, is its argument)

What cannot be had from a stranger: device nodes (a runtime makes those a container may have; they are left
out unless allowed), the attributes by which an overlay is steered, capabilities and foreign owners where we
are not root, and set-user-id bits there – they would lend our own rights.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import signal
import stat
import sys
from typing import Final

import msgspec

from altiplano.adapters.images import compression, inside, tar

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"
RESERVED: Final = b".wh..wh."
"""Other names that begin so are bookkeeping of a storage driver of old."""

PIECE_BYTES: Final = 1024 * 1024
PARENTS_KEPT: Final = 64
"""Directories kept open: most entries lie where the one before lies."""
DEPTH_MAX: Final = 256
"""Components of one path."""
ID_MAX: Final = 2**32 - 2
TIME_NS_MAX: Final = 2**33 * 10**9
PR_SET_PDEATHSIG: Final = 1


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to unpack: `stored_bytes` of stdin from `offset`, into the working directory."""

    offset: int
    stored_bytes: int
    stream_bytes_max: int
    """Of the tar stream, and of the files it makes."""
    entries_max: int
    devices: bool
    parent: int
    """The process to live for."""


class Unpacked(msgspec.Struct, frozen=True, kw_only=True, tag="unpacked"):
    diff_id: str
    """Digest of the plain tar stream, which the image's configuration names."""
    size_bytes: int
    """Data of its files, and a block for each entry."""
    entries: int


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The layer is not one we unpack."""

    sentence: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The disk, say, was in the way."""

    sentence: str


Report = Unpacked | Refused | Failed


class LayerRefused(Exception):
    """The layer breaks a rule; the text says which."""


class Stream:
    """The plain tar stream of a packed layer: counted, bounded, hashed."""

    def __init__(self, fd: int, job: Job) -> None:
        self._fd = fd
        self._at = job.offset
        self._end = job.offset + job.stored_bytes
        self._job = job
        self._plain = compression.unpacked(self._stored)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def _stored(self, size: int) -> bytes:
        data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def read(self, size: int) -> bytes:
        data = self._plain(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        if self.size_bytes > self._job.stream_bytes_max:
            raise LayerRefused(f"it unpacks to more than the {self._job.stream_bytes_max} bytes that are allowed")
        return data

    def digest(self) -> str:
        """Of the whole stream: what stands behind the end of the archive belongs to it."""
        while self.read(PIECE_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


class Tree:
    """A directory that becomes a layer."""

    def __init__(self, root: int, job: Job) -> None:
        self._root = root
        self._job = job
        self._as_root = os.geteuid() == 0
        self._opaque = "trusted.overlay.opaque" if self._as_root else "user.overlay.opaque"
        self._parents: dict[bytes, int] = {}
        self._times: dict[bytes, int] = {}
        self.size_bytes = 0
        self.entries = 0

    def add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        """Make what one entry says."""
        self.entries += 1
        if self.entries > self._job.entries_max:
            raise LayerRefused(f"it has more than the {self._job.entries_max} entries that are allowed")
        parts = _parts(entry.name)
        if not parts:
            if entry.kind == tar.DIRECTORY:
                self._finish_directory(self._root, b"", entry)
            return
        *above, name = parts
        if name.startswith(WHITEOUT):
            self._whiteout(above, name)
            return
        path = b"/".join(parts)
        parent = self._parent(above)
        match entry.kind:
            case tar.FILE:
                self._file(parent, name, entry, reader)
            case tar.DIRECTORY:
                self._directory(parent, name, path, entry)
            case tar.SYMLINK:
                self._replace(parent, name)
                if not entry.target:
                    raise LayerRefused(f"the link {_show(entry.name)} leads nowhere")
                os.symlink(entry.target, name, dir_fd=parent)
                self._own(parent, name, entry)
            case tar.LINK:
                self._hard_link(parent, name, entry)
            case tar.FIFO:
                self._replace(parent, name)
                os.mkfifo(name, 0o600, dir_fd=parent)
                self._own(parent, name, entry)
            case _:
                self._device(parent, name, entry)

    def finish(self) -> None:
        """Directories get their times at the end, since each entry in them changes them."""
        self._close_parents()
        for path, modified_ns in self._times.items():
            try:
                fd = inside.open_in(self._root, path, os.O_RDONLY | os.O_DIRECTORY, links=False)
            except OSError as error:
                # Something else lies there by now.
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            try:
                os.utime(fd, ns=(modified_ns, modified_ns))
            finally:
                os.close(fd)

    def _file(self, parent: int, name: bytes, entry: tar.Entry, reader: tar.TarReader) -> None:
        if entry.size_bytes > self._job.stream_bytes_max:
            raise LayerRefused(
                f"the file {_show(entry.name)} has {entry.size_bytes} bytes, more than the "
                f"{self._job.stream_bytes_max} that are allowed"
            )
        self._replace(parent, name)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            for offset, length in ((0, entry.size_bytes),) if entry.extents is None else entry.extents:
                os.lseek(fd, offset, os.SEEK_SET)
                left = length
                while left:
                    data = memoryview(reader.data(min(PIECE_BYTES, left)))
                    left -= len(data)
                    while data:
                        data = data[os.write(fd, data) :]
            if entry.extents is not None:
                os.truncate(fd, entry.size_bytes)
            self._count(entry.stored_bytes)
            self._finish(fd, entry, self._mode(entry))
            os.utime(fd, ns=(_time(entry), _time(entry)))
        finally:
            os.close(fd)

    def _directory(self, parent: int, name: bytes, path: bytes, entry: tar.Entry) -> None:
        opaque = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.lstat(name, dir_fd=parent)
            if not stat.S_ISDIR(found.st_mode):
                # A whiteout and then a directory: the directory of the layers below shall not shine through.
                opaque = _is_whiteout(found)
                self._replace(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if opaque:
                os.setxattr(fd, self._opaque, b"y")
            self._finish_directory(fd, path, entry)
        finally:
            os.close(fd)

    def _finish_directory(self, fd: int, path: bytes, entry: tar.Entry) -> None:
        self._count(0)
        # Without being root we write into it still, and remove it one day.
        self._finish(fd, entry, self._mode(entry) | (0 if self._as_root else 0o700))
        self._times[path] = _time(entry)

    def _hard_link(self, parent: int, name: bytes, entry: tar.Entry) -> None:
        target = _parts(entry.target)
        if not target or target[-1].startswith(WHITEOUT):
            raise LayerRefused(f"the hard link {_show(entry.name)} leads to {_show(entry.target)}, which is no file")
        try:
            source = inside.open_in(self._root, b"/".join(target[:-1]), os.O_PATH | os.O_DIRECTORY)
            try:
                found = os.lstat(target[-1], dir_fd=source)
                here = os.fstat(parent)
                there = os.fstat(source)
                if (here.st_dev, here.st_ino, name) == (there.st_dev, there.st_ino, target[-1]):
                    return
                if stat.S_ISDIR(found.st_mode) or _is_whiteout(found):
                    raise LayerRefused(
                        f"the hard link {_show(entry.name)} leads to {_show(entry.target)}, which is no file"
                    )
                self._replace(parent, name)
                os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        except (FileNotFoundError, NotADirectoryError):
            raise LayerRefused(
                f"the hard link {_show(entry.name)} leads to {_show(entry.target)}, which this layer does not have"
            ) from None
        self._count(0)

    def _device(self, parent: int, name: bytes, entry: tar.Entry) -> None:
        allowed = self._job.devices and self._as_root and (entry.major, entry.minor) != (0, 0)
        if not allowed:
            return
        self._replace(parent, name)
        kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
        os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        self._own(parent, name, entry)

    def _whiteout(self, above: list[bytes], name: bytes) -> None:
        """Hide what layers below have; entries of this layer stay, whatever their order."""
        if name == OPAQUE:
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._parent(above))
            try:
                os.setxattr(fd, self._opaque, b"y")
            finally:
                os.close(fd)
            return
        if name.startswith(RESERVED):
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise LayerRefused(f"the whiteout {_show(name)} hides no name")
        parent = self._parent(above)
        try:
            found = os.lstat(hidden, dir_fd=parent)
        except FileNotFoundError:
            os.mknod(hidden, stat.S_IFCHR | 0o000, os.makedev(0, 0), dir_fd=parent)
            self._count(0)
            return
        if stat.S_ISDIR(found.st_mode):
            self._whiteout([*above, hidden], OPAQUE)

    def _parent(self, above: list[bytes]) -> int:
        """The directory an entry goes to, made where missing; links on the way stay inside."""
        path = b"/".join(above)
        known = self._parents.get(path)
        if known is not None:
            return known
        try:
            fd = inside.open_in(self._root, path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            upper = self._parent(above[:-1])
            try:
                os.mkdir(above[-1], 0o755, dir_fd=upper)
            except FileExistsError:
                raise LayerRefused(f"{_show(path)} is a link that leads nowhere, and has entries below it") from None
            self._count(0)
            fd = inside.open_in(self._root, path, os.O_PATH | os.O_DIRECTORY)
        except NotADirectoryError:
            raise LayerRefused(f"{_show(path)} is no directory, and has entries below it") from None
        if len(self._parents) >= PARENTS_KEPT:
            os.close(self._parents.pop(next(iter(self._parents))))
        self._parents[path] = fd
        return fd

    def _replace(self, parent: int, name: bytes) -> None:
        """Make room for an entry: a later one takes the place of an earlier one."""
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        # What was known about paths may lead through what goes now.
        self._close_parents(but=parent)
        if stat.S_ISDIR(found.st_mode):
            inside.remove_tree(os.fsdecode(name), parent)
        else:
            os.unlink(name, dir_fd=parent)

    def _close_parents(self, but: int | None = None) -> None:
        for path, fd in list(self._parents.items()):
            if fd != but:
                os.close(fd)
                del self._parents[path]

    def _own(self, parent: int, name: bytes, entry: tar.Entry) -> None:
        """Owner, mode and time of what cannot be opened."""
        self._count(0)
        if self._as_root:
            os.chown(name, *_owner(entry), dir_fd=parent, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, self._mode(entry), dir_fd=parent)
        os.utime(name, ns=(_time(entry), _time(entry)), dir_fd=parent, follow_symlinks=False)

    def _finish(self, fd: int, entry: tar.Entry, mode: int) -> None:
        if self._as_root:
            os.fchown(fd, *_owner(entry))
        # After the owner, for a change of that takes bits and capabilities away.
        os.fchmod(fd, mode)
        for key, value in entry.attributes.items():
            if not self._may_have(key):
                continue
            try:
                os.setxattr(fd, key, value)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                    raise
                # This file system has none, or not such ones: the file is still what it is.

    def _may_have(self, key: str) -> bool:
        if key.startswith("user."):
            return not key.startswith("user.overlay.")
        return self._as_root and key in ("security.capability", "system.posix_acl_access", "system.posix_acl_default")

    def _mode(self, entry: tar.Entry) -> int:
        if self._as_root:
            return entry.mode
        return entry.mode & 0o1777

    def _count(self, size: int) -> None:
        self.size_bytes += size + tar.BLOCK_BYTES


def unpack(fd: int, root: int, job: Job) -> Unpacked:
    """Unpack the layer that `fd` holds into the empty directory `root`."""
    stream = Stream(fd, job)
    reader = tar.TarReader(stream.read)
    tree = Tree(root, job)
    for entry in reader:
        tree.add(entry, reader)
    tree.finish()
    diff_id = stream.digest()
    return Unpacked(diff_id=diff_id, size_bytes=tree.size_bytes, entries=tree.entries)


def report(fd: int, root: int, job: Job) -> Report:
    """`unpack`, with what went wrong as a sentence."""
    try:
        return unpack(fd, root, job)
    except (LayerRefused, tar.TarError, compression.PackedBadly) as error:
        return Refused(sentence=str(error))
    except OSError as error:
        named = isinstance(error.filename, str | bytes)
        where = f" at {_show(os.fsencode(error.filename))}" if named else ""
        # These say that an entry asked for what no file system has, not that this one failed.
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTDIR, errno.EMLINK, errno.EFBIG):
            return Refused(sentence=f"an entry cannot be made{where}: {error.strerror}")
        return Failed(sentence=f"writing failed{where}: {error.strerror}")


def _parts(name: bytes) -> list[bytes]:
    """Components of a path below the root; one that climbs is refused, even where it would come back."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise LayerRefused(f"the path {_show(name)} climbs out by ..")
    if len(parts) > DEPTH_MAX:
        raise LayerRefused(f"the path {_show(name)}… lies {len(parts)} directories deep, at most {DEPTH_MAX} are made")
    return parts


def _owner(entry: tar.Entry) -> tuple[int, int]:
    if entry.uid > ID_MAX or entry.gid > ID_MAX:
        raise LayerRefused(f"the owner {entry.uid}:{entry.gid} of {_show(entry.name)} is none: at most {ID_MAX}")
    return entry.uid, entry.gid


def _time(entry: tar.Entry) -> int:
    return max(0, min(entry.modified_ns, TIME_NS_MAX))


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _show(name: bytes) -> str:
    """A name out of a layer, fit for a log line."""
    return ascii(os.fsdecode(name[:200]))


def main() -> None:
    job = msgspec.json.decode(sys.argv[1], type=Job)
    # The next agent sweeps the store as soon as it starts: nobody may be writing there then.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != job.parent:
        return
    os.umask(0o022)
    if os.geteuid() == 0:
        # All modules are loaded by now; afterwards none could be.  A root that has not the right to has `inside`.
        with contextlib.suppress(PermissionError):
            os.chroot(".")
            os.chdir("/")
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    result = report(0, root, job)
    if isinstance(result, Unpacked):
        inside.sync_file_system(root)
    os.write(1, msgspec.json.encode(result))


if __name__ == "__main__":
    main()
