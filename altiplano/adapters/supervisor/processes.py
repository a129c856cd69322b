"""What the kernel tells about processes: /proc, waitid, pidfds, and the few calls Python has no name for.

Nothing here keeps state.  A process that has gone is answered with None, never with an exception.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = b"ALTIPLANO_CONTAINER="
"""In the environment of every process of a container."""
OWN_MARKER = b"ALTIPLANO_SUPERVISOR="
"""In the supervisor's own environment: a child that still shows it has not reached its exec."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_FALLOC_KEEP_SIZE = 0x01
_FALLOC_PUNCH_HOLE = 0x02
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
# glibc's waitid hides the fifth argument of the system call, the resource usage.
_SYS_WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95, "loongarch64": 95, "ppc64le": 272, "s390x": 281}.get(
    os.uname().machine
)

_libc = ctypes.CDLL(None, use_errno=True)


class Stat:
    """The fields of /proc/PID/stat that we use."""

    __slots__ = ("cpu_ticks", "parent", "pgrp", "rss_bytes", "session", "start_ticks", "state", "system", "user")

    def __init__(self, text: bytes) -> None:
        # The name in parentheses may hold blanks and parentheses of its own.
        fields = text[text.rindex(b")") + 2 :].split()
        self.state = fields[0]
        self.parent = int(fields[1])
        self.pgrp = int(fields[2])
        self.session = int(fields[3])
        self.user = (int(fields[11]) + int(fields[13])) / TICKS_PER_S
        self.system = (int(fields[12]) + int(fields[14])) / TICKS_PER_S
        self.start_ticks = int(fields[19])
        self.rss_bytes = int(fields[21]) * PAGE_BYTES


class Ended:
    """How a process ended: its wait status, processor seconds and peak memory where the kernel said so."""

    __slots__ = ("cpu_s", "peak_bytes", "status")

    def __init__(self, status: int, cpu_s: float | None, peak_bytes: int | None) -> None:
        self.status = status
        self.cpu_s = cpu_s
        self.peak_bytes = peak_bytes


def become_subreaper(name: str) -> None:
    """Orphans below this process become its children; `name` is what `ps` shows."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "This kernel has no child sub-reapers; Linux 3.4 or newer is needed")
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def stat(pid: int) -> Stat | None:
    """The kernel writes it in one piece, far below a page."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return Stat(text) if text else None


def children(pid: int) -> list[int]:
    """The children of a process with one thread.  A kernel without the list is asked process by process."""
    text = _read(f"/proc/{pid}/task/{pid}/children")
    if text is not None:
        return [int(child) for child in text.split()]
    return [other for other in everybody() if (seen := stat(other)) is not None and seen.parent == pid]


def everybody() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, whatever their session; itself is not in it."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for thread in threads:
            text = _read(f"/proc/{parent}/task/{thread}/children")
            below = [int(child) for child in text.split()] if text else []
            found += below
            queue += below
    return found


def environment(pid: int) -> bytes | None:
    """The environment a process was started with; empty for a zombie, None where we may not look."""
    return _read(f"/proc/{pid}/environ")


def container_of(pid: int) -> str | None:
    """The container that the marker in the environment names."""
    for pair in (environment(pid) or b"").split(b"\0"):
        if pair.startswith(MARKER):
            return pair[len(MARKER) :].decode(errors="replace")
    return None


def boot_id() -> str:
    return (_read("/proc/sys/kernel/random/boot_id") or b"unknown").decode().strip()


def uptime_ticks() -> int:
    """Now, in the unit of `Stat.start_ticks`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S)


def look(pid: int) -> Ended | None:
    """How our own child ended, leaving it a zombie; None while it lives.  ChildProcessError: not our child."""
    if _SYS_WAITID is None:
        seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        return None if seen is None else Ended(_wait_status(seen.si_code, seen.si_status), None, None)
    info = ctypes.create_string_buffer(128)
    usage = ctypes.create_string_buffer(144)
    flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
    if _libc.syscall(_SYS_WAITID, 1, pid, info, flags, usage) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if struct.unpack_from("i", info, 16)[0] == 0:
        return None
    user_s, user_us, system_s, system_us, peak_kib = struct.unpack_from("5l", usage)
    cpu_s = user_s + system_s + (user_us + system_us) / 1e6
    (code,) = struct.unpack_from("i", info, 8)
    (status,) = struct.unpack_from("i", info, 24)
    # A child started by vfork inherits our own peak; only what lies above it is the child's.
    peak = peak_kib * 1024 if peak_kib > own_peak_kib() else None
    return Ended(_wait_status(code, status), cpu_s, peak)


_own_peak_kib = 0


def own_peak_kib() -> int:
    """Our own peak, which only grows; read again only where it matters."""
    global _own_peak_kib
    if not _own_peak_kib:
        text = _read("/proc/self/status") or b""
        _own_peak_kib = int(text.partition(b"VmHWM:")[2].split()[0]) + 4096
    return _own_peak_kib


def _wait_status(code: int, status: int) -> int:
    if code == os.CLD_EXITED:
        return status << 8
    return status | (0x80 if code == os.CLD_DUMPED else 0)


def reap(pid: int) -> bool:
    """Take our child's zombie away; False where it lives or is not ours."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return False


def reap_all() -> None:
    """Take away every zombie among our own children, whatever its status."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def leads_to(path: str, descriptor: int) -> bool:
    """Whether a path still leads to the file that is open here.

    False only where that is certain.  A disk that fails to answer has removed nothing.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    ours = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def taken_over(path: str, descriptor: int) -> bool:
    """Whether another file is at this path now: the directory was removed and made again, and is somebody else's."""
    return os.path.exists(path) and not leads_to(path, descriptor)


def exit_information(pidfd: int) -> int | None:
    """The wait status of a process that somebody else reaped, from kernels since 6.15; None where it is not told."""
    buffer = bytearray(64)
    struct.pack_into("Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("Q", buffer, 0)
    (status,) = struct.unpack_from("i", buffer, 60)
    return status if mask & _PIDFD_INFO_EXIT else None


def has_exit_information() -> bool:
    """Try it on a child of our own."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    told = exit_information(pidfd)
    os.close(pidfd)
    return told == 7 << 8


def open_pidfd(pid: int, start_ticks: int) -> int | None:
    """A pidfd of exactly the process that started then; None if it has gone, even if its number lives again."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    seen = stat(pid)
    if seen is None or seen.start_ticks != start_ticks:
        os.close(pidfd)
        return None
    return pidfd


def send(pidfd: int, signal_number: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, signal_number)
    except ProcessLookupError:
        return False
    return True


def punch_hole(descriptor: int, length: int) -> None:
    """Give back the disk of the first `length` bytes; size and offsets stay.  OSError where the file system cannot."""
    arguments = (ctypes.c_int(_FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE), ctypes.c_int64(0), ctypes.c_int64(length))
    if _libc.fallocate(descriptor, *arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def reserve(descriptor: int, length: int) -> None:
    """Take disk for the first `length` bytes, the size stays.  A file system that cannot reserves nothing."""
    arguments = (ctypes.c_int(_FALLOC_KEEP_SIZE), ctypes.c_int64(0), ctypes.c_int64(length))
    if _libc.fallocate(descriptor, *arguments) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65_536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(descriptor)
