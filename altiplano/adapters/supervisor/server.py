"""The supervisor's loop: one thread, one epoll, a Unix socket for the agent.

A line of JSON each way.  Asked: `[number, verb, {arguments}]`.  Answered:
`[number, "ok", value]` or `[number, "refused", kind, sentence]`; told unasked:
`[0, "exited", {…}]` and `[0, "degraded", [sentences]]`, once `hello` was said.

The one thing to know before changing it: when the keeper dies this process
becomes the keeper by `execve`.  Nothing that matters is in memory, its children
stay its children, and the supervisor it then starts reads the records.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

import altiplano
from altiplano.adapters.supervisor import containers, keeper, processes
from altiplano.kit import crash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
REQUEST_BYTES_MAX = 256 * 1024
REPLY_BYTES_WAITING_MAX = 64 * 1024 * 1024
"""A client that does not read is cut off here; it gets everything again when it comes back."""
REQUESTS_PER_TURN = 16
"""Starts between two looks at ends, so that neither starves the other."""
SWEEP_EVERY_S = 1.0
TRIM_EVERY_S = 0.25
CLEAN_EVERY_S = 0.01
IDLE_S_MAX = 10.0
"""Without containers only this wakes it: for a look whether anything is left to stay for."""
ALONE_S_MAX = 60.0
"""How long it waits for the next agent while nothing runs.  All it knows is in the records by then."""

POINTS = (
    "started",
    "recovered",
    "before_intent",
    "after_intent",
    "after_cgroup",
    "after_spawn",
    "after_settle",
    "after_start_record",
    "exit_seen",
    "exit_written",
    "exit_durable",
    "exit_reaped",
    "exit_told",
    "cleaned",
    "after_forget",
    "compaction_written",
    "compaction_renamed",
)
"""Crash points of a supervisor (`altiplano.kit.crash`)."""
READ_BYTES = 256 * 1024


_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def may_leave(*, containers: int, clients: int, alone_s: float, directory_there: bool) -> bool:
    """Whether nothing is lost when the supervisor goes unasked.

    Never while a container is there.  Without one, its memory holds nothing that the records do not: whoever comes
    to the directory starts the next in milliseconds.  And to a directory that is gone, nobody comes.
    """
    return containers == 0 and (not directory_there or (clients == 0 and alone_s >= ALONE_S_MAX))


class Connection:
    """One client."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.unread = b""
        self.requests: collections.deque[list[Any]] = collections.deque()
        self.unsent = bytearray()
        self.listens = False
        self.writing = False
        self.gone = False

    def receive(self) -> None:
        """Take what is there; a closed or misbehaving client is marked gone."""
        try:
            part = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self.gone = True
            return
        lines, _, self.unread = (self.unread + part).rpartition(b"\n")
        if len(self.unread) > REQUEST_BYTES_MAX:
            self.gone = True
            return
        try:
            self.requests += map(json.loads, filter(None, lines.decode().split("\n")))
        except ValueError:
            self.gone = True

    def say(self, *words: Any) -> None:
        self.unsent += _json(words).encode() + b"\n"

    def flush(self) -> None:
        try:
            sent = self.sock.send(self.unsent)
            del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.gone = True
        if len(self.unsent) > REPLY_BYTES_WAITING_MAX:
            self.gone = True


