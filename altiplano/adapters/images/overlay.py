"""Puts the layers of an image together under a directory that one container writes to."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Final

OPTION_BYTES_MAX: Final = 4000
"""The kernel takes one page of options, its own words included."""

_MNT_DETACH: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)


def options(layers: Sequence[str], upper: str, work: str, *, as_root: bool = True) -> str:
    """Mount options; `layers` the lowest first, as an image has them.

    >>> options(("/l/1", "/l/2"), "/c/upper", "/c/work")
    'lowerdir=/l/2:/l/1,upperdir=/c/upper,workdir=/c/work'
    """
    assert layers, "an overlay has at least one layer"
    lower = ":".join(_escaped(path) for path in reversed(layers))
    # Without root, opaque directories are marked by attributes that users may write.
    mark = "" if as_root else ",userxattr"
    return f"lowerdir={lower},upperdir={_escaped(upper)},workdir={_escaped(work)}{mark}"


def mount(layers: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an image at `target`; what is written there goes to `upper`.  `work` is on the same disk.

    The caller's mount namespace has it until `unmount`; OSError says what the kernel refused.
    """
    with _short(layers) as paths:
        text = options(paths, upper, work, as_root=os.geteuid() == 0)
        if _libc.mount(b"overlay", os.fsencode(target), b"overlay", ctypes.c_ulong(0), os.fsencode(text)):
            code = ctypes.get_errno()
            raise OSError(code, f"an overlay of {len(layers)} layers cannot be mounted: {os.strerror(code)}", target)


def unmount(target: str) -> None:
    """Take it away, even from under processes that are still in there; not mounted is well."""
    if _libc.umount2(os.fsencode(target), ctypes.c_int(_MNT_DETACH)):
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise OSError(code, os.strerror(code), target)


@contextlib.contextmanager
def _short(layers: Sequence[str]) -> Iterator[Sequence[str]]:
    """Names of the layers that fit into one page: their own, or those of open directories."""
    if sum(len(os.fsencode(path)) + 1 for path in layers) < OPTION_BYTES_MAX // 2:
        yield layers
        return
    fds = []
    try:
        for path in layers:
            fds.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        yield [f"/proc/self/fd/{fd}" for fd in fds]
    finally:
        for fd in fds:
            os.close(fd)


def _escaped(path: str) -> str:
    """A colon parts layers, a comma parts options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
