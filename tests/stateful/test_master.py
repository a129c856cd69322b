"""A master with agents, frameworks, offers, tasks and broken links in any order.

After every event all invariants hold (`Pool.post` checks them): nothing is sold twice, nothing is forgotten.
Beyond that: a restart from the registry leads to the same members, and every framework only ever
accepts what it was offered.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from altiplano.link import messages as link_messages
from altiplano.master import events
from altiplano.master.core import Core
from altiplano.master.state import Config, MasterState, Membership
from altiplano.model.resources import EMPTY
from altiplano.wire.messages import maintenance, master, mesos, scheduler
from tests.unit.master.pool import Agent, CallType, Capability, Framework, Pool, value_of

WANTS = st.sampled_from(("cpus:1;mem:128", "cpus:0.5;mem:64;ports:[31000-31001]", "cpus:4;mem:1024", "cpus:99;mem:1"))
SECONDS = st.sampled_from((0.0, 0.05, 0.5, 30.0))
STATES = ("TASK_STARTING", "TASK_RUNNING", "TASK_KILLED", "TASK_FINISHED", "TASK_FAILED")


def members(state: MasterState) -> set[str]:
    return {agent.id for agent in state.agents.values() if agent.membership is not Membership.LEAVING}


class Master(RuleBasedStateMachine):
    agents = Bundle("agents")
    frameworks = Bundle("frameworks")

    def __init__(self) -> None:
        super().__init__()
        config = Config(
            allocation_interval_s=0.1,
            completed_tasks_max=3,
            unreachable_tasks_max=2,
            completed_frameworks_max=2,
            ping_interval_s=2.0,
            ping_misses_max=2,
            offer_timeout_s=20.0,
            reregister_timeout_s=10.0,
            # Every end of more than one task is in pieces, with the other rules between them.
            holdings_per_slice=1,
        )
        self.pool = Pool(config)
        self.subscribed: list[Framework] = []

    # -- agents

    @rule(target=agents, total=st.sampled_from(("cpus:8;mem:8192;ports:[31000-31009]", "cpus:2;mem:512")))
    def agent_joins(self, total: str) -> Agent:
        return self.pool.agent(total)

    @rule(agent=agents)
    def agent_obeys(self, agent: Agent) -> None:
        """Orders arrive, pings are answered."""
        if agent.link in self.pool.state.by_link:
            agent.obey()
            agent.say(link_messages.Pong())

    @rule(agent=agents, number=st.integers(0, 50), state=st.sampled_from(STATES), acknowledge=st.booleans())
    def task_changes(self, agent: Agent, number: int, state: str, acknowledge: bool) -> None:
        if not agent.tasks or agent.link not in self.pool.state.by_link:
            return
        framework_id, task_id = sorted(agent.tasks)[number % len(agent.tasks)]
        known = self.pool.state.task(framework_id, task_id)
        if known is not None and known.state.ended:
            return
        status = agent.update(framework_id, task_id, state)
        framework = next((one for one in self.live_frameworks() if one.id == framework_id), None)
        if acknowledge and framework is not None:
            framework.acknowledge(status)
            if mesos.TaskState[state] not in (mesos.TaskState.TASK_STARTING, mesos.TaskState.TASK_RUNNING):
                agent.tasks.pop((framework_id, task_id), None)

    @rule(agent=agents)
    def link_breaks(self, agent: Agent) -> None:
        agent.cut()

    @rule(agent=agents, forgets=st.booleans())
    def agent_returns(self, agent: Agent, forgets: bool) -> None:
        """With what it has, or after it lost everything."""
        if agent.id in self.pool.state.gone:
            return
        if forgets:
            agent.tasks.clear()
        agent.hello()
        for order in agent.heard(link_messages.ShutdownFramework):
            for key in [key for key in agent.tasks if key[0] == order.framework_id]:
                del agent.tasks[key]

    @rule(agent=consumes(agents))
    def agent_leaves(self, agent: Agent) -> None:
        agent.say(link_messages.Goodbye())
        agent.cut()

    @rule(agent=consumes(agents))
    def agent_is_marked_gone(self, agent: Agent) -> None:
        gone = mesos.AgentID(value=agent.id)
        reply = self.pool.operator(
            type=master.CallType.MARK_AGENT_GONE, mark_agent_gone=master.CallMarkAgentGone(agent_id=gone)
        )
        assert reply.status in (200, 404)

    # -- frameworks

    @rule(
        target=frameworks,
        roles=st.sampled_from((("*",), ("a",), ("a", "a/b"), ("b", "*"))),
        aware=st.booleans(),
        checkpoint=st.booleans(),
        timeout=st.sampled_from((0.0, 5.0, 1000.0)),
    )
    def framework_subscribes(self, roles: tuple[str, ...], aware: bool, checkpoint: bool, timeout: float) -> Framework:
        capabilities = (Capability.PARTITION_AWARE,) if aware else ()
        framework = self.pool.framework(
            roles=roles, capabilities=capabilities, checkpoint=checkpoint, failover_timeout=timeout
        )
        self.subscribed.append(framework)
        return framework

    @rule(framework=frameworks)
    def framework_subscribes_again(self, framework: Framework) -> None:
        framework.subscribe()

    @rule(framework=frameworks)
    def stream_breaks(self, framework: Framework) -> None:
        framework.close()

    @rule(framework=frameworks, wants=st.lists(WANTS, max_size=3), seconds=SECONDS, number=st.integers(0, 20))
    def framework_accepts(self, framework: Framework, wants: list[str], seconds: float, number: int) -> None:
        offers = framework.offers()
        if not self.talks(framework) or not offers:
            return
        offer = offers[number % len(offers)]
        tasks = tuple(framework.task(offer, want) for want in wants)
        left = value_of(offer.resources)
        framework.launch(offer, *tasks, seconds=seconds)
        for task in tasks:
            want = value_of(task.resources)
            launched = self.pool.state.task(framework.id, task.task_id.value) is not None
            assert launched is left.contains(want)
            if launched:
                left = left - want

    @rule(framework=frameworks, seconds=SECONDS, count=st.integers(1, 5))
    def framework_declines(self, framework: Framework, seconds: float, count: int) -> None:
        if self.talks(framework):
            framework.decline(*framework.offers()[:count], seconds=seconds)

    @rule(framework=frameworks, kind=st.sampled_from((CallType.REVIVE, CallType.SUPPRESS)))
    def framework_revives_or_suppresses(self, framework: Framework, kind: CallType) -> None:
        if self.talks(framework):
            assert framework.call(kind).status == 202

    @rule(framework=frameworks, number=st.integers(0, 50))
    def framework_kills(self, framework: Framework, number: int) -> None:
        if self.talks(framework):
            tasks = sorted(self.pool.state.frameworks[framework.id].tasks) or ["nobody"]
            framework.kill(tasks[number % len(tasks)])

    @rule(framework=frameworks)
    def framework_reconciles(self, framework: Framework) -> None:
        if self.talks(framework):
            framework.reconcile()
            framework.reconcile(("who", None), ("who", "nowhere"))

    @rule(framework=consumes(frameworks))
    def framework_tears_down(self, framework: Framework) -> None:
        if self.talks(framework):
            framework.call(CallType.TEARDOWN)
            assert framework.closed

    @rule(framework=consumes(frameworks))
    def framework_tears_down_and_does_not_wait(self, framework: Framework) -> None:
        if self.talks(framework):
            call = scheduler.Call(type=CallType.TEARDOWN, framework_id=mesos.FrameworkID(value=framework.id))
            self.pool.post(events.FrameworkCalls(to="nobody", stream=framework.stream, call=call, cause="teardown"))
            assert framework.closed
            assert self.pool.state.framework(framework.id) is None

    # -- time and crashes

    # -- operators

    @rule(agent=agents, order=st.sampled_from(("drain", "drain_for_good", "deactivate", "reactivate")))
    def operator_orders(self, agent: Agent, order: str) -> None:
        """Whether it is done or refused depends on where the agent stands."""
        named = mesos.AgentID(value=agent.id or "nobody")
        kind = master.CallType
        if order == "deactivate":
            call = master.CallDeactivateAgent(agent_id=named)
            reply = self.pool.operator(type=kind.DEACTIVATE_AGENT, deactivate_agent=call)
        elif order == "reactivate":
            again = master.CallReactivateAgent(agent_id=named)
            reply = self.pool.operator(type=kind.REACTIVATE_AGENT, reactivate_agent=again)
        else:
            drain = master.CallDrainAgent(agent_id=named, mark_gone=order == "drain_for_good")
            reply = self.pool.operator(type=kind.DRAIN_AGENT, drain_agent=drain)
        assert reply.status in (200, 400, 409)

    @rule(agent=agents, order=st.sampled_from(("plan", "clear", "down", "up")))
    def operator_maintains(self, agent: Agent, order: str) -> None:
        machine = mesos.MachineID(hostname=agent.hostname, ip="127.0.0.1")
        kind = master.CallType
        if order == "down":
            start = master.CallStartMaintenance(machines=(machine,))
            reply = self.pool.operator(type=kind.START_MAINTENANCE, start_maintenance=start)
        elif order == "up":
            stop = master.CallStopMaintenance(machines=(machine,))
            reply = self.pool.operator(type=kind.STOP_MAINTENANCE, stop_maintenance=stop)
        else:
            when = mesos.Unavailability(start=mesos.TimeInfo(nanoseconds=1))
            windows = (maintenance.Window(machine_ids=(machine,), unavailability=when),) if order == "plan" else ()
            update = master.CallUpdateMaintenanceSchedule(schedule=maintenance.Schedule(windows=windows))
            reply = self.pool.operator(type=kind.UPDATE_MAINTENANCE_SCHEDULE, update_maintenance_schedule=update)
        assert reply.status in (200, 400)

    @rule(seconds=st.sampled_from((0.005, 0.05, 0.2, 3.0, 30.0)))
    def time_passes(self, seconds: float) -> None:
        self.pool.run(seconds)

    @rule()
    def master_restarts(self) -> None:
        before = self.pool.state
        self.pool.restart()
        after = self.pool.state
        assert set(after.agents) == members(before)
        assert set(after.unreachable) == set(before.unreachable)
        assert set(after.gone) == set(before.gone)
        assert set(after.frameworks) == set(before.frameworks) - set(before.ending)

    # -- what always holds

    @invariant()
    def a_summary_leads_to_the_same_registry(self) -> None:
        state = self.pool.state
        again = Core(self.pool.config)
        for fact in self.pool.core.summary():
            again.apply(fact)
        assert set(again.state.agents) == members(state)
        assert again.state.unreachable == state.unreachable
        assert again.state.gone == state.gone
        assert {one.id: one.deadline_s for one in again.state.frameworks.values()} == {
            one.id: one.deadline_s for one in state.frameworks.values() if one.id not in state.ending
        }
        # One that is ending may push out an older one before its time has come here.
        over = {*state.completed, *state.ending}
        assert set(again.state.completed) <= over
        assert len(again.state.completed) == min(len(over), self.pool.config.completed_frameworks_max)

    @invariant()
    def nobody_is_offered_more_than_there_is(self) -> None:
        for agent in self.pool.state.agents.values():
            sold = sum((value_of(offer.message.resources) for offer in agent.offers.values()), EMPTY)
            assert agent.total.contains(sold + agent.used)

    def talks(self, framework: Framework) -> bool:
        return framework.stream in self.pool.state.by_stream

    def live_frameworks(self) -> list[Framework]:
        return [one for one in self.subscribed if self.talks(one)]


TestMaster = Master.TestCase
TestMaster.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
