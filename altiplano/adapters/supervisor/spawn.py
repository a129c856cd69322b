"""From a spec to a process, on the fast way or the careful one.

Fast: posix_spawn, which borrows our memory until the exec.  Careful: fork of
this small process, only for what posix_spawn cannot set, another user and
resource limits.  The caller has brought us into the container's cgroup.
"""

from __future__ import annotations

import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    Spec = dict[str, Any]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]
# Ignored signals would stay ignored in the task; Python ignores SIGPIPE and SIGXFSZ.
_IGNORED = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
_NULL = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class LaunchTrouble(Exception):
    """Why a program did not start, as a sentence for whoever asked."""


class User:
    """Whom to become; None where that is ourselves."""

    __slots__ = ("gid", "groups", "name", "uid")

    def __init__(self, name: str, uid: int, gid: int, groups: list[int]) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.groups = groups


def find_user(name: str | None) -> User | None:
    if name is None:
        return None
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LaunchTrouble(f"This machine has no user {name}; name one it has, or none.") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise LaunchTrouble(f"A task cannot become {name}: the agent does not run as root.")
    return User(name, entry.pw_uid, entry.pw_gid, os.getgrouplist(name, entry.pw_gid))


def open_output(path: str, user: User | None) -> int:
    """An append-only file for one of the standard streams."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise LaunchTrouble(f"The output file {path} cannot be opened: {error.strerror}.") from error
    if user is not None:
        os.fchown(descriptor, user.uid, user.gid)
    return descriptor


def resolve(spec: Spec) -> str:
    """The path to execute; a bare name is searched in the container's own PATH."""
    name: str = spec["executable"]
    if "/" in name:
        return name
    path = dict(spec["environment"]).get("PATH") or DEFAULT_PATH
    for folder in path.split(":"):
        candidate = f"{folder or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise LaunchTrouble(f"The program {name} is in no directory of PATH ({path}).")


def prepare(spec: Spec) -> str:
    """Go to the sandbox and find the program; a bad spec raises before anything is started."""
    try:
        os.chdir(spec["directory"])
    except OSError as error:
        raise LaunchTrouble(f"The directory {spec['directory']} cannot be entered: {error.strerror}.") from error
    return resolve(spec)


def environment(spec: Spec) -> dict[str, str]:
    return {**dict(spec["environment"]), "ALTIPLANO_CONTAINER": spec["container_id"]}


def fast(spec: Spec, path: str, stdout: int, stderr: int) -> int:
    """Start with our own user and limits; the pid."""
    actions = [
        (os.POSIX_SPAWN_DUP2, _NULL, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]
    try:
        return os.posix_spawn(
            path, spec["argv"], environment(spec), file_actions=actions, setsid=True, setsigmask=(), setsigdef=_IGNORED
        )
    except (OSError, ValueError) as error:
        raise LaunchTrouble(_explain(path, error)) from error


def careful(spec: Spec, path: str, stdout: int, stderr: int, user: User | None, joins: Sequence[str] = ()) -> int:
    """Start with another user or other resource limits, or in cgroups that are in use; the pid."""
    limits = [_rlimit(limit) for limit in spec["rlimits"]]
    names = environment(spec)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(spec, path, names, (stdout, stderr), user, limits, writer, joins)
    os.close(writer)
    told = b""
    while part := os.read(reader, 4096):
        told += part
    os.close(reader)
    if not told:
        return pid
    os.waitpid(pid, 0)
    step, _, code = told.decode().rpartition(" ")
    if step == "exec":
        raise LaunchTrouble(_explain(path, OSError(int(code), os.strerror(int(code)))))
    raise LaunchTrouble(f"{step}: {os.strerror(int(code))}." if code != "0" else f"{step}.")


def _become(
    spec: Spec,
    path: str,
    names: dict[str, str],
    outputs: tuple[int, int],
    user: User | None,
    limits: list[tuple[str, int, tuple[int, int]]],
    writer: int,
    joins: Sequence[str],
) -> NoReturn:
    """The child's part: it ends in the program, or tells through the pipe what was refused."""
    import resource

    step = "A new session was refused"
    try:
        os.setsid()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(_NULL, 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        step = "The cgroup of its container takes no process"
        for threads in joins:
            # We go ourselves: the supervisor would be bound by the limits of others while it is inside.
            descriptor = os.open(threads, os.O_WRONLY | os.O_CLOEXEC)
            os.write(descriptor, b"0")
            os.close(descriptor)
        for name, number, pair in limits:
            step = f"The limit {name}={pair} was refused"
            resource.setrlimit(number, pair)
        if user is not None:
            step = f"Becoming the user {user.name} was refused"
            os.setgroups(user.groups)
            os.setgid(user.gid)
            os.setuid(user.uid)
            step = f"The directory {spec['directory']} cannot be entered by {user.name}"
            os.chdir(spec["directory"])
        step = "exec"
        os.execve(path, spec["argv"], names)
    except OSError as error:
        os.write(writer, f"{step} {error.errno}".encode())
    except ValueError as error:
        os.write(writer, f"{step}: {error} 0".encode())
    finally:
        os._exit(127)


def _rlimit(limit: dict[str, Any]) -> tuple[str, int, tuple[int, int]]:
    import resource

    number = getattr(resource, limit["name"], None)
    if not limit["name"].startswith("RLIMIT_") or not isinstance(number, int):
        raise LaunchTrouble(f"There is no resource limit {limit['name']}; names are like RLIMIT_NOFILE.")
    soft, hard = (-1 if value is None else value for value in (limit["soft"], limit["hard"]))
    return limit["name"], number, (soft, hard)


def _explain(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return f"The program {path} cannot be started: {error}."
    code = error.errno
    if code in (errno.ENOENT, errno.ENOTDIR):
        if os.path.exists(path):
            return f"The program {path} exists, but the interpreter or loader it names does not."
        return f"The program {path} does not exist."
    if code == errno.EACCES:
        return f"The program {path} may not be executed: permission denied."
    if code == errno.ENOEXEC:
        return f"The file {path} is no program: it is neither a binary of this machine nor does it begin with #!."
    if code == errno.E2BIG:
        return f"The program {path} got more arguments and environment than the kernel takes."
    return f"The program {path} cannot be started: {os.strerror(code or 0)}."
