"""`Hello`: an agent joins or returns, and what it has is compared with what the master knows.

The agent is right about which tasks it has.  The master is right about which frameworks exist, and
about what it has declared lost to frameworks that do not checkpoint.

An agent with many tasks is taken in piece by piece (`go_on`), and others are served in between: until it is welcome it
is as one that has not come yet, and nothing of it is offered.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Set

import altiplano
from altiplano.link import messages as link_messages
from altiplano.master import (
    effects,
    endings,
    facts,
    frameworks,
    infos,
    machines,
    offers,
    standing,
    tasks,
    validation,
    view,
)
from altiplano.master.outcome import Outcome
from altiplano.master.reports import Arriving, Ran, Reported
from altiplano.master.state import Agent, End, Framework, MasterState, Parting, Presence, TaskKey
from altiplano.model.resources import EMPTY, ResourceError, Resources
from altiplano.model.tasks import State
from altiplano.wire import json, translate
from altiplano.wire.errors import WireError
from altiplano.wire.messages import master, mesos

Reason = mesos.TaskStatusReason

PING_TIMER = "ping"
REREGISTER_TIMER = "reregister"


class Unfit(Exception):
    """An agent that cannot be admitted; the text says why."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final


def hello(out: Outcome, link: str, peer: str, message: link_messages.Hello) -> None:
    arrival = _Arrival(out, link, peer, message)
    if len(message.tasks) > out.state.config.holdings_per_slice:
        _carried_out(out, link, message, arrival.wait)
    else:
        _carried_out(out, link, message, arrival.admit)


def go_on(out: Outcome) -> None:
    """The next piece of the agent that has been arriving for longest."""
    link, arriving = next(iter(out.state.arriving.items()))
    arrival = _Arrival(out, link, arriving.peer, arriving.message, arriving)
    if not _carried_out(out, link, arriving.message, arrival.go_on):
        out.holds(facts.ArrivalOver(link=link))


def _carried_out(out: Outcome, link: str, message: link_messages.Hello, act: Callable[[], None]) -> bool:
    """Do a piece of an arrival; if that cannot be the agent hears why."""
    try:
        act()
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
    else:
        return True
    return False


class Gone(Exception):
    """An agent that may never return; the text says why."""


