"""The process above the supervisor: it inherits the tasks of one that died and starts the next.

It never writes a file.  The zombie of a task is the durable record until the
supervisor, which asks for its status, has written it down and tells the keeper
to reap.  Requests come through a pipe, one line each:

    look PID   -> "STATUS CPU_S PEAK_BYTES" | "alive" | "alien" (not a child of the keeper)
    reap PID   -> "reaped" | "alien"
    leave      -> the next end of the supervisor is the end of the keeper as well
    upgrade    -> no answer: this process goes on with the program that is on disk now
"""

from __future__ import annotations

import os
import sys
import time

from altiplano.adapters.supervisor import processes
from altiplano.kit import crash

RESTARTS_QUICK_MAX = 8
"""So many restarts come at once; later ones wait, lest a broken supervisor eat a processor."""
RESTART_WAIT_S = 0.5
RESTART_WAIT_S_MAX = 5.0
"""The pause doubles up to this: starts of tasks wait for it, so it must not be long."""
RESTARTS_IN_VAIN_MAX = 12
"""After so many quick ones, some 8 s, a keeper that has nothing to keep leaves; the next agent tries again."""
QUICK_S = 10.0
"""A supervisor that lived so long was not broken."""

POINTS = ("started", "after_spawn", "supervisor_reaped", "before_look", "before_reap", "after_reap")
"""Crash points of a keeper, in the order of its life (`altiplano.kit.crash`)."""


def main(arguments: list[str]) -> None:
    """`keeper.py STATE_DIR AGENT_KEY LOCK_FD LISTEN_FD MODE`.

    MODE: `fresh`: detach from the starter first.  `heir`: this process was the
    supervisor, its tasks are our children.  `PID,REQUESTS,ANSWERS`: this
    process was the keeper of that supervisor, in an older version.
    """
    state, agent_key, lock, listener, mode = arguments
    if mode == "fresh":
        if os.fork():
            os._exit(0)
        os.setsid()
    os.chdir("/")
    os.umask(0o022)
    processes.become_subreaper("altiplano-keep")
    crash.arm("keeper", POINTS)
    crash.at("started")
    keeper = Keeper([state, agent_key, lock, listener])
    heir = mode == "heir"
    if mode not in ("fresh", "heir"):
        keeper.serve(*map(int, mode.split(",")))
        heir = True
    quick = 0
    while not keeper.leaving:
        start = time.monotonic()
        keeper.serve(*keeper.start(heir))
        heir = True  # whatever the dead supervisor had started is ours now
        quick = quick + 1 if time.monotonic() - start < QUICK_S else 0
        if quick and not processes.leads_to(f"{state}/lock", int(lock)):
            # Somebody removed the work directory: nobody will ever ask how the tasks below us have ended.
            processes.reap_all()
            quick = max(quick, RESTARTS_IN_VAIN_MAX)
        if quick >= RESTARTS_IN_VAIN_MAX and not processes.children(os.getpid()):
            if not processes.taken_over(f"{state}/lock", int(lock)):
                _remove_cgroups(agent_key)
            return
        if quick > RESTARTS_QUICK_MAX and not keeper.leaving:
            time.sleep(min(RESTART_WAIT_S * 2 ** (quick - RESTARTS_QUICK_MAX - 1), RESTART_WAIT_S_MAX))


def _remove_cgroups(agent_key: str) -> None:
    """What no supervisor came to remove; the kernel lets go of empty ones only."""
    from altiplano.adapters import cgroups  # a keeper that has a supervisor does without it

    groups = cgroups.Cgroups(agent_key)
    if groups.trouble is None:
        for leaf in groups.leftovers(()):
            leaf.remove()
        groups.remove_base()


class Keeper:
    """One supervisor after the other."""

    def __init__(self, place: list[str]) -> None:
        self.place = place
        self.leaving = False

    def start(self, heir: bool) -> tuple[int, int, int]:
        """The pid of a new supervisor, the pipe it asks through and the pipe for answers."""
        requests, requests_in = os.pipe()
        answers_out, answers = os.pipe()
        for descriptor in (requests_in, answers_out):
            os.set_inheritable(descriptor, True)
        pid = os.posix_spawn(
            sys.executable,
            interpreter("server", *self.place, str(requests_in), str(answers_out), "heir" if heir else "fresh"),
            {**os.environ, "ALTIPLANO_SUPERVISOR": self.place[0]},
            setsid=True,
        )
        os.close(requests_in)
        os.close(answers_out)
        crash.at("after_spawn")
        return pid, requests, answers

    def serve(self, pid: int, requests: int, answers: int) -> None:
        """Answer a supervisor until it ends, then take its zombie away."""
        for descriptor in (requests, answers):
            os.set_inheritable(descriptor, False)
        rest = b""
        while part := os.read(requests, 65_536):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if line == b"upgrade":
                    self._upgrade(pid, requests, answers)
                answer = self._answer(line.decode())
                if answer:
                    try:
                        os.write(answers, answer.encode() + b"\n")
                    except BrokenPipeError:
                        break  # it died while asking; the reader sees the end
        os.close(requests)
        os.close(answers)
        os.waitpid(pid, 0)
        crash.at("supervisor_reaped")

    def _upgrade(self, pid: int, requests: int, answers: int) -> None:
        # The supervisor says nothing after this request until it is a new program itself, so no line is lost.
        for descriptor in (requests, answers):
            os.set_inheritable(descriptor, True)
        mode = f"{pid},{requests},{answers}"
        os.execve(sys.executable, interpreter("keeper", *self.place, mode), dict(os.environ))

    def _answer(self, line: str) -> str:
        verb, _, number = line.partition(" ")
        if verb == "leave":
            self.leaving = True
            return ""
        if verb == "look":
            crash.at("before_look")
            try:
                ended = processes.look(int(number))
            except ChildProcessError:
                return "alien"
            return "alive" if ended is None else f"{ended.status} {ended.cpu_s} {ended.peak_bytes}"
        crash.at("before_reap")
        answer = "reaped" if processes.reap(int(number)) else "alien"
        crash.at("after_reap")
        return answer


def interpreter(module: str, *arguments: str) -> list[str]:
    """The command line of one of our processes: isolated, without site-packages, small."""
    root = __file__.rsplit("/altiplano/", 1)[0]
    code = (
        f"import sys; sys.path.append({root!r}); "
        f"from altiplano.adapters.supervisor import {module}; {module}.main(sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", code, *arguments]
