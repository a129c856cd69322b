"""An agent that may crash at any point, over a launcher that outlives it.

The model of the launcher knows what really became of every container.  Whatever the order of launches, ends, kills,
lost links, lost messages and crashes – of the agent with the unwritten tail of its log – each task ends exactly once,
no container starts twice, and what is told is what happened.  Some tasks run in a custom executor, a model too: it
gets no task twice, and no update that it sent is lost unless it ends before it could send it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from altiplano.agent import core, effects, events, facts
from altiplano.agent.state import Link
from altiplano.engine.core import Effect
from altiplano.link import messages
from altiplano.model.tasks import ENDS
from altiplano.model.tasks import State as TaskState
from altiplano.model.time import Instant
from altiplano.ports import launcher
from altiplano.wire import json
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import AGENT, FRAMEWORK, MASTER, NODE, framework, task

TASKS = ("t1", "t2", "t3")
HOSTED = ("h1", "h2")
NAMES = TASKS + HOSTED
EXECUTOR = "x1"
KEY = (FRAMEWORK, EXECUTOR)
TaskEnd = mesos.TaskState


@dataclass
class Box:
    """A container as it really is."""

    outcome: launcher.Outcome
    starts: int = 1
    signalled: bool = False
    destroyed: bool = False
    true_status: int | None = None


@dataclass
class Program:
    """A custom executor as it really is, in its box."""

    stream: str | None = None
    tasks: dict[str, mesos.TaskState | None] = field(default_factory=dict)
    """The newest state of each task that it got."""
    unheard: set[str] = field(default_factory=set)
    """Tasks without any acknowledged update."""
    unacknowledged: dict[bytes, mesos.TaskStatus] = field(default_factory=dict)


@dataclass
class Seen:
    """What the master has of one task."""

    launched: bool = False
    statuses: dict[bytes, mesos.TaskStatus] = field(default_factory=dict)
    acknowledged: list[bytes] = field(default_factory=list)
    killed: bool = False


NO_BOX = Box(outcome=launcher.LaunchFailed(container_id="", sentence=""))


class AgentMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.codec = facts.codec()
        self.core = core.Core(NODE)
        self.log: list[bytes] = []
        self.durable = 0
        self.waiting: list[tuple[int, tuple[Effect, ...]]] = []
        self.answers: list[core.AgentEvent] = []
        self.boxes: dict[str, Box] = {}
        self.forgotten: set[str] = set()
        self.programs: dict[str, Program] = {}
        self.seen = {name: Seen() for name in NAMES}
        self.mono_s = 100.0
        self.count = 0
        self.box_of: dict[str, str] = {}
        self.wire: list[messages.FromAgent] = []
        self.slow = False
        """Nothing becomes durable by itself: what was decided waits, and a crash undoes it."""

    # -- the engine: log, outbox, effects

    def seed(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(16, "big")

    def now(self) -> Instant:
        return Instant(mono_s=self.mono_s, wall_s=1e6 + self.mono_s)

    def post(self, event: core.AgentEvent) -> None:
        decision = self.core.decide(event, self.now())
        for fact in decision.facts:
            self.core.apply(fact)
            if fact.durable:
                self.log.append(self.codec.encode(fact))
        self.waiting.append((len(self.log), decision.effects))
        if not self.slow:
            self.the_log_becomes_durable()

    @rule(slow=st.booleans())
    def the_disk_changes_its_speed(self, slow: bool) -> None:
        self.slow = slow

    @rule()
    def the_log_becomes_durable(self) -> None:
        self.durable = len(self.log)
        waiting, self.waiting = self.waiting, []
        for position, effects_ in waiting:
            assert position <= self.durable
            for effect in effects_:
                self.act(effect)

    def act(self, effect: Effect) -> None:
        match effect:
            case effects.Dial():
                self.answers.append(events.Connected(cause="up", seed=self.seed(), connection=effect.connection))
            case effects.HangUp():
                self.answers.append(
                    events.LinkLost(cause="x", seed=self.seed(), connection=effect.connection, sentence="hung up")
                )
            case effects.Say():
                if effect.connection == self.core.state.connection and self.core.state.link is not Link.OFFLINE:
                    self.wire.append(effect.message)
            case effects.MakeSandbox():
                self.answers.append(events.SandboxMade(cause="x", seed=self.seed(), container_id=effect.container_id))
            case effects.Launch():
                assert effect.sandbox is None or effect.sandbox.directory == effect.spec.directory
                self.launch(effect.spec)
            case effects.Tell():
                self.tell(effect.stream, effect.event)
            case effects.CloseStream():
                for program in self.programs.values():
                    program.stream = None if program.stream == effect.stream else program.stream
            case effects.Terminate():
                if effect.container_id in self.boxes:
                    self.boxes[effect.container_id].signalled = True
            case effects.Destroy():
                self.end(effect.container_id, 9)
            case effects.Forget():
                box = self.boxes.get(effect.container_id)
                assert box is None or not isinstance(box.outcome, launcher.Started), "a running container was forgotten"
                self.forgotten.add(effect.container_id)

    def launch(self, spec: launcher.LaunchSpec) -> None:
        name = spec.container_id
        task_id = dict(spec.environment).get("MESOS_TASK_ID")
        if task_id is not None:
            assert self.box_of.setdefault(task_id, name) == name, "a task was started in two containers"
        elif name not in self.boxes:
            self.programs[name] = Program()
        if name not in self.boxes:
            started = launcher.Started(
                container_id=name, pid=len(self.boxes) + 1, start_ticks=1, started_wall_s=self.now().wall_s
            )
            self.boxes[name] = Box(outcome=started)
        outcome = self.boxes[name].outcome
        if isinstance(outcome, launcher.Exited):
            # The first answer again; the end is told by the launcher's events.
            started = launcher.Started(container_id=name, pid=1, start_ticks=1, started_wall_s=outcome.started_wall_s)
            self.answers.append(events.LaunchAnswered(cause="x", seed=self.seed(), outcome=started))
        elif isinstance(outcome, launcher.Started):
            self.answers.append(events.LaunchAnswered(cause="x", seed=self.seed(), outcome=outcome))

    def end(self, name: str, wait_status: int) -> None:
        box = self.boxes.get(name)
        if box is None or not isinstance(box.outcome, launcher.Started):
            return
        box.true_status = wait_status
        if name in self.programs:
            self.programs[name].stream = None
        box.outcome = launcher.Exited(
            container_id=name,
            wait_status=wait_status,
            started_wall_s=box.outcome.started_wall_s,
            ended_wall_s=self.now().wall_s,
        )
        self.answers.append(events.ContainerExited(cause="x", seed=self.seed(), exited=box.outcome))

    # -- the executor

    def tell(self, stream: str, event: api.Event) -> None:
        name = next((name for name, program in self.programs.items() if program.stream == stream), None)
        if name is None:
            return
        program = self.programs[name]
        match event.type:
            case api.EventType.LAUNCH if event.launch is not None:
                task_id = event.launch.task.task_id.value
                assert all(task_id not in one.tasks for one in self.programs.values()), f"{task_id} was given twice"
                program.tasks[task_id] = None
                program.unheard.add(task_id)
            case api.EventType.ACKNOWLEDGED if event.acknowledged is not None:
                program.unacknowledged.pop(event.acknowledged.uuid, None)
                program.unheard.discard(event.acknowledged.task_id.value)
            case api.EventType.KILL if event.kill is not None:
                self.update(program, event.kill.task_id.value, TaskEnd.TASK_KILLED)
            case api.EventType.SHUTDOWN:
                self.end(name, 0)

    def update(self, program: Program, task_id: str, state: mesos.TaskState) -> None:
        """The executor tells a state, once, until it ends; the call may get lost in a crash."""
        before = program.tasks[task_id]
        if before is not None and TaskState(before.value) in ENDS:
            return
        program.tasks[task_id] = state
        uuid = self.seed()
        status = mesos.TaskStatus(
            task_id=mesos.TaskID(value=task_id),
            state=state,
            source=mesos.TaskStatusSource.SOURCE_EXECUTOR,
            uuid=uuid,
        )
        program.unacknowledged[uuid] = status
        if program.stream is not None:
            self.answers.append(
                events.ExecutorUpdated(
                    cause="u", seed=self.seed(), framework_id=FRAMEWORK, executor_id=EXECUTOR, status=status
                )
            )

    def silent(self) -> list[str]:
        """Boxes of executors that run and do not listen, of which the agent knows."""
        executor = self.core.state.executors.get(KEY)
        if executor is None or not isinstance(self.boxes.get(executor.container_id, NO_BOX).outcome, launcher.Started):
            return []
        return [executor.container_id] if self.programs[executor.container_id].stream is None else []

    @precondition(lambda self: self.silent())
    @rule()
    def an_executor_subscribes(self) -> None:
        program = self.programs[self.silent()[0]]
        program.stream = f"stream-{self.seed().hex()}"
        self.post(
            events.ExecutorSubscribed(
                cause="s",
                seed=self.seed(),
                framework_id=FRAMEWORK,
                executor_id=EXECUTOR,
                stream=program.stream,
                task_ids=tuple(sorted(program.unheard)),
                updates=tuple(program.unacknowledged.values()),
            )
        )

    @precondition(lambda self: any(program.tasks for program in self.programs.values()))
    @rule(
        data=st.data(),
        state=st.sampled_from(
            [TaskEnd.TASK_STARTING, TaskEnd.TASK_RUNNING, TaskEnd.TASK_FINISHED, TaskEnd.TASK_FAILED]
        ),
    )
    def an_executor_updates(self, data: st.DataObject, state: mesos.TaskState) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, program in self.programs.items() if program.tasks)))
        if isinstance(self.boxes[name].outcome, launcher.Started):
            program = self.programs[name]
            self.update(program, data.draw(st.sampled_from(sorted(program.tasks))), state)

    @precondition(lambda self: any(program.stream for program in self.programs.values()))
    @rule()
    def an_executors_stream_breaks(self) -> None:
        program = next(program for program in self.programs.values() if program.stream)
        left = events.ExecutorLeft(
            cause="l", seed=self.seed(), framework_id=FRAMEWORK, executor_id=EXECUTOR, stream=program.stream or ""
        )
        program.stream = None
        self.post(left)

    @precondition(lambda self: self.core.state.member)
    @rule(name=st.sampled_from(HOSTED))
    def a_task_is_given_to_an_executor(self, name: str) -> None:
        if not self.seen[name].launched:
            self.seen[name].launched = True
            executor = mesos.ExecutorInfo(
                executor_id=mesos.ExecutorID(value=EXECUTOR), command=mesos.CommandInfo(value="./executor")
            )
            raw = msgspec.Raw(json.encode(task(name, command=None, executor=executor)))
            self.hear(messages.RunTask(framework=framework(), task=raw, cause=f"run-{name}"))

    # -- the agent

    def recover(self) -> None:
        inventory = tuple(
            launcher.Container(container_id=name, outcome=box.outcome)
            for name, box in self.boxes.items()
            if name not in self.forgotten
        )
        self.post(events.Recovered(cause="start", seed=self.seed(), inventory=inventory, boot_id="b"))
        for box in self.boxes.values():
            if isinstance(box.outcome, launcher.Exited) and box.outcome.container_id not in self.forgotten:
                # The launcher tells every end again that was not forgotten.
                self.answers.append(events.ContainerExited(cause="x", seed=self.seed(), exited=box.outcome))

    # -- what may happen

    @initialize()
    def start(self) -> None:
        self.recover()
        self.all_goes_well(3)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def something_answers(self, data: st.DataObject) -> None:
        self.post(self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1))))

    @precondition(lambda self: self.core.state.link is Link.GREETED)
    @rule()
    def the_master_welcomes(self) -> None:
        self.hear(messages.Welcome(version=1, epoch=1, agent_id=AGENT, silence_s=30, master=MASTER))

    @precondition(lambda self: self.core.state.member)
    @rule(name=st.sampled_from(TASKS))
    def a_task_is_launched(self, name: str) -> None:
        if not self.seen[name].launched:
            self.seen[name].launched = True
            raw = msgspec.Raw(json.encode(task(name)))
            self.hear(messages.RunTask(framework=framework(), task=raw, cause=f"run-{name}"))
            # The master knows from the next greeting whether the order arrived; here it is never lost, since a
            # crash before the log was written makes it as if the order had not been given.

    @precondition(lambda self: self.core.state.member)
    @rule(name=st.sampled_from(NAMES))
    def a_task_is_killed(self, name: str) -> None:
        if (FRAMEWORK, name) in self.core.state.tasks:
            self.seen[name].killed = True
            self.hear(messages.KillTask(framework_id=FRAMEWORK, task_id=name))

    @precondition(lambda self: self.boxes)
    @rule(data=st.data(), status=st.sampled_from([0, 1 << 8, 7 << 8, 11]))
    def a_command_ends(self, data: st.DataObject, status: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.boxes)))
        self.end(name, 15 if self.boxes[name].signalled else status)

    @precondition(lambda self: self.wire)
    @rule()
    def the_master_hears(self) -> None:
        message = self.wire.pop(0)
        if isinstance(message, messages.StatusUpdate):
            status = message.status
            assert status.uuid is not None
            self.seen[status.task_id.value].statuses.setdefault(status.uuid, status)

    @precondition(lambda self: self.core.state.member)
    @rule(name=st.sampled_from(NAMES))
    def the_scheduler_acknowledges(self, name: str) -> None:
        seen = self.seen[name]
        for uuid in seen.statuses:
            if uuid not in seen.acknowledged:
                seen.acknowledged.append(uuid)
                self.hear(messages.Acknowledge(framework_id=FRAMEWORK, task_id=name, uuid=uuid))
                return

    @rule()
    def the_link_breaks(self) -> None:
        if self.core.state.link is not Link.OFFLINE:
            self.wire.clear()
            connection = self.core.state.connection
            self.post(events.LinkLost(cause="down", seed=self.seed(), connection=connection, sentence="it broke"))

    @rule(seconds=st.sampled_from([0.1, 4.0, 70.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.mono_s + seconds
        while (at := self.core.wake_at()) is not None and at <= until:
            self.mono_s = max(self.mono_s, at)
            self.post(events.Wake(cause="wake", seed=self.seed()))
        self.mono_s = until

    @rule(snapshot=st.booleans(), written=st.booleans())
    def the_agent_crashes(self, snapshot: bool, written: bool) -> None:
        """Kill -9: what was not durable is gone, what was on its way is lost, the containers go on.

        `written`: the log had become durable, and nobody had acted on it yet.
        """
        if written:
            self.durable = len(self.log)
        del self.log[self.durable :]
        self.waiting.clear()
        self.answers.clear()
        self.wire.clear()
        for program in self.programs.values():
            program.stream = None
        self.core = core.Core(NODE)
        for record in self.log:
            fact = self.codec.decode(record)
            assert fact is not None
            self.core.apply(fact)
        self.core.check()
        if snapshot:
            self.log = [self.codec.encode(fact) for fact in self.core.summary()]
            self.durable = len(self.log)
        for name, seen in self.seen.items():
            held = self.core.state
            if (FRAMEWORK, name) not in held.tasks and not self.told_all(name):
                # The order is not in the log, so nobody was told that it had arrived.
                assert not seen.statuses
                self.seen[name] = Seen()
            else:
                # An acknowledgement that was not written comes again, because the update does.
                pending = held.streams.get((FRAMEWORK, name))
                waiting = {status.uuid for status in pending.pending} if pending is not None else set()
                seen.acknowledged = [uuid for uuid in seen.acknowledged if uuid not in waiting]
        self.recover()

    def told_all(self, name: str) -> bool:
        """Whether a task's end was told and acknowledged, so that the agent may have forgotten it."""
        seen = self.seen[name]
        told = list(seen.statuses.values())
        return bool(told) and TaskState(told[-1].state.value) in ENDS and len(seen.acknowledged) == len(told)

    def hear(self, message: messages.FromMaster) -> None:
        connection = self.core.state.connection
        self.post(events.Heard(cause="m", seed=self.seed(), connection=connection, message=message))

    @rule(steps=st.integers(1, 8))
    def all_goes_well(self, steps: int) -> None:
        """What is under way goes on for a while: answers, greetings, messages, acknowledgements; no command ends."""
        for _ in range(steps):
            self.the_log_becomes_durable()
            if self.answers:
                self.post(self.answers.pop(0))
            elif self.core.state.link is Link.GREETED:
                self.the_master_welcomes()
            elif self.wire:
                self.the_master_hears()
            elif self.silent():
                self.an_executor_subscribes()
            elif not self.core.state.member:
                self.time_passes(70.0)
            elif any(len(seen.statuses) > len(seen.acknowledged) for seen in self.seen.values()):
                for name in NAMES:
                    self.the_scheduler_acknowledges(name)
            else:
                return

    # -- what must hold

    @invariant()
    def the_core_is_sound(self) -> None:
        self.core.check()

    @invariant()
    def what_is_told_is_what_happened(self) -> None:
        for name, seen in self.seen.items():
            told = list(seen.statuses.values())
            ends = [status for status in told if TaskState(status.state.value) in ENDS]
            assert len(ends) <= 1, f"{name} ended more than once"
            if not ends:
                continue
            assert told[-1] is ends[0], f"{name} went on after its end"
            if name in HOSTED:
                self.check_hosted(name, ends[0])
                continue
            box = self.boxes.get(self.box_of.get(name, ""))
            if ends[0].state is mesos.TaskState.TASK_KILLED:
                assert seen.killed
                continue
            assert box is not None, f"{name} never ran and was told {ends[0].state}: {ends[0].message}"
            assert isinstance(box.outcome, launcher.Exited), f"{name} was told ended while it runs"
            wanted = mesos.TaskState.TASK_FINISHED if box.true_status == 0 else mesos.TaskState.TASK_FAILED
            assert ends[0].state is wanted

    def check_hosted(self, name: str, end: mesos.TaskStatus) -> None:
        program = next((program for program in self.programs.values() if name in program.tasks), None)
        if end.source is mesos.TaskStatusSource.SOURCE_EXECUTOR:
            assert program is not None
            assert end.state is program.tasks[name], f"{name} ended otherwise than its executor says"
        elif end.reason is mesos.TaskStatusReason.REASON_TASK_KILLED_DURING_LAUNCH:
            assert self.seen[name].killed
            assert program is None, f"{name} was told killed before its launch, and the executor has it"
        elif end.reason is mesos.TaskStatusReason.REASON_AGENT_RESTARTED:
            assert program is None, f"{name} was told lost on the way, and the executor has it"
        else:
            assert end.container_status is not None
            assert end.container_status.container_id is not None
            box = self.boxes.get(end.container_status.container_id.value)
            assert box is None or isinstance(box.outcome, launcher.Exited), f"{name} was told ended while it runs"

    @invariant()
    def at_most_one_update_of_a_task_waits_for_acknowledgement(self) -> None:
        for seen in self.seen.values():
            assert len(seen.statuses) <= len(seen.acknowledged) + 1

    def teardown(self) -> None:
        """Given quiet, everything ends: nothing is lost, nothing is left behind."""
        for _ in range(60):
            self.all_goes_well(60)
            self.core.check()
            if running := [n for n, box in self.boxes.items() if isinstance(box.outcome, launcher.Started)]:
                self.end(running[0], 0)
            elif self.core.state.tasks or self.core.state.streams:
                self.time_passes(700.0)
            else:
                break
            self.what_is_told_is_what_happened()
        self.the_log_becomes_durable()
        assert not self.core.state.tasks
        assert not self.core.state.streams
        assert set(self.boxes) <= self.forgotten
        for name, seen in self.seen.items():
            if seen.launched:
                told = list(seen.statuses.values())
                assert told, f"nothing was ever told of {name}"
                assert TaskState(told[-1].state.value) in ENDS, f"{name} never ended"


TestAgent = AgentMachine.TestCase
TestAgent.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