class _Arrival:
    """One `Hello`, worked through."""

    def __init__(
        self, out: Outcome, link: str, peer: str, message: link_messages.Hello, arriving: Arriving | None = None
    ) -> None:
        self.arriving = arriving
        self.out = out
        self.link = link
        self.peer = peer.rpartition(":")[0] or peer
        self.address = peer
        self.message = message
        self.state = out.state
        given = message.agent.id.value if message.agent.id is not None else ""
        if arriving is not None and arriving.agent_id is not None:
            given = arriving.agent_id
        self.id = given or f"{self.state.master_id}-S{self.state.next_agent}"
        self.known: Agent | None = self.state.agents.get(self.id)
        self.info = infos.replace(message.agent, id=mesos.AgentID(value=self.id))
        self.is_new = self.known is None
        self.returns = self.id in self.state.unreachable
        if arriving is not None and arriving.agent_id is not None:
            self.is_new, self.returns = arriving.is_new, arriving.returns

    def admit(self) -> None:
        """Make the agent a member and settle the difference.  Raises Unfit before that is decided."""
        self._check()
        total = self._total()
        reported = [self._read(report) for report in self.message.tasks]
        ran = [self._read_executor(report) for report in self.message.executors]
        shut = self._to_shut(_framework_ids(reported, ran))
        reported = [one for one in reported if one.key[0] not in shut]
        ran = [one for one in ran if one.key[0] not in shut]
        keys = {one.key for one in reported}
        self._check_fits(total, _used_by(reported), ran)
        self._check_missing(keys, ran)
        self._bring_frameworks(_framework_ids(reported, ran))

        if self.known is not None and self.known.link not in (None, self.link):
            assert self.known.link is not None
            self.out.do(effects.CloseLink(link=self.known.link, reason="the agent has dialled again"))
        self._welcome(shut)
        self._forget_missing(keys, ran)
        self._connect()
        for executor in ran:
            self._take_executor(executor)
        for task in reported:
            self._take_task(task)
        for framework_id in sorted(shut):
            self._order(link_messages.ShutdownFramework(framework_id=framework_id, cause=self.out.cause))

    def wait(self) -> None:
        """Let the agent come piece by piece.  Raises Unfit if it cannot come at all."""
        self._check()
        self.out.holds(facts.HelloHeard(link=self.link, peer=self.address, message=self.message))

    def go_on(self) -> None:
        """The next piece of an arrival.  Raises Unfit: then the agent is refused, and keeps what was taken over."""
        arriving = self.arriving
        assert arriving is not None, "an agent that comes with little comes at once"
        most = self.state.config.holdings_per_slice
        read = len(arriving.reported)
        if read < len(self.message.tasks):
            piece = tuple(self._read(report) for report in self.message.tasks[read : read + most])
            self.out.holds(facts.ReportsRead(link=self.link, reported=piece))
            return
        self._check()
        if arriving.agent_id is None:
            self._begin(arriving)
        elif arriving.taken < read:
            for one in arriving.reported[arriving.taken : arriving.taken + most]:
                if not self._is_shut(one.key[0]):
                    self._take_task(one)
            self.out.holds(facts.ReportsTaken(link=self.link, count=most))
        else:
            self._finish(arriving)

    def _begin(self, arriving: Arriving) -> None:
        """Everything is read: make the agent a member that is not connected yet."""
        ran = [self._read_executor(report) for report in self.message.executors]
        there = set(arriving.used) | _framework_ids([], ran)
        shut = self._to_shut(there)
        ran = [one for one in ran if one.key[0] not in shut]
        used = sum((held for framework_id, held in arriving.used.items() if framework_id not in shut), EMPTY)
        self._check_fits(self._total(), used, ran)
        keys = {key for key in arriving.keys if key[0] not in shut} if shut else arriving.keys
        self._check_missing(keys, ran)
        self._bring_frameworks(there - shut)
        if self.known is not None and self.known.link is not None:
            # It has dialled again: what was said over the old link is over.
            self.out.do(effects.CloseLink(link=self.known.link, reason="the agent has dialled again"))
            offers.rescind(self.out, self.known.offers.values())
            self.out.holds(facts.AgentDisconnected(agent_id=self.id))
        self._forget_missing(keys, ran)
        self._admit()
        at_s = self.out.now.mono_s + self.state.config.reregister_timeout_s
        self.out.holds(
            facts.ArrivalBegan(link=self.link, agent_id=self.id, is_new=self.is_new, returns=self.returns),
            # Should the link break before all is taken over, the agent is one that has not come.
            facts.TimerSet(what=REREGISTER_TIMER, subject=self.id, at_s=at_s),
        )
        for executor in ran:
            self._take_executor(executor)

    def _finish(self, arriving: Arriving) -> None:
        """All is taken over: the agent is connected, and hears what was asked for meanwhile."""
        assert self.known is not None, f"agent {self.id} is taken over, but no member"
        ran = [self._read_executor(report) for report in self.message.executors]
        shut = self._to_shut(set(arriving.used) | _framework_ids([], ran))
        self._welcome(shut)
        self._connect()
        for task in self.known.tasks.values():
            if task.kill_asked and not task.state.ended:
                kill = link_messages.KillTask(
                    framework_id=task.framework_id,
                    task_id=task.id,
                    kill_policy=task.kill_policy,
                    cause=self.out.cause,
                )
                self._order(kill)
        for framework_id in sorted(shut):
            self._order(link_messages.ShutdownFramework(framework_id=framework_id, cause=self.out.cause))
        self.out.holds(facts.ArrivalOver(link=self.link))

    def _admit(self) -> None:
        if self.known is None or self.known.info != self.info:
            self.out.holds(facts.AgentAdmitted(agent_id=self.id, info=self.info, at_s=self.out.now.wall_s))

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
        if any(one in self.state.down for one in machines.keys_of(message.agent.hostname, self.peer)):
            raise Gone(f"the machine of agent {message.agent.hostname} is down for maintenance")
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
            told = State(report.status_state) if report.status_state else None
        except (WireError, ValueError) as error:
            raise Unfit(f"a task that the agent reports cannot be read: {error}") from error
        if b'Infinity"' in info or b'NaN"' in info:
            # The link writes such numbers as strings, clients are told them as numbers.
            info = json.encode(task)
        return Reported(
            report=report,
            task=task,
            info=info,
            state=state,
            resources=resources,
            role=_role(task.resources),
            told=told,
            uuid=_uuid(report.status_uuid),
        )

    def _read_executor(self, report: link_messages.ExecutorReport) -> Ran:
        resources, problem = validation.resources_of(report.executor.resources)
        if problem is not None:
            raise Unfit(f"an executor that the agent reports cannot be read: {problem}")
        return Ran(report=report, resources=resources, role=_role(report.executor.resources))

    def _to_shut(self, there: set[str]) -> set[str]:
        """Frameworks whose tasks must end: those that are gone, and those told that their tasks are lost."""
        return {framework_id for framework_id in there if self._is_shut(framework_id)}

    def _is_shut(self, framework_id: str) -> bool:
        forsaken = self.known.forsaken if self.known is not None else ()
        return framework_id in forsaken or self.state.is_over(framework_id)

    def _check_fits(self, total: Resources, used: Resources, ran: list[Ran]) -> None:
        for executor in ran:
            used = used + executor.resources
        if not total.contains(used):
            raise Unfit(f"the agent has {total}, but its tasks use {used}: give it back what it had, or end its tasks")

    def _check_missing(self, keys: Set[TaskKey], ran: list[Ran]) -> None:
        """What an agent has forgotten is told in pieces before it is admitted, if that is much."""
        if self.known is None:
            return
        most = self.state.config.holdings_per_slice
        if len(self.known.tasks.keys() - keys) > most:
            parting = Parting(end=End.FORGOTTEN, kept=frozenset(keys).union(one.key for one in ran))
            endings.part(self.out, self.id, parting)
            endings.part_further(self.out, self.id, parting)
            raise Unfit(f"the agent has lost more than {most} tasks, and their frameworks are told first: dial again")

    def _bring_frameworks(self, there: set[str]) -> None:
        """Make frameworks known that this master knows from its registry only, or not at all."""
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
                drain=standing.order_of(self.state.orders.get(self.id)),
                altiplano_version=altiplano.__version__,
                cause=self.out.cause,
            )
        )

    def _forget_missing(self, have: Set[TaskKey], ran: list[Ran]) -> None:
        """What the master knows of the agent, but the agent does not."""
        if self.known is None:
            return
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
        self._admit()
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
        if self.state.scheduled:
            out.holds(facts.TimerSet(what=machines.TIMER, subject="", at_s=out.now.mono_s))
        if self.is_new:
            row = view.new_agent_row(self.info, self.peer, out.now.wall_s)
            added = master.EventAgentAdded(agent=row)
            out.publish(master.Event(type=master.EventType.AGENT_ADDED, agent_added=added))
        how = "joined" if self.is_new and not self.returns else "returned"
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
            told, uuid = one.told, one.uuid
            if (one.state is not task.state and not task.state.ended) or (
                told is not None and uuid != task.update_uuid
            ):
                state = task.state if task.state.ended else one.state
                tasks.came_back(self.out, task, state)
                self.out.holds(
                    facts.TaskUpdated(
                        framework_id=framework_id, task_id=task_id, state=state, update_state=told, update_uuid=uuid
                    )
                )
            if self.arriving is None and task.kill_asked and not one.state.ended:
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
                update_state=one.told,
                update_uuid=one.uuid,
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
        if framework is None or not self.returns:
            return
        status = infos.status(
            one.key[1],
            # The oldest update that nobody acknowledged comes next; to tell a newer state first would go backwards.
            one.told or one.state,
            now=self.out.now,
            message=f"Agent {self.info.hostname} returned",
            reason=Reason.REASON_AGENT_REREGISTERED,
            agent_id=self.id,
            executor_id=one.report.executor_id,
        )
        self.out.tell(framework, infos.update(status))


def _used_by(reported: list[Reported]) -> Resources:
    return sum((one.resources for one in reported if not one.state.ended), EMPTY)


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


# -- taking facts into the state


def apply_heard(state: MasterState, fact: facts.HelloHeard) -> None:
    # Whoever dials again before it was welcome begins anew.
    given = fact.message.agent.id
    for link, other in list(state.arriving.items()):
        if given is not None and given in (other.message.agent.id, mesos.AgentID(value=other.agent_id or "")):
            del state.arriving[link]
    state.arriving[fact.link] = Arriving(peer=fact.peer, message=fact.message)


def apply_read(state: MasterState, fact: facts.ReportsRead) -> None:
    state.arriving[fact.link].add(fact.reported)


def apply_began(state: MasterState, fact: facts.ArrivalBegan) -> None:
    arriving = state.arriving[fact.link]
    arriving.agent_id, arriving.is_new, arriving.returns = fact.agent_id, fact.is_new, fact.returns


def apply_taken(state: MasterState, fact: facts.ReportsTaken) -> None:
    state.arriving[fact.link].taken += fact.count


def apply_over(state: MasterState, fact: facts.ArrivalOver) -> None:
    del state.arriving[fact.link]
