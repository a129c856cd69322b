"""A decision while it is being made: facts and effects in order, and the updates that follow from them."""

from __future__ import annotations

from altiplano.agent import effects, events, executor_state, facts, updates
from altiplano.agent.draws import Draws
from altiplano.agent.settings import Node
from altiplano.agent.state import Key, State, Task
from altiplano.engine.core import Decision, Effect, Fact, Note
from altiplano.executors import checks, command
from altiplano.link import messages
from altiplano.model.tasks import State as TaskState
from altiplano.model.tasks import may_step
from altiplano.model.time import Instant
from altiplano.wire.messages import mesos


class Draft:
    """What an event leads to.  Reads the state as it was before the event; changes nothing."""

    def __init__(self, state: State, node: Node, event: events.AgentEvent, now: Instant) -> None:
        self.state = state
        self.node = node
        self.now = now
        self.cause = event.cause
        self.draw = Draws(event.seed)
        self.member = state.member
        """Whether the master listens: a welcome makes it true within the decision."""
        self.ended: set[Key] = set()
        """Tasks whose containers end by this decision."""
        self.known: dict[str, mesos.FrameworkInfo] = {}
        """Frameworks that are learned of, or have changed, by this decision."""
        self.fresh: dict[Key, Task] = {}
        """Tasks that are received by this decision."""
        self.received: dict[executor_state.Key, executor_state.Executor] = {}
        """Executors that are received by this decision."""
        self.parted: set[executor_state.Key] = set()
        """Executors that end by this decision."""
        self.joined: dict[executor_state.Key, str] = {}
        """Streams of executors that begin by this decision."""
        self.uuids: set[bytes] = set()
        """Updates of executors that are taken by this decision."""
        self.dropped: set[Key] = set()
        """Streams that end by this decision."""
        self.unchecked: set[Key] = set()
        """Tasks whose checks end by this decision."""
        self.checks_begun: dict[checks.Slot, int] = {}
        """Runs of checks that begin by this decision."""
        self._facts: list[Fact] = []
        self._effects: list[Effect] = []
        self._told: set[Key] = set()
        self._queued: dict[Key, list[mesos.TaskStatus]] = {}

    def fact(self, *facts_: Fact) -> None:
        self._facts += facts_

    def do(self, *effects_: Effect) -> None:
        self._effects += effects_

    def note(self, sentence: str, *subjects: str, cause: str | None = None) -> None:
        self._effects.append(Note(subjects=subjects, sentence=sentence, cause=cause or self.cause))

    def note_task(self, task: Task, sentence: str) -> None:
        """A line of the task's own story, under the cause that brought the task here."""
        self.note(sentence, task.id, task.framework_id, task.container_id, cause=task.cause)

    def timer(self, timer: tuple[str, ...], at_mono_s: float | None) -> None:
        self.fact(facts.TimerSet(timer=timer, at_mono_s=at_mono_s))

    def say(self, message: messages.FromAgent) -> None:
        self.do(effects.Say(connection=self.state.connection, message=message))

    def framework(self, framework_id: str) -> mesos.FrameworkInfo:
        """The newest description of a framework."""
        return self.known.get(framework_id) or self.state.frameworks[framework_id]

    def agent_info(self) -> mesos.AgentInfo:
        """This agent, as it introduces itself."""
        node, agent_id = self.node, self.state.agent_id
        return mesos.AgentInfo(
            hostname=node.hostname,
            port=node.port,
            resources=node.resources,
            attributes=node.attributes,
            id=mesos.AgentID(value=agent_id) if agent_id else None,
        )

    def container_status(self, container_id: str, pid: int) -> mesos.ContainerStatus:
        address = mesos.NetworkInfoIPAddress(ip_address=self.node.ip)
        return mesos.ContainerStatus(
            container_id=mesos.ContainerID(value=container_id),
            executor_pid=pid or None,
            network_infos=(mesos.NetworkInfo(ip_addresses=(address,)),),
        )

    def report(self, task: Task, report: command.Report, *, pid: int = 0) -> None:
        """Queue a status of a task: the executor's report with ids and time added."""
        status = mesos.TaskStatus(
            task_id=task.info.task_id,
            state=mesos.TaskState[report.state.value],
            message=report.message,
            agent_id=mesos.AgentID(value=self.state.agent_id or ""),
            timestamp=self.now.wall_s,
            executor_id=mesos.ExecutorID(value=task.executor_id),
            source=report.source,
            reason=report.reason,
            uuid=self.draw.uuid_bytes(),
            container_status=self.container_status(task.container_id, pid or task.pid),
            limitation=report.limitation,
            healthy=report.healthy,
            check_status=report.check_status or self._check_status(task),
        )
        self.queue(task.key, status)

    def _check_status(self, task: Task) -> mesos.CheckStatusInfo | None:
        """What the check of a task said last; every status of a task that has one tells it."""
        if task.info.check is None:
            return None
        last = self.newest(task.key) or task.status
        if last is not None and last.check_status is not None:
            return last.check_status
        plan = checks.check_plan(task.info.check)
        return checks.status_of(plan) if plan is not None else None

    def queue(self, key: Key, status: mesos.TaskStatus) -> None:
        """Put a status at the end of a task's stream."""
        self.fact(facts.StatusQueued(framework_id=key[0], task_id=key[1], status=status))
        self._queued.setdefault(key, []).append(status)

    def send_head(
        self, key: Key, status: mesos.TaskStatus, newest: TaskState, *, interval_s: float = updates.RESEND_FIRST_S
    ) -> None:
        """Say the first update of a stream, and when to say it again."""
        self.fact(
            facts.UpdateSent(
                framework_id=key[0],
                task_id=key[1],
                interval_s=interval_s,
                due_mono_s=self.now.mono_s + interval_s,
            )
        )
        task = self.state.tasks.get(key)
        self.say(
            messages.StatusUpdate(
                framework_id=key[0],
                status=status,
                latest_state=newest.value,
                cause=task.cause if task is not None else self.cause,
            )
        )

    def send_heads(self, framework_id: str | None = None) -> None:
        """Say the first update of every stream, or of those of one framework: who heard them may have forgotten."""
        for key, stream in self.state.streams.items():
            if key not in self.dropped and framework_id in (None, key[0]):
                self.send_head(key, stream.head, self.state.latest(key))

    def acknowledged(self, key: Key) -> None:
        """The head of a stream is acknowledged: it leaves, and the next one goes."""
        self.fact(facts.StatusAcknowledged(framework_id=key[0], task_id=key[1]))
        rest = updates.acknowledged(self.state.streams[key])
        if rest is None:
            self._told.add(key)
        if rest is not None and self.member:
            self.send_head(key, rest.head, self.state.latest(key))

    def newest(self, key: Key) -> mesos.TaskStatus | None:
        """The last status of a task that is queued by this decision."""
        queued = self._queued.get(key)
        return queued[-1] if queued else None

    def untold(self) -> bool:
        """Whether updates wait for acknowledgement after this decision."""
        return bool((self.state.streams.keys() - self._told | self._queued.keys()) - self.dropped)

    def decision(self) -> Decision:
        """All of it.  A status that is alone in its stream is said at once; the others wait for their turn."""
        for key, statuses in self._queued.items():
            if self.member and key not in self.state.streams and key not in self.dropped:
                self.send_head(key, statuses[0], self._latest(key, statuses))
        return Decision(tuple(self._facts), tuple(self._effects))

    def _latest(self, key: Key, statuses: list[mesos.TaskStatus]) -> TaskState:
        """The state of a task after statuses that are queued by this decision."""
        task = self.state.tasks.get(key)
        latest = updates.state_of(statuses[0]) if task is None else task.state
        for status in statuses:
            after = updates.state_of(status)
            latest = after if may_step(latest, after) else latest
        return latest
