"""File calls that cannot leave a directory, whatever links lie in it; for Linux from 5.6.

`openat2` with RESOLVE_IN_ROOT lets the kernel walk a path as if the directory were the root: absolute
links and `..` stay inside, and no check of ours can be outrun or forgotten.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import Final

_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_IN_ROOT: Final = 0x10

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in(root: int, path: bytes, flags: int, mode: int = 0, *, links: bool = True) -> int:
    """Open a path with the directory `root` as its root; `links=False` refuses any link on the way."""
    how = _How(
        flags | os.O_CLOEXEC,
        mode,
        _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS),
    )
    while True:
        fd: int = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(path or b"."),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        # EAGAIN: something was renamed at that moment, and the kernel could not be sure.
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code), os.fsdecode(path))


def sync_file_system(fd: int) -> None:
    """Everything written to the file system that `fd` lies on is on the disk."""
    if _libc.syncfs(ctypes.c_int(fd)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def remove_tree(name: str, parent: int) -> None:
    """Remove a file or a tree; gone already is well.

    Directories below are first moved up, so that neither depth nor open files grow with what a hostile
    layer has built, and no link is followed.
    """
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            return
    except FileNotFoundError:
        return
    root = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        # A layer may hold any name, but none that was drawn after it was written.
        prefix = f".removed-{os.urandom(8).hex()}-"
        counter = 0
        for entry in _empty(root):
            waiting = [entry]
            while waiting:
                directory = waiting.pop()
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
                try:
                    for below in _empty(fd):
                        counter += 1
                        fresh = f"{prefix}{counter}"
                        os.rename(below, fresh, src_dir_fd=fd, dst_dir_fd=root)
                        waiting.append(fresh)
                finally:
                    os.close(fd)
                os.rmdir(directory, dir_fd=root)
    finally:
        os.close(root)
    os.rmdir(name, dir_fd=parent)


def _empty(fd: int) -> list[str]:
    """Remove all but the directories; their names."""
    if os.geteuid() != 0:
        os.fchmod(fd, 0o700)
    directories = []
    for name in os.listdir(fd):
        if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
            directories.append(name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
    return directories