class Supervisor:
    """Serves until stopped, or until the keeper's death makes it the keeper."""

    def __init__(self, state: str, agent_key: str, lock: int, listener: int, link: containers.KeeperLink) -> None:
        self.state = state
        self.agent_key = agent_key
        self.lock = lock
        self.listener = socket.socket(fileno=listener)
        self.listener.setblocking(False)
        self.link = link
        self.epoll = select.epoll()
        self.containers = containers.Containers(state, agent_key, link, self.epoll)
        self.connections: dict[int, Connection] = {}
        self.degraded: list[str] = []
        self.stop_deadline: float | None = None
        self.needed_at = time.monotonic()
        self._stoppers: list[tuple[Connection, int]] = []
        self._next_sweep = self._next_trim = self._next_clean = self._next_look = 0.0
        for descriptor in (listener, link.answers):
            self.epoll.register(descriptor, select.EPOLLIN)

    def run(self, heir: bool) -> None:
        try:
            self.containers.recover(heir)
            self._tell_degraded()
            while not (self._abandoned() if self.stop_deadline is None else self._stopped()):
                self._turn()
        except containers.KeeperLost:
            self._become_keeper()
        self._leave()

    def _turn(self) -> None:
        ready = []
        ended = []
        for descriptor, events in self.epoll.poll(self._wait_s(), 1024):
            if descriptor in self.containers.by_pidfd:
                ended.append((descriptor, events))
            else:
                ready.append((descriptor, events))
        for descriptor, events in ready:
            if descriptor == self.listener.fileno():
                self._accept()
            elif descriptor == self.link.answers:
                raise containers.KeeperLost
            else:
                self._receive(self.connections[descriptor], events)
        if ended:
            self._tell_ended(self.containers.take_ended(ended))
        self._serve()
        self._timers()
        for connection in list(self.connections.values()):
            self._flush(connection)

    def _wait_s(self) -> float:
        if any(connection.requests for connection in self.connections.values()):
            return 0.0
        now = time.monotonic()
        due = self._next_sweep if self.containers.live or self.degraded else now + IDLE_S_MAX
        if self.containers.bounded:
            due = min(due, self._next_trim)
        if self.containers.restless or self.stop_deadline is not None:
            due = min(due, self._next_clean)
        return max(0.0, due - now)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return  # it gave up again, or there is no descriptor left; it will come back
        self.connections[sock.fileno()] = Connection(sock)
        self.epoll.register(sock.fileno(), select.EPOLLIN)

    def _receive(self, connection: Connection, events: int) -> None:
        if events & ~select.EPOLLOUT:
            connection.receive()

    def _serve(self) -> None:
        for connection in list(self.connections.values()):
            for _ in range(min(REQUESTS_PER_TURN, len(connection.requests))):
                number, verb, arguments = connection.requests.popleft()
                try:
                    self._answer(connection, number, verb, arguments)
                except containers.Refused as refusal:
                    connection.say(number, "refused", refusal.kind, str(refusal))

    def _answer(self, connection: Connection, number: int, verb: str, arguments: dict[str, Any]) -> None:
        match verb:
            case "launch":
                if self.stop_deadline is not None:
                    raise containers.Refused("LauncherClosed", "The launcher is being stopped and starts nothing.")
                connection.say(number, "ok", self.containers.launch(arguments))
            case "kill":
                self.containers.kill(arguments["container_id"], arguments["signal_number"], arguments["scope"])
                connection.say(number, "ok", None)
            case "destroy":
                self.containers.destroy(arguments["container_id"], lambda: connection.say(number, "ok", None))
            case "forget":
                self.containers.forget(arguments["container_id"])
                connection.say(number, "ok", None)
            case "update":
                self.containers.update(arguments["container_id"], arguments["limits"])
                connection.say(number, "ok", None)
            case "inventory":
                connection.say(number, "ok", self.containers.inventory())
            case "usage":
                connection.say(number, "ok", self.containers.usage(arguments["container_id"]))
            case "hello":
                connection.listens = True
                connection.say(number, "ok", self._introduction())
                for fact in self.containers.untold():
                    connection.say(0, "exited", fact)
            case "upgrade":
                self._upgrade()
            case "stop":
                self._stoppers.append((connection, number))
                self._stop(arguments["grace_s"])
            case _:
                raise containers.Refused("LauncherError", f"This supervisor knows no request {verb}.")

    def _introduction(self) -> dict[str, Any]:
        groups = self.containers.groups
        facts = [
            f"The {name} controller is cgroup v{found.version} at {found.mount}."
            for name, found in sorted(groups.hierarchies.items())
        ]
        if groups.trouble is not None:
            facts = [f"Isolation is posix: process groups and rlimits only. {groups.trouble}"]
        if self.containers.exit_information:
            facts.append("The kernel tells the status of a process that somebody else reaped.")
        pids = {"pid": os.getpid(), "keeper_pid": self.link.pid}
        return {
            "protocol": PROTOCOL,
            "version": altiplano.__version__,
            "facts": facts,
            "degraded": self.degraded,
            **pids,
        }

    def _tell_ended(self, ends: list[dict[str, Any]]) -> None:
        for connection in list(self.connections.values()):  # one that is gone is dropped on the way
            if connection.listens:
                for end in ends:
                    connection.say(0, "exited", end)
                self._flush(connection)
        if ends:
            crash.at("exit_told")
            self._next_clean = 0.0

    def _timers(self) -> None:
        now = time.monotonic()
        if self._next_clean <= now and (self.containers.restless or self.stop_deadline is not None):
            self.containers.clean()
            self._next_clean = now + CLEAN_EVERY_S
        if self.containers.bounded and self._next_trim <= now:
            self.containers.trim_outputs()
            self._next_trim = now + TRIM_EVERY_S
        if self._next_sweep <= now:
            self.containers.sweep()
            self.containers.file.compact_if_worth()
            self._tell_degraded()
            self._next_sweep = now + SWEEP_EVERY_S

    def _abandoned(self) -> bool:
        """Nothing runs, and nobody comes any more."""
        containers = len(self.containers.live) + len(self.containers.dying)
        now = time.monotonic()
        if containers or self.connections:
            self.needed_at = now
        if containers or (self.connections and now < self._next_look):
            return False
        self._next_look = now + SWEEP_EVERY_S
        return may_leave(
            containers=containers,
            clients=len(self.connections),
            alone_s=now - self.needed_at,
            directory_there=processes.leads_to(f"{self.state}/lock", self.lock),
        )

    def _tell_degraded(self) -> None:
        sentences = self.containers.degraded()
        if sentences != self.degraded:
            self.degraded = sentences
            for connection in self.connections.values():
                if connection.listens:
                    connection.say(0, "degraded", sentences)

    def _flush(self, connection: Connection) -> None:
        if connection.unsent:
            connection.flush()
            if connection.writing != bool(connection.unsent):
                connection.writing = not connection.writing
                wanted = select.EPOLLIN | (select.EPOLLOUT if connection.writing else 0)
                self.epoll.modify(connection.sock.fileno(), wanted)
        if connection.gone:
            descriptor = connection.sock.fileno()
            if descriptor in self.connections:
                del self.connections[descriptor]
                self.epoll.unregister(descriptor)
                connection.sock.close()

    def _stop(self, grace_s: float) -> None:
        for live in self.containers.live.values():
            self.containers.signal_all(live, signal.SIGTERM)
        self.stop_deadline = time.monotonic() + grace_s

    def _stopped(self) -> bool:
        """All containers have ended and nothing of them is left."""
        if self.containers.live and self.stop_deadline is not None and time.monotonic() >= self.stop_deadline:
            for live in self.containers.live.values():
                live.doomed = True
        return not self.containers.live and not self.containers.dying

    def _leave(self) -> None:
        """Say goodbye in this order: what a client sees as gone must be gone."""
        me = os.getpid()
        # What the keeper inherited and nobody could attribute hides just as well as what hides below us.
        for pid in {*processes.descendants(me), *processes.descendants(self.link.pid)} - {me}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A full disk must not keep us: the next one would fail here as well.
        if processes.leads_to(f"{self.state}/lock", self.lock):
            with contextlib.suppress(OSError):
                self.containers.file.compact()
        if not processes.taken_over(f"{self.state}/lock", self.lock):
            if self.containers.groups.trouble is None:
                self.containers.groups.remove_base()
            with contextlib.suppress(OSError):
                os.unlink(f"{self.state}/socket")
        self.link.say("leave")
        for connection, number in self._stoppers:
            connection.say(0, "stopped")
            connection.say(number, "ok", [os.getpid(), self.link.pid])
            self._flush(connection)

    def _upgrade(self) -> None:
        """Go on with the programs that are on disk now: the keeper, then this process; the agent connects again."""
        self.link.say("upgrade")
        descriptors = (self.lock, self.listener.fileno(), self.link.requests, self.link.answers)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        self.containers.restore_files_limit()
        place = (self.state, self.agent_key, *map(str, descriptors))
        os.execve(sys.executable, keeper.interpreter("server", *place, "heir"), dict(os.environ))

    def _become_keeper(self) -> None:
        """Our children stay ours over the exec, and their zombies wait; the agent connects again."""
        for descriptor in (self.lock, self.listener.fileno()):
            os.set_inheritable(descriptor, True)
        self.containers.restore_files_limit()
        names = {name: value for name, value in os.environ.items() if name != "ALTIPLANO_SUPERVISOR"}
        place = (self.state, self.agent_key, str(self.lock), str(self.listener.fileno()))
        os.execve(sys.executable, keeper.interpreter("keeper", *place, "heir"), names)


def main(arguments: list[str]) -> None:
    """`server.py STATE_DIR AGENT_KEY LOCK_FD LISTEN_FD REQUESTS_FD ANSWERS_FD fresh|heir`."""
    state, agent_key, *numbers, mode = arguments
    lock, listener, requests, answers = map(int, numbers)
    for descriptor in (lock, listener, requests, answers):
        os.set_inheritable(descriptor, False)
    os.chdir("/")
    os.umask(0o022)
    crash.arm("supervisor", POINTS)
    processes.become_subreaper("altiplano-super")
    link = containers.KeeperLink(requests, answers)
    Supervisor(state, agent_key, lock, listener, link).run(mode == "heir")
