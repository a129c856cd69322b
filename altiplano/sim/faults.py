"""What goes wrong, and when: drawn from the seed."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from altiplano.sim.cluster import Cluster
from altiplano.sim.machine import Machine
from altiplano.sim.master import MASTER

WINDOW_S = 150.0
"""Faults happen within this time; afterwards everything heals."""

PAUSE_S_TYPICAL = 2.5
"""Between two faults."""

HOLD_S_TYPICAL = 8.0
HOLD_S_MAX = 140.0
"""Longer than a master waits for an agent, so that some become unreachable."""

SLOW_DISK_FACTOR = 300.0
EFFECTS_UNTIL_CRASH_MAX = 12
GUEST_S_MIN = 70.0
"""After so long the last framework may leave for good."""

AWAY_S_MAX = 80.0
"""A scheduler that is kept away is back within this time."""


class Faults:
    """One run's faults."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = random.Random(f"{cluster.seed} faults")
        kinds: dict[Callable[[], None], int] = {
            self._crash: 5,
            self._crash_at_effect: 10,
            self._crash_silently: cluster.silent_crashes,
            self._cut: 4,
            self._hold: 4,
            self._hold_one_way: 2,
            self._spoil: 3,
            self._slow_disks: 2,
            self._break_disk: 1,
            self._lose_launcher: 2,
            self._lose_supervisor: 1,
            self._keep_away: 2,
            self._start_another: 2,
            self._stop_agent: 2,
            self._say_good_bye: 1,
            self._crash_executor: 3,
            self._cut_executor: 3,
            self._crash_all: 1,
            self._reboot: 1,
        }
        self._kinds, self._weights = list(kinds), list(kinds.values())

    async def run(self) -> None:
        """Let things go wrong for a while."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + WINDOW_S
        guest = self._cluster.workload.frameworks[-1]
        leaves_s = self._dice.uniform(GUEST_S_MIN, WINDOW_S)
        loop.call_later(leaves_s, self._cluster.keep_away, guest, math.inf)
        while loop.time() < end_s:
            await asyncio.sleep(self._dice.expovariate(1 / PAUSE_S_TYPICAL))
            (kind,) = self._dice.choices(self._kinds, self._weights)
            self._cluster.history.line(f"FAULT {kind.__name__.lstrip('_')}")
            kind()
        await asyncio.sleep(HOLD_S_MAX)
        for process in self._cluster.processes.values():
            process.crash_after_effects = None

    def _framework(self) -> str:
        return self._dice.choice(self._cluster.workload.frameworks)

    def _machine(self) -> Machine:
        return self._dice.choice(list(self._cluster.machines.values()))

    def _keep_away(self) -> None:
        """A scheduler is away, some longer than they may."""
        self._cluster.keep_away(self._framework(), self._dice.uniform(5, AWAY_S_MAX))

    def _start_another(self) -> None:
        """Another instance of a framework takes over while the first one still runs."""
        name = self._framework()
        if self._cluster.processes[name].alive:
            self._cluster.start_another(name)

    def _stop_agent(self) -> None:
        """A person stops an agent, perhaps with its tasks."""
        machine, with_tasks = self._machine(), self._dice.random() < 0.3
        process = self._cluster.processes[machine.name]
        if process.alive:
            if with_tasks:
                self._cluster.asked.stopped.add(machine.name)
            process.order_stop(with_tasks=with_tasks, for_good=False)

    def _say_good_bye(self) -> None:
        machine = self._machine()
        process = self._cluster.processes[machine.name]
        if process.alive:
            self._cluster.asked.parted.add(machine.name)
            process.order_stop(with_tasks=False, for_good=True)

    def _crash_executor(self) -> None:
        machine = self._machine()
        running = [run.container_id for run in machine.running.values() if not run.task_id]
        if running:
            machine.exit(self._dice.choice(running), self._dice.choice((0, 9, 256)))

    def _cut_executor(self) -> None:
        machine = self._machine()
        for run in machine.running.values():
            if not run.task_id:
                self._cluster.cut(f"{machine.name}/{run.container_id}", machine.name)

    def _crash_all(self) -> None:
        """The power fails in the machine room, but not for the tasks."""
        names = list(self._cluster.names)
        self._dice.shuffle(names)
        for name in names:
            self._cluster.processes[name].crash()

    def _reboot(self) -> None:
        machine = self._machine()
        self._cluster.processes[machine.name].crash()
        machine.reboot()

    def _name(self) -> str:
        return self._dice.choice(self._cluster.names)

    def _other(self) -> str:
        """Anybody but the master."""
        return self._dice.choice([name for name in self._cluster.names if name != MASTER])

    def _crash(self) -> None:
        self._cluster.processes[self._name()].crash()

    def _crash_silently(self) -> None:
        self._cluster.processes[self._name()].crash(silently=True)

    def _crash_at_effect(self) -> None:
        process = self._cluster.processes[self._dice.choice((MASTER, *self._cluster.machines))]
        process.crash_after_effects = self._dice.randint(0, EFFECTS_UNTIL_CRASH_MAX)

    def _cut(self) -> None:
        self._cluster.cut(self._other(), MASTER)

    def _hold(self) -> None:
        name, length_s = self._other(), self._length_s()
        self._hold_path(name, MASTER, length_s)
        self._hold_path(MASTER, name, length_s)

    def _hold_one_way(self) -> None:
        name, length_s = self._other(), self._length_s()
        if self._dice.random() < 0.5:
            self._hold_path(name, MASTER, length_s)
        else:
            self._hold_path(MASTER, name, length_s)

    def _hold_path(self, source: str, target: str, length_s: float) -> None:
        self._cluster.hold(source, target)
        asyncio.get_running_loop().call_later(length_s, self._cluster.release, source, target)

    def _length_s(self) -> float:
        return min(HOLD_S_MAX, self._dice.choice((1, 1, 1, 15)) * self._dice.expovariate(1 / HOLD_S_TYPICAL))

    def _spoil(self) -> None:
        """Lose, double or swap frames of a link: its sequence numbers must notice."""
        machine = self._dice.choice(list(self._cluster.machines))
        self._cluster.spoil(machine, MASTER, self._dice)

    def _slow_disks(self) -> None:
        self._cluster.flush_factor = SLOW_DISK_FACTOR
        asyncio.get_running_loop().call_later(self._dice.uniform(1, 20), self._heal_disks)

    def _heal_disks(self) -> None:
        self._cluster.flush_factor = 1.0

    def _break_disk(self) -> None:
        """A full disk: the next commit fails, and its process must stop."""
        disk = self._cluster.disks[self._dice.choice(list(self._cluster.disks))]
        disk.broken = "the disk is full"

        def mend() -> None:
            disk.broken = None

        asyncio.get_running_loop().call_later(self._dice.uniform(1, 20), mend)

    def _lose_launcher(self) -> None:
        self._cluster.machines[self._dice.choice(list(self._cluster.machines))].lose_connection()

    def _lose_supervisor(self) -> None:
        machine = self._cluster.machines[self._dice.choice(list(self._cluster.machines))]
        machine.lose_supervisor(self._dice.uniform(0, 5))
