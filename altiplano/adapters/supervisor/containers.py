"""The supervisor's containers: started, watched, killed, recorded, reaped, cleaned up after.

Three kinds of parent are possible, and whose child a leader is may change at
any moment: ours (the plain case), the keeper's (a supervisor died), nobody's
(both died; pid 1 reaps, and the kernel tells the status through our pidfd
where it can).  `_look` asks in that order each time and trusts no memory.

The order at an end is: look (the zombie stays), write, kill what is left, sync,
reap, tell.  Until the sync the zombie is the record.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time

from altiplano.adapters import cgroups
from altiplano.adapters.supervisor import outputs, processes, records, spawn
from altiplano.kit import crash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Fact = dict[str, Any]

SPEC_BYTES_MAX = 128 * 1024
INTENT_SEARCH_S_MAX = 5.0
"""How long a child of a dead supervisor may take from its fork to its exec."""
OOM_SHARE_MIN = 0.9
"""A container that never used this share of its limit and ended well was not killed for want of memory."""
UNSEEN = "It ended while neither supervisor nor keeper was there to see how."


class Refused(Exception):
    """A request that cannot be carried out; `kind` is the port's exception."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class KeeperLost(Exception):
    """The keeper has died; this process takes its place."""


class KeeperLink:
    """The supervisor's end of the two pipes to its keeper."""

    def __init__(self, requests: int, answers: int) -> None:
        self.requests = requests
        self.answers = answers
        self.pid = os.getppid()

    def ask(self, request: str) -> str:
        try:
            os.write(self.requests, request.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                part = os.read(self.answers, 256)
                if not part:
                    raise KeeperLost
                answer += part
        except BrokenPipeError:
            raise KeeperLost from None
        return answer.decode().strip()

    def say(self, word: str) -> None:
        """Tell what has no answer: `leave` before an end that is meant, `upgrade`."""
        try:
            os.write(self.requests, word.encode() + b"\n")
        except BrokenPipeError:
            raise KeeperLost from None


class Live:
    """What is open for one container, from its start until nothing of it is left."""

    __slots__ = ("doomed", "foreign", "guests", "id", "leaf", "pid", "pidfd", "trimmed", "waiters")

    def __init__(self, container_id: str, pid: int, pidfd: int, leaf: cgroups.Leaf | None) -> None:
        self.id = container_id
        self.pid = pid
        self.pidfd = pidfd
        self.leaf = leaf
        self.foreign = False
        self.doomed = False
        self.trimmed = False
        self.waiters: list[Callable[[], None]] = []
        self.guests: set[str] = set()
        """Containers that were started inside of it and end with it."""


class Containers:
    """All of them.  One thread; every method returns with files and table in agreement."""

    def __init__(self, state: str, agent_key: str, keeper: KeeperLink, epoll: select.epoll) -> None:
        self.file = records.RecordFile(f"{state}/records", processes.boot_id())
        self.groups = cgroups.Cgroups(agent_key)
        self.keeper = keeper
        self.epoll = epoll
        self.exit_information = processes.has_exit_information()
        self.live: dict[str, Live] = {}
        self.by_pidfd: dict[int, Live] = {}
        self.leaders: set[int] = set()
        self.dying: dict[str, Live] = {}
        self.bounded: set[str] = set()
        self.keeper_has_tasks = False
        self.copied_outputs = False
        self._strays: dict[int, tuple[int, str | None]] = {}
        self._soft_files, self._hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files_limit(self._hard_files)

    # Asked of us.

    def launch(self, spec: Fact) -> Fact:
        container_id = spec["container_id"]
        known = self.file.table.records.get(container_id)
        if known is not None:
            return known.start()
        inside = spec.get("inside")
        host = self._running(inside) if inside is not None else None
        if host is not None and host.doomed:
            raise Refused("UnknownContainer", f"The container {inside} is being ended.")
        crash.at("before_intent")
        intent = {key: spec[key] for key in ("directory", "stdout", "stderr", "output_max_bytes", "cgroup")}
        if host is not None:
            intent["inside"] = inside
        try:
            self.file.reserve()
            self.file.write({"kind": "intent", "id": container_id, "ticks": processes.uptime_ticks(), **intent})
        except OSError as error:
            raise Refused(
                "LaunchRefused", f"{container_id} cannot be recorded and was not started: {error.strerror}."
            ) from error
        crash.at("after_intent")
        leaf = None
        try:
            if spec["cgroup"] is not None:
                leaf = self.groups.leaf(container_id, spec["cgroup"])
                leaf.make(spec["cgroup"])
                crash.at("after_cgroup")
            pid = self._spawn(spec, leaf, host)
        except (spawn.LaunchTrouble, cgroups.CgroupTrouble) as error:
            return self._fail(container_id, leaf, str(error))
        crash.at("after_spawn")
        if leaf is not None:
            try:
                leaf.settle(spec["cgroup"])
            except cgroups.CgroupTrouble as error:
                os.kill(pid, 9)  # it may not run without its limits
                os.waitpid(pid, 0)
                return self._fail(container_id, leaf, str(error))
        crash.at("after_settle")
        seen = processes.stat(pid)
        assert seen is not None, f"our child {pid} cannot be gone: nobody but us reaps it"
        self._started(container_id, pid, seen.start_ticks)
        crash.at("after_start_record")
        self._watch(container_id, pid, os.pidfd_open(pid), leaf)
        return self.file.table.records[container_id].start()

    def _fail(self, container_id: str, leaf: cgroups.Leaf | None, sentence: str) -> Fact:
        self.file.write({"kind": "failed", "id": container_id, "sentence": sentence})
        if leaf is not None:
            self._doom_leaf(leaf)
        return self.file.table.records[container_id].start()

    def _doom_leaf(self, leaf: cgroups.Leaf) -> None:
        """Cgroups without a leader: whoever is inside is killed, then they go."""
        live = Live(leaf.container_id, 0, -1, leaf)
        live.doomed = True
        self.dying[leaf.container_id] = live

    def _started(self, container_id: str, pid: int, ticks: int) -> None:
        start = {"pid": pid, "start_ticks": ticks, "started_wall_s": time.time()}
        self.file.write({"kind": "started", "id": container_id, **start})

    def _spawn(self, spec: Fact, leaf: cgroups.Leaf | None, host: Live | None) -> int:
        user = spawn.find_user(spec["user"])
        path = spawn.prepare(spec)
        stdout = spawn.open_output(spec["stdout"], user)
        try:
            stderr = spawn.open_output(spec["stderr"], user)
        except spawn.LaunchTrouble:
            os.close(stdout)
            raise
        try:
            if leaf is not None:
                leaf.enter()
            self._files_limit(self._soft_files)
            joins = host.leaf.doors() if host is not None and host.leaf is not None else []
            if user is None and not spec["rlimits"] and not joins:
                return spawn.fast(spec, path, stdout, stderr)
            return spawn.careful(spec, path, stdout, stderr, user, joins)
        finally:
            self._files_limit(self._hard_files)
            if leaf is not None:
                leaf.leave()
            os.close(stdout)
            os.close(stderr)

    def restore_files_limit(self) -> None:
        """What the next program in this process inherits is what we inherited."""
        self._files_limit(self._soft_files)

    def _files_limit(self, soft: int) -> None:
        # We hold a pidfd per task and need many; a task must get the limit that the agent was started with.
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard_files))

    def _watch(self, container_id: str, pid: int, pidfd: int, leaf: cgroups.Leaf | None) -> None:
        live = Live(container_id, pid, pidfd, leaf)
        self.live[container_id] = live
        self.by_pidfd[pidfd] = live
        self.leaders.add(pid)
        self.epoll.register(pidfd, select.EPOLLIN)
        facts = self.file.table.records[container_id].facts
        if facts.get("output_max_bytes") is not None:
            self.bounded.add(container_id)
        if (inside := facts.get("inside")) is None:
            return
        if (host := self.live.get(inside)) is not None:
            host.guests.add(container_id)
        else:
            live.doomed = True  # It was found after a death of ours, and its container has ended.

    def kill(self, container_id: str, signal_number: int, scope: str) -> None:
        live = self._running(container_id)
        if not processes.send(live.pidfd, 0):
            raise Refused("UnknownContainer", f"The container {container_id} has just ended.")
        if scope == "group":
            try:
                os.killpg(live.pid, signal_number)
            except ProcessLookupError:
                raise Refused("UnknownContainer", f"The container {container_id} has just ended.") from None
        else:
            self.signal_all(live, signal_number)

    def _running(self, container_id: str) -> Live:
        record = self.file.table.records.get(container_id)
        if record is None or record.state != records.RUNNING:
            state = "is not known" if record is None else f"does not run: it is {record.state}"
            raise Refused("UnknownContainer", f"The container {container_id} {state}.")
        return self.live[container_id]

    def signal_all(self, live: Live, signal_number: int) -> None:
        if live.leaf is not None:
            live.leaf.signal(signal_number)
            return
        for pid in self._members(live):
            _kill(pid, signal_number)

    def _members(self, live: Live) -> set[int]:
        """Every living process of a container without a cgroup."""
        found = {live.pid, *processes.descendants(live.pid)}
        if live.foreign:
            # Its orphans went to pid 1: only the marker tells them.
            return found | {pid for pid in processes.everybody() if processes.container_of(pid) == live.id}
        for pid in self._orphans():
            if self._owner_of(pid) == live.id:
                found |= {pid, *processes.descendants(pid)}
        return found

    def destroy(self, container_id: str, done: Callable[[], None]) -> None:
        live = self.live.get(container_id) or self.dying.get(container_id)
        if live is None:
            done()
            return
        live.doomed = True
        live.waiters.append(done)
        self.signal_all(live, 9)

    def forget(self, container_id: str) -> None:
        record = self.file.table.records.get(container_id)
        if record is None:
            return
        if record.state == records.RUNNING:
            raise Refused("LauncherError", f"The container {container_id} still runs; destroy it before forgetting it.")
        try:
            self.file.write({"kind": "forgotten", "id": container_id})
        except OSError as error:
            raise Refused("LauncherError", f"{container_id} cannot be forgotten: {error.strerror}.") from error
        crash.at("after_forget")

    def update(self, container_id: str, limits: dict[str, int | None]) -> None:
        live = self._running(container_id)
        old = self.file.table.records[container_id].limits
        if live.leaf is None or old is None:
            raise Refused("LauncherError", f"The container {container_id} was started without a cgroup: no limits.")
        merged = {**old, **{key: value for key, value in limits.items() if value is not None}}
        try:
            leaf = self.groups.leaf(container_id, merged)
            leaf.make(merged)
            leaf.spread()
            leaf.settle(merged)
        except (cgroups.CgroupTrouble, OSError) as error:
            raise Refused("LauncherError", f"The limits of {container_id} were refused: {error}") from error
        live.leaf = leaf
        self.file.write({"kind": "limits", "id": container_id, "cgroup": merged})

    def usage(self, container_id: str) -> Fact:
        live = self._running(container_id)
        pids = live.leaf.processes() if live.leaf is not None else self._members(live)
        stats = [seen for pid in pids if (seen := processes.stat(pid)) is not None and seen.state != b"Z"]
        user, system = sum(seen.user for seen in stats), sum(seen.system for seen in stats)
        usage: Fact = {
            "container_id": container_id,
            "measured_wall_s": time.time(),
            "processes": len(stats),
            "cpu_user_s": user,
            "cpu_system_s": system,
            "memory_rss_bytes": sum(seen.rss_bytes for seen in stats),
        }
        if live.leaf is not None:
            memory = live.leaf.memory()
            if memory["rss"] is not None:
                usage["memory_rss_bytes"] = memory["rss"]
            usage["memory_peak_bytes"] = memory["peak"]
            usage["memory_limit_bytes"] = (self.file.table.records[container_id].limits or {}).get("memory_hard_bytes")
            if (cpu := live.leaf.cpu_s()) is not None:
                usage["cpu_user_s"], usage["cpu_system_s"] = cpu
            if (throttling := live.leaf.throttling()) is not None:
                names = ("cpu_periods", "cpu_throttled_periods", "cpu_throttled_s")
                usage.update(zip(names, throttling, strict=True))
        return usage

    def inventory(self) -> list[Fact]:
        known = self.file.table.records.values()
        return [{"container_id": record.id, "outcome": record.outcome()} for record in known]

    def untold(self) -> list[Fact]:
        """Every end that nobody has confirmed by forgetting it."""
        return [record.outcome() for record in self.file.table.records.values() if record.state == records.EXITED]

    # What happens by itself.

    def take_ended(self, ready: Iterable[tuple[int, int]]) -> list[Fact]:
        """Record and reap the leaders whose pidfds became readable; their ends, durable, to be told."""
        finished: list[tuple[Live, processes.Ended | None]] = []
        for pidfd, events in ready:
            live = self.by_pidfd[pidfd]
            known, ended = self._look(live, bool(events & select.EPOLLHUP))
            if known:
                finished.append((live, ended))
        if not finished:
            return []
        crash.at("exit_seen")
        ends = [(live, self._exit_fact(live, ended)) for live, ended in finished]
        self.file.write(*({"kind": "exited", "id": live.id, "exit": fact} for live, fact in ends))
        for live, _ in finished:
            live.doomed = True
            self.dying[live.id] = self.live.pop(live.id)
            self._see_off(live)
            if live.leaf is not None and not live.waiters and live.leaf.remove():
                # The kernel removes empty ones only: nobody was left.
                self._gone(live)
            elif live.leaf is not None or live.foreign:
                self.signal_all(live, 9)
        self.sweep()
        crash.at("exit_written")
        if any(self.file.table.records[live.id].facts.get("inside") is None for live, _ in finished):
            # How a guest ended means nothing to anybody once the machine has lost its power.
            self.file.sync()
        crash.at("exit_durable")
        for live, _ in finished:
            self._reap(live)
        crash.at("exit_reaped")
        return [self.file.table.records[live.id].outcome() for live, _ in finished]

    def _see_off(self, live: Live) -> None:
        """One has ended: its guests end now, and it is no guest any more."""
        for guest in live.guests:
            self.live[guest].doomed = True
            self.signal_all(self.live[guest], 9)
        inside = self.file.table.records[live.id].facts.get("inside")
        if inside is not None and (host := self.live.get(inside)) is not None:
            host.guests.discard(live.id)

    def _look(self, live: Live, reaped: bool) -> tuple[bool, processes.Ended | None]:
        """Whether it is known to have ended, and how; a known end without a how is one nobody saw."""
        try:
            ended = processes.look(live.pid)
            return ended is not None, ended
        except ChildProcessError:
            pass
        answer = self.keeper.ask(f"look {live.pid}")
        if answer == "alive":
            return False, None
        if answer != "alien":
            status, cpu_s, peak = answer.split()
            return True, processes.Ended(
                int(status), None if cpu_s == "None" else float(cpu_s), None if peak == "None" else int(peak)
            )
        live.foreign = True
        if not self.exit_information:
            return True, None
        if not reaped:
            # The kernel tells the status once pid 1 has reaped it: EPOLLHUP, which needs no asking for.
            self.epoll.modify(live.pidfd, 0)
            return False, None
        found = processes.exit_information(live.pidfd)
        return True, None if found is None else processes.Ended(found, None, None)

    def _exit_fact(self, live: Live, ended: processes.Ended | None) -> Fact:
        record = self.file.table.records[live.id]
        limit = (record.limits or {}).get("memory_hard_bytes")
        fact: Fact = {
            "wait_status": None if ended is None else ended.status,
            "started_wall_s": record.facts["started_wall_s"],
            "ended_wall_s": time.time(),
            "cpu_s": None if ended is None else ended.cpu_s,
            "memory_peak_bytes": None if ended is None else ended.peak_bytes,
            "memory_limit_bytes": limit,
            "oom_killed": False,
            "limitation": UNSEEN if ended is None else None,
        }
        if live.leaf is not None:
            peak = live.leaf.peak()
            fact["memory_peak_bytes"] = peak if peak is not None else fact["memory_peak_bytes"]
            if (cpu := live.leaf.cpu_s()) is not None:
                fact["cpu_s"] = sum(cpu)
            near = limit is None or peak is None or peak > limit * OOM_SHARE_MIN
            if (near or fact["wait_status"]) and live.leaf.oom_kills():
                fact["oom_killed"] = True
                fact["limitation"] = (
                    f"Memory limit exceeded: limit {_mib(limit)} MiB, most used {_mib(peak)} MiB; "
                    "ask for more memory or use less."
                )
        if live.id in self.bounded:
            self._trim(live, record)
            self.bounded.discard(live.id)
        return fact

    def _reap(self, live: Live) -> None:
        if not processes.reap(live.pid) and not live.foreign:
            self.keeper.ask(f"reap {live.pid}")
        self.epoll.unregister(live.pidfd)
        os.close(live.pidfd)
        del self.by_pidfd[live.pidfd]
        self.leaders.discard(live.pid)

    def _orphans(self) -> list[int]:
        """Processes that came to us or to the keeper because their own parent ended."""
        me = os.getpid()
        found = [pid for pid in processes.children(me) if pid not in self.leaders]
        if self.keeper_has_tasks:
            inherited = [pid for pid in processes.children(self.keeper.pid) if pid != me]
            self.keeper_has_tasks = bool(inherited)
            found += [pid for pid in inherited if pid not in self.leaders]
        return found

    def sweep(self) -> dict[str, int]:
        """Reap dead orphans, kill those whose container has ended; how many of each container were still there."""
        left: dict[str, int] = {}
        seen_now: dict[int, tuple[int, str | None]] = {}
        for pid in self._orphans():
            seen = processes.stat(pid)
            if seen is None:
                continue
            if seen.state in (b"Z", b"X"):
                if not processes.reap(pid):
                    self.keeper.ask(f"reap {pid}")
                continue
            owner = self._owner_of(pid)
            seen_now[pid] = (seen.start_ticks, owner)
            if owner is None:
                continue
            live = self.live.get(owner)
            if live is None or live.doomed:
                left[owner] = left.get(owner, 0) + 1
                for member in (pid, *processes.descendants(pid)):
                    _kill(member, 9)
        self._strays = seen_now
        return left

    def _owner_of(self, pid: int) -> str | None:
        """The container an orphan belongs to: by the marker, else by its session, else by where it works."""
        seen = processes.stat(pid)
        if seen is None:
            return None
        cached = self._strays.get(pid)
        if cached is not None and cached[0] == seen.start_ticks and cached[1] is not None:
            return cached[1]
        owner = processes.container_of(pid)
        if owner is not None:
            return owner
        everyone = [*self.live.values(), *self.dying.values()]
        for live in everyone:
            if live.pid in (seen.session, seen.pgrp):
                return live.id
        try:
            place = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            return None
        for live in everyone:
            record = self.file.table.records.get(live.id)
            directory = record.facts.get("directory") if record is not None else None
            if directory and (place == directory or place.startswith(f"{directory}/")):
                return live.id
        return None

    def clean(self) -> None:
        """Bring everything doomed nearer to its end; answer those who wait for it."""
        for live in self.live.values():
            if live.doomed:
                self.signal_all(live, 9)
        if not self.dying:
            return
        left = self.sweep()
        for live in list(self.dying.values()):
            if live.leaf is not None:
                if not live.leaf.remove():
                    live.leaf.signal(9)
                    continue
            elif left.get(live.id) or (live.foreign and self._kill_marked(live.id)):
                continue
            self._gone(live)

    def _gone(self, live: Live) -> None:
        """Nothing of a container is left."""
        del self.dying[live.id]
        crash.at("cleaned")
        for done in live.waiters:
            done()

    def _kill_marked(self, container_id: str) -> bool:
        marked = [pid for pid in processes.everybody() if processes.container_of(pid) == container_id]
        for pid in marked:
            _kill(pid, 9)
        return bool(marked)

    @property
    def restless(self) -> bool:
        """Something is being ended and must be looked at again soon."""
        return bool(self.dying) or any(live.doomed for live in self.live.values())

    def trim_outputs(self) -> None:
        for container_id in self.bounded:
            self._trim(self.live[container_id], self.file.table.records[container_id])

    def _trim(self, live: Live, record: records.Record) -> None:
        bytes_max = record.facts["output_max_bytes"]
        for path in {record.facts["stdout"], record.facts["stderr"]}:
            done = outputs.trim(path, bytes_max, lambda number: self.signal_all(live, number))
            self.copied_outputs = self.copied_outputs or done is False

    # After the death of a supervisor.

    def recover(self, heir: bool) -> None:
        """Take over what the records tell of.  `heir`: the keeper was there all the time and has the children."""
        crash.at("started")
        self.keeper_has_tasks = heir
        for record in list(self.file.table.records.values()):
            if record.state == records.INTENT:
                self._recover_intent(record, heir)
        for record in self.file.table.records.values():
            if record.state == records.RUNNING:
                self._recover_running(record)
        for leaf in self.groups.leftovers(self.live):
            self._doom_leaf(leaf)
        self.file.sync()
        crash.at("recovered")
        self.clean()

    def _recover_running(self, record: records.Record) -> None:
        pidfd = processes.open_pidfd(record.pid, record.start_ticks) if self.file.same_life else None
        if pidfd is None:
            lost = Live(record.id, record.pid, -1, None)
            self.file.write({"kind": "exited", "id": record.id, "exit": self._exit_fact(lost, None)})
            return
        leaf = self.groups.leaf(record.id, record.limits) if record.limits is not None else None
        self._watch(record.id, record.pid, pidfd, leaf)
        seen = processes.stat(record.pid)
        self.live[record.id].foreign = seen is None or seen.parent not in (os.getpid(), self.keeper.pid)

    def _recover_intent(self, record: records.Record, heir: bool) -> None:
        """Was it spawned?  The zombie or the living child tells; without either it was not, if the keeper lived."""
        found = self._find_intended(record, heir) if self.file.same_life else None
        if found is not None:
            if record.limits is not None:
                try:
                    self.groups.leaf(record.id, record.limits).settle(record.limits)
                except cgroups.CgroupTrouble:
                    _kill(found[0], 9)  # it may not run without its limits
            self._started(record.id, *found)
        elif heir:
            self.file.write({"kind": "dropped", "id": record.id})
        else:
            sentence = "Supervisor and keeper died while starting it; it may have run and is not started again."
            self.file.write({"kind": "failed", "id": record.id, "sentence": sentence})

    def _find_intended(self, record: records.Record, heir: bool) -> tuple[int, int] | None:
        """The child that was spawned for this intent: a session leader, not older than it, the oldest such."""
        known = {other.pid for other in self.file.table.records.values() if other.state == records.RUNNING}
        known.add(os.getpid())
        deadline = time.monotonic() + INTENT_SEARCH_S_MAX
        while True:
            unclear = False
            found: list[tuple[int, int]] = []
            near = {*processes.children(os.getpid()), *processes.children(self.keeper.pid)}
            for pid in near if heir else processes.everybody():
                seen = processes.stat(pid)
                if pid in known or seen is None or seen.start_ticks < record.facts["ticks"]:
                    continue
                shown = processes.environment(pid) or b""
                if seen.state in (b"Z", b"X"):
                    if pid in near and seen.session == pid:
                        found.append((seen.start_ticks, pid))
                elif pid in near and (not shown or processes.OWN_MARKER in shown):
                    unclear = True  # between fork and exec: it still has the dead supervisor's memory
                elif seen.session == pid and processes.MARKER + record.id.encode() in shown.split(b"\0"):
                    found.append((seen.start_ticks, pid))
            if not unclear or time.monotonic() > deadline:
                break
            time.sleep(0.002)
        if not found:
            return None
        ticks, pid = min(found)
        return pid, ticks

    def degraded(self) -> list[str]:
        """What cannot be promised at present."""
        sentences = []
        if self.keeper_has_tasks or any(live.foreign for live in self.live.values()):
            parents = {live.id: processes.stat(live.pid) for live in self.live.values()}
            kept = sum(seen is not None and seen.parent == self.keeper.pid for seen in parents.values())
            foreign = sum(live.foreign for live in self.live.values())
            if kept:
                sentences.append(
                    f"A supervisor or keeper died: {kept} containers have the keeper as only parent until they end."
                )
            if foreign:
                how = "the kernel tells" if self.exit_information else "nobody will know"
                sentences.append(f"Supervisor and keeper died: {foreign} containers are orphans whose status {how}.")
        lost = sum(owner is None for _, owner in self._strays.values())
        if lost:
            sentences.append(f"{lost} processes hide from which container they came; a cgroup would have told.")
        if self.copied_outputs:
            sentences.append("The file system has no holes: bounded outputs stop their task while they are shortened.")
        return sentences


def _kill(pid: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)


def _mib(value: int | None) -> str:
    return "?" if value is None else f"{value / 1048576:.0f}"
