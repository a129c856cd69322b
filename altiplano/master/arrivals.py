"""`Hello`: an agent joins or returns, and what it has is compared with what the master knows.

The agent is right about which tasks it has.  The master is right about which frameworks exist, and
about what it has declared lost to frameworks that do not checkpoint.
"""

from __future__ import annotations

import binascii

import msgspec

import altiplano
from altiplano.link import messages as link_messages
from altiplano.master import effects, endings, facts, frameworks, infos, tasks, validation, view
from altiplano.master.outcome import Outcome
from altiplano.master.state import Agent, End, Framework, Parting, Presence
from altiplano.model.resources import EMPTY, ResourceError, Resources
from altiplano.model.tasks import State
from altiplano.wire import json, translate
from altiplano.wire.errors import WireError
from altiplano.wire.messages import master, mesos

Reason = mesos.TaskStatusReason

PING_TIMER = "ping"
REREGISTER_TIMER = "reregister"


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A task that an agent reports, read."""

    report: link_messages.TaskReport
    task: mesos.TaskInfo
    info: bytes
    state: State
    resources: Resources
    role: str

    @property
    def key(self) -> tuple[str, str]:
        return self.report.framework_id, self.task.task_id.value

    @property
    def unacknowledged(self) -> tuple[State | None, bytes | None]:
        """State and uuid of the oldest update that no scheduler has acknowledged."""
        state = State(self.report.status_state) if self.report.status_state else None
        return state, _uuid(self.report.status_uuid)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A custom executor that an agent reports, read."""

    report: link_messages.ExecutorReport
    resources: Resources
    role: str

    @property
    def key(self) -> tuple[str, str]:
        return self.report.framework_id, self.report.executor.executor_id.value


class Unfit(Exception):
    """An agent that cannot be admitted; the text says why."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


def hello(out: Outcome, link: str, peer: str, message: link_messages.Hello) -> None:
    try:
        _Arrival(out, link, peer, message).admit()
    except Gone as error:
        # Its frameworks were told that its tasks are gone, so they must not go on there.
        shutdown = link_messages.ShutdownAgent(sentence=str(error), cause=out.cause)
        out.do(effects.ToAgent(link=link, message=shutdown))
        out.note(f"agent {message.agent.hostname} is told to end with its tasks: {error}", link)
    except Unfit as error:
        refusal = link_messages.Refused(sentence=str(error), final=error.final, cause=out.cause)
        out.do(effects.ToAgent(link=link, message=refusal))
        agent_id = message.agent.id.value if message.agent.id is not None else link
        out.note(f"agent {message.agent.hostname} is refused: {error}", agent_id)


class Gone(Exception):
    """An agent that may never return; the text says why."""


class _Arrival:
    """One `Hello`, worked through."""

    def __init__(self, out: Outcome, link: str, peer: str, message: link_messages.Hello) -> None:
        self.out = out
        self.link = link
        self.peer = peer.rpartition(":")[0] or peer
        self.message = message
        self.state = out.state
        given = message.agent.id.value if message.agent.id is not None else ""
        self.id = given or f"{self.state.master_id}-S{self.state.next_agent}"
        self.known: Agent | None = self.state.agents.get(self.id)
        self.info = infos.replace(message.agent, id=mesos.AgentID(value=self.id))

    def admit(self) -> None:
        """Make the agent a member and settle the difference.  Raises Unfit before that is decided."""
        self._check()
        total = self._total()
        reported = [self._read(report) for report in self.message.tasks]
        ran = [self._read_executor(report) for report in self.message.executors]
        shut = self._frameworks_to_shut(reported, ran)
        reported = [one for one in reported if one.key[0] not in shut]
        ran = [one for one in ran if one.key[0] not in shut]
        self._check_fits(total, reported, ran)
        self._check_missing(reported, ran)
        self._bring_frameworks(reported, ran)

        if self.known is not None and self.known.link not in (None, self.link):
            assert self.known.link is not None
            self.out.do(effects.CloseLink(link=self.known.link, reason="the agent has dialled again"))
        self._welcome(shut)
        self._forget_missing(reported, ran)
        self._connect()
        for executor in ran:
            self._take_executor(executor)
        for task in reported:
            self._take_task(task)
        for framework_id in sorted(shut):
            self._order(link_messages.ShutdownFramework(framework_id=framework_id, cause=self.out.cause))

    def _order(self, message: link_messages.FromMaster) -> None:
        self.out.do(effects.ToAgent(link=self.link, message=message))

    def _check(self) -> None:
        message = self.message
        if message.version not in (link_messages.VERSION, link_messages.VERSION - 1):
            raise Unfit(
                f"the agent speaks version {message.version} of the link, the master versions "
                f"{link_messages.VERSION - 1} and {link_messages.VERSION}: upgrade the older of the two",
                final=True,
            )
        if message.epoch > self.state.epoch:
            raise Unfit(
                f"the agent has obeyed leadership {message.epoch}, this master's is {self.state.epoch}: "
                "it is not in office any more"
            )
        if self.id in self.state.parting and self.id not in self.state.gone:
            raise Unfit("frameworks are just being told what they lost on this agent: dial again in a moment")
        if self.id in self.state.gone:
            raise Gone(f"agent {self.id} was marked gone by an operator; start it with a new work directory")

    def _total(self) -> Resources:
        try:
            return translate.resources_from(self.info.resources)
        except ResourceError as error:
            raise Unfit(f"the agent's resources are not valid: {error}", final=True) from error

    def _read(self, report: link_messages.TaskReport) -> Reported:
        info = bytes(report.task)
        try:
            task = json.decode(mesos.TaskInfo, info)
            resources = translate.resources_from(task.resources).unallocate()
            state = State(report.state)
        except (WireError, ValueError) as error:
            raise Unfit(f"a task that the agent reports cannot be read: {error}") from error
        if b'Infinity"' in info or b'NaN"' in info:
            # The link writes such numbers as strings, clients are told them as numbers.
            info = json.encode(task)
        return Reported(
            report=report, task=task, info=info, state=state, resources=resources, role=_role(task.resources)
        )

    def _read_executor(self, report: link_messages.ExecutorReport) -> Ran:
        resources, problem = validation.resources_of(report.executor.resources)
        if problem is not None:
            raise Unfit(f"an executor that the agent reports cannot be read: {problem}")
        return Ran(report=report, resources=resources, role=_role(report.executor.resources))

    def _frameworks_to_shut(self, reported: list[Reported], ran: list[Ran]) -> set[str]:
        """Frameworks whose tasks must end: those that are gone, and those told that their tasks are lost."""
        forsaken = self.known.forsaken if self.known is not None else set()
        there = _framework_ids(reported, ran)
        return {framework_id for framework_id in there if framework_id in forsaken or self.state.is_over(framework_id)}

    def _check_fits(self, total: Resources, reported: list[Reported], ran: list[Ran]) -> None:
        used = EMPTY
        for one in reported:
            if not one.state.ended:
                used = used + one.resources
        for executor in ran:
            used = used + executor.resources
        if not total.contains(used):
            raise Unfit(f"the agent has {total}, but its tasks use {used}: give it back what it had, or end its tasks")

    def _check_missing(self, reported: list[Reported], ran: list[Ran]) -> None:
        """What an agent has forgotten is told in pieces before it is admitted, if that is much."""
        if self.known is None:
            return
        kept = frozenset((*(one.key for one in reported), *(one.key for one in ran)))
        most = self.state.config.holdings_per_slice
        if len(self.known.tasks.keys() - kept) > most:
            parting = Parting(end=End.FORGOTTEN, kept=kept)
            endings.part(self.out, self.id, parting)
            endings.part_further(self.out, self.id, parting)
            raise Unfit(f"the agent has lost more than {most} tasks, and their frameworks are told first: dial again")

    def _bring_frameworks(self, reported: list[Reported], ran: list[Ran]) -> None:
        """Make frameworks known that this master knows from its registry only, or not at all."""
        there = _framework_ids(reported, ran)
        described = {info.id.value: info for info in self.message.frameworks if info.id is not None}
        for framework_id in sorted(there):
            framework = self.state.frameworks.get(framework_id)
            if framework is not None and framework.presence is not Presence.REGISTERED:
                continue
            info = described.get(framework_id)
            if info is None:
                raise Unfit(f"the agent reports tasks of framework {framework_id} without its description")
            self._bring(framework, info, framework_id)

    def _bring(self, framework: Framework | None, info: mesos.FrameworkInfo, framework_id: str) -> None:
        out = self.out
        if any(isinstance(fact, facts.FrameworkBrought) and fact.info == info for fact in out.facts):
            return
        if framework is None:
            out.holds(
                facts.FrameworkRegistered(
                    framework_id=framework_id,
                    name=info.name,
                    failover_timeout_s=info.failover_timeout,
                    at_s=out.now.wall_s,
                )
            )
            frameworks.await_return(out, framework_id, max(info.failover_timeout, frameworks.RETURN_S_MIN))
        out.holds(facts.FrameworkBrought(info=info, at_s=out.now.wall_s))
        out.note(f"framework '{info.name}' is known from the tasks that agent {self.info.hostname} runs", framework_id)

    def _welcome(self, shut: set[str]) -> None:
        config = self.state.config
        self._order(
            link_messages.Welcome(
                version=min(self.message.version, link_messages.VERSION),
                epoch=self.state.epoch,
                agent_id=self.id,
                silence_s=config.ping_interval_s * config.ping_misses_max,
                master=infos.master_info(self.state),
                # What nobody wants to hear of must end before the agent says again what was not acknowledged:
                # a framework that was told that its tasks are lost would take them for alive.
                completed_frameworks=tuple(
                    info.id.value
                    for info in self.message.frameworks
                    if info.id is not None and (info.id.value in shut or self.state.is_over(info.id.value))
                ),
                altiplano_version=altiplano.__version__,
                cause=self.out.cause,
            )
        )

    def _forget_missing(self, reported: list[Reported], ran: list[Ran]) -> None:
        """What the master knows of the agent, but the agent does not."""
        if self.known is None:
            return
        have = {one.key for one in reported}
        for key, task in list(self.known.tasks.items()):
            if key not in have:
                framework = self.state.frameworks[task.framework_id]
                tasks.lose(
                    self.out,
                    task,
                    infos.lost_state(framework, State.GONE),
                    reason=Reason.REASON_RECONCILIATION,
                    message="Task is unknown to the agent",
                )
        running = {one.key for one in ran}
        for framework_id, executor_id in self.known.executors:
            if (framework_id, executor_id) not in running:
                self.out.holds(
                    facts.ExecutorRemoved(framework_id=framework_id, agent_id=self.id, executor_id=executor_id)
                )

    def _connect(self) -> None:
        out = self.out
        returns = self.id in self.state.unreachable
        if self.known is None or self.known.info != self.info:
            out.holds(facts.AgentAdmitted(agent_id=self.id, info=self.info, at_s=out.now.wall_s))
        out.holds(
            facts.AgentConnected(
                agent_id=self.id,
                link=self.link,
                peer=self.peer,
                altiplano_version=self.message.altiplano_version,
                at_s=out.now.wall_s,
            ),
            facts.TimerSet(what=REREGISTER_TIMER, subject=self.id, at_s=None),
            facts.TimerSet(what=PING_TIMER, subject=self.id, at_s=out.now.mono_s + self.state.config.ping_interval_s),
        )
        if self.known is None:
            row = view.new_agent_row(self.info, self.peer, out.now.wall_s)
            added = master.EventAgentAdded(agent=row)
            out.publish(master.Event(type=master.EventType.AGENT_ADDED, agent_added=added))
        how = "joined" if self.known is None and not returns else "returned"
        count = len(self.message.tasks)
        out.note(
            f"agent {self.info.hostname} {how} with {translate.resources_from(self.info.resources)} and {count} tasks",
            self.id,
        )

    def _take_executor(self, one: Ran) -> None:
        if self.known is None or one.key not in self.known.executors:
            self.out.holds(
                facts.ExecutorAdded(
                    framework_id=one.key[0],
                    agent_id=self.id,
                    executor_id=one.key[1],
                    role=one.role,
                    resources=one.resources,
                    info=one.report.executor,
                )
            )

    def _take_task(self, one: Reported) -> None:
        """A task that the agent has: known, or brought back."""
        framework_id, task_id = one.key
        task = self.state.task(framework_id, task_id)
        if task is not None and task.agent_id == self.id:
            told, uuid = one.unacknowledged
            if (one.state is not task.state and not task.state.ended) or (
                told is not None and uuid != task.update_uuid
            ):
                state = task.state if task.state.ended else one.state
                self.out.holds(
                    facts.TaskUpdated(
                        framework_id=framework_id, task_id=task_id, state=state, update_state=told, update_uuid=uuid
                    )
                )
            if task.kill_asked and not one.state.ended:
                self._order(
                    link_messages.KillTask(
                        framework_id=framework_id, task_id=task_id, kill_policy=task.kill_policy, cause=self.out.cause
                    )
                )
            return
        self.out.holds(
            facts.TaskAdded(
                framework_id=framework_id,
                task_id=task_id,
                agent_id=self.id,
                name=one.task.name,
                role=one.role,
                state=one.state,
                resources=one.resources,
                info=one.info,
                executor_id=one.report.executor_id,
                statuses=one.report.statuses,
                update_state=one.unacknowledged[0],
                update_uuid=one.unacknowledged[1],
                returned=True,
                at_s=self.out.now.wall_s,
            )
        )
        self.out.note(f"{one.state.value}: came with agent {self.info.hostname}", task_id, framework_id, self.id)
        self._tell_returned(one)
        if self.state.operators:
            added = view.task_message(framework_id, one.task, one.state)
            self.out.publish(
                master.Event(type=master.EventType.TASK_ADDED, task_added=master.EventTaskAdded(task=added))
            )

    def _tell_returned(self, one: Reported) -> None:
        """A framework that was told that a task is out of reach hears that it is back."""
        framework = self.state.frameworks.get(one.key[0])
        if framework is None or self.id not in self.state.unreachable:
            return
        status = infos.status(
            one.key[1],
            # The oldest update that nobody acknowledged comes next; to tell a newer state first would go backwards.
            one.unacknowledged[0] or one.state,
            now=self.out.now,
            message=f"Agent {self.info.hostname} returned",
            reason=Reason.REASON_AGENT_REREGISTERED,
            agent_id=self.id,
            executor_id=one.report.executor_id,
        )
        self.out.tell(framework, infos.update(status))


def _framework_ids(reported: list[Reported], ran: list[Ran]) -> set[str]:
    return {one.key[0] for one in reported} | {one.key[0] for one in ran}


def _role(resources: tuple[mesos.Resource, ...]) -> str:
    """The role that resources are allocated to."""
    for resource in resources:
        if resource.allocation_info is not None and resource.allocation_info.role is not None:
            return resource.allocation_info.role
    return "*"


def _uuid(text: str | None) -> bytes | None:
    """The bytes of a uuid, which is reported in the form that JSON has it."""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else None
    except binascii.Error:
        return None
