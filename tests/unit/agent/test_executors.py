"""Custom executors in the core: from the first task to the last acknowledgement, and through restarts."""

from __future__ import annotations

import msgspec
import pytest

from altiplano.agent import effects, events, executor_token, facts
from altiplano.engine.core import Decision, Note
from altiplano.link import messages
from altiplano.ports import launcher
from altiplano.wire import json
from altiplano.wire.messages import executor as api
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import AGENT, FRAMEWORK, NODE, Agent, Capability, framework, of, seconds, task

Reason = mesos.TaskStatusReason
State = mesos.TaskState
EXECUTOR = "x1"
KEY = (FRAMEWORK, EXECUTOR)


def executor(**more: object) -> mesos.ExecutorInfo:
    amount = mesos.Resource(name="cpus", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=0.25))
    plain = mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value=EXECUTOR),
        command=mesos.CommandInfo(value="./executor"),
        resources=(amount,),
        type=mesos.ExecutorInfoType.CUSTOM,
    )
    return msgspec.structs.replace(plain, **more)  # type: ignore[arg-type]


class Pool(Agent):
    """An agent with the short forms of an executor."""

    streams = 0

    def give(
        self,
        task_id: str = "t1",
        by: mesos.FrameworkInfo | None = None,
        info: mesos.ExecutorInfo | None = None,
        new: bool | None = None,
    ) -> Decision:
        raw = msgspec.Raw(json.encode(task(task_id, command=None, executor=info or executor())))
        order = messages.RunTask(framework=by or framework(), task=raw, launch_executor=new, cause=f"accept-{task_id}")
        return self.hear(order)

    @property
    def box(self) -> str:
        return self.core.state.executors[KEY].container_id

    def up(self) -> Decision:
        """The sandbox is made, the process started."""
        self.post(events.SandboxMade(cause="x", seed=self.seed(), container_id=self.box))
        return self.post(events.LaunchAnswered(cause="x", seed=self.seed(), outcome=self.alive()))

    def alive(self) -> launcher.Started:
        return launcher.Started(container_id=self.box, pid=99, start_ticks=1, started_wall_s=self.now().wall_s)

    def subscribe(self, *updates: mesos.TaskStatus, tasks: tuple[str, ...] = ()) -> Decision:
        Pool.streams += 1
        return self.post(
            events.ExecutorSubscribed(
                cause="x",
                seed=self.seed(),
                framework_id=FRAMEWORK,
                executor_id=EXECUTOR,
                stream=f"stream-{Pool.streams}",
                task_ids=tasks,
                updates=updates,
            )
        )

    def update(self, state: State, task_id: str = "t1", uuid: bytes | None = None) -> Decision:
        return self.post(
            events.ExecutorUpdated(
                cause="x",
                seed=self.seed(),
                framework_id=FRAMEWORK,
                executor_id=EXECUTOR,
                status=status(state, task_id, uuid or self.seed()),
            )
        )

    def exit_box(self, wait_status: int | None = 0, **more: object) -> Decision:
        wall_s = self.now().wall_s
        exited = launcher.Exited(
            container_id=self.box,
            wait_status=wait_status,
            started_wall_s=wall_s,
            ended_wall_s=wall_s,
            **more,  # type: ignore[arg-type]
        )
        return self.post(events.ContainerExited(cause="x", seed=self.seed(), exited=exited))

    def again(self) -> Pool:
        """A new process on the same log, which has found the executor running."""
        alive = launcher.Container(container_id=self.box, outcome=self.alive())
        fresh = self.restarted()
        fresh.__class__ = Pool
        assert isinstance(fresh, Pool)
        fresh.recover(alive)
        fresh.join(epoch=2)
        return fresh


def status(state: State, task_id: str = "t1", uuid: bytes = b"u" * 16) -> mesos.TaskStatus:
    source = mesos.TaskStatusSource.SOURCE_EXECUTOR
    return mesos.TaskStatus(task_id=mesos.TaskID(value=task_id), state=state, source=source, uuid=uuid)


def told(decision: Decision) -> list[str]:
    return [effect.event.type.value for effect in of(effects.Tell, decision) if effect.event.type is not None]


def failures(pool: Pool) -> list[int]:
    return [said.status for said in pool.said() if isinstance(said, messages.ExecutorEnded)]


def ready(by: mesos.FrameworkInfo | None = None, node: object = NODE) -> Pool:
    pool = Pool(node)  # type: ignore[arg-type]
    pool.recover()
    pool.join()
    pool.give(by=by)
    pool.up()
    return pool


def running(by: mesos.FrameworkInfo | None = None) -> Pool:
    pool = ready(by)
    pool.subscribe()
    pool.update(State.TASK_RUNNING)
    pool.ack()
    return pool


def test_a_task_waits_for_its_executor_and_is_given_to_it_when_it_subscribes():
    pool = ready()
    assert not of(effects.Tell, pool.give("t2"))
    decision = pool.subscribe()
    assert told(decision) == ["SUBSCRIBED", "LAUNCH", "LAUNCH"]
    names = [type(fact).__name__ for fact in decision.facts if fact.durable]
    assert names == ["ExecutorJoined", "TaskSent", "TaskSent"]
    assert told(pool.give("t3")) == ["LAUNCH"]
    assert len(pool.core.state.executors) == 1


def test_an_executor_is_told_who_it_is():
    decision = ready().subscribe()
    welcome = of(effects.Tell, decision)[0].event.subscribed
    assert welcome is not None
    assert welcome.executor_info.executor_id.value == EXECUTOR
    assert welcome.framework_info.id == mesos.FrameworkID(value=FRAMEWORK)
    assert welcome.agent_info.id == mesos.AgentID(value=AGENT)
    assert welcome.container_id is not None


def test_an_update_is_told_with_what_the_agent_knows_and_acknowledged_in_the_decision_that_makes_it_durable():
    pool = ready()
    pool.subscribe()
    decision = pool.update(State.TASK_RUNNING)
    assert told(decision) == ["ACKNOWLEDGED"]
    assert any(isinstance(fact, facts.StatusQueued) for fact in decision.facts)
    (sent,) = pool.updates()
    assert sent.agent_id == mesos.AgentID(value=AGENT)
    assert sent.executor_id == mesos.ExecutorID(value=EXECUTOR)
    assert sent.timestamp == pool.now().wall_s
    assert sent.container_status is not None
    assert sent.container_status.container_id == mesos.ContainerID(value=pool.box)
    assert sent.container_status.executor_pid == 99


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("snapshot", [False, True])
def test_an_update_that_comes_twice_is_told_once_and_acknowledged_twice(restart: bool, snapshot: bool):
    pool = ready()
    pool.subscribe()
    pool.update(State.TASK_RUNNING, uuid=b"a" * 16)
    pool.ack()
    if restart:
        if snapshot:
            pool.durable = pool.summarised().durable
        pool = pool.again()
        decision = pool.subscribe(status(State.TASK_RUNNING, uuid=b"a" * 16), tasks=("t1",))
    else:
        decision = pool.update(State.TASK_RUNNING, uuid=b"a" * 16)
    assert "ACKNOWLEDGED" in told(decision)
    assert not pool.core.state.streams


def test_a_task_ends_by_its_executors_word_and_later_words_are_taken_and_not_told():
    pool = running()
    pool.update(State.TASK_FINISHED)
    assert told(pool.update(State.TASK_RUNNING)) == ["ACKNOWLEDGED"]
    assert pool.core.state.tasks[FRAMEWORK, "t1"].state.value == "TASK_FINISHED"
    assert pool.states() == ["RUNNING", "FINISHED"]
    pool.ack()
    assert not pool.core.state.tasks
    assert told(pool.update(State.TASK_RUNNING)) == ["ACKNOWLEDGED"], "also when the end was acknowledged"
    assert pool.states() == ["RUNNING", "FINISHED"]
    assert not pool.core.state.streams
    assert KEY in pool.core.state.executors


@pytest.mark.parametrize("restart", [False, True])
def test_an_update_that_was_overtaken_by_the_end_of_its_task_is_not_told_behind_it(restart: bool):
    pool = ready()
    pool.subscribe()
    pool.update(State.TASK_FINISHED)
    pool.ack()
    if restart:
        pool = pool.again()
    decision = pool.subscribe(status(State.TASK_RUNNING, uuid=b"b" * 16), tasks=("t1",))
    assert "ACKNOWLEDGED" in told(decision)
    assert not pool.core.state.streams
    assert [state for state in pool.states() if state == "RUNNING"] == []


def test_the_container_has_limits_for_the_executor_and_the_tasks_that_live():
    pool = Pool(msgspec.structs.replace(NODE, cgroups=True))
    pool.recover()
    pool.join()
    pool.give()
    (launch,) = of(effects.Launch, pool.post(events.SandboxMade(cause="x", seed=pool.seed(), container_id=pool.box)))
    assert launch.spec.cgroup is not None
    assert launch.spec.cgroup.cpu_shares == 768
    pool.post(events.LaunchAnswered(cause="x", seed=pool.seed(), outcome=pool.alive()))
    pool.subscribe()
    (more,) = of(effects.Limit, pool.give("t2"))
    (less,) = of(effects.Limit, pool.update(State.TASK_FINISHED))
    assert (more.limits.cpu_shares, less.limits.cpu_shares) == (1280, 768)


def test_a_kill_is_told_to_the_executor_and_told_again_when_it_subscribes_again():
    pool = running()
    assert told(pool.kill()) == ["KILL"]
    pool = pool.again()
    assert told(pool.subscribe(tasks=())) == ["SUBSCRIBED", "KILL"]
    pool.update(State.TASK_KILLED)
    assert "KILL" not in told(pool.subscribe())


def test_a_task_that_was_not_given_away_is_killed_by_the_agent_and_an_executor_without_work_goes():
    pool = ready()
    pool.kill()
    (end,) = pool.updates()
    assert (end.state, end.reason) == (State.TASK_KILLED, Reason.REASON_TASK_KILLED_DURING_LAUNCH)
    assert told(pool.subscribe()) == ["SUBSCRIBED", "SHUTDOWN"]


def test_an_executor_that_exits_fails_its_living_tasks_and_its_scheduler_hears_how():
    pool = running()
    pool.give("t2")
    pool.update(State.TASK_FINISHED)
    pool.exit_box(3 << 8)
    (end,) = pool.updates("t2")
    assert (end.state, end.reason) == (State.TASK_FAILED, Reason.REASON_EXECUTOR_TERMINATED)
    assert end.source is mesos.TaskStatusSource.SOURCE_AGENT
    assert "exited with status 3" in (end.message or "")
    assert failures(pool) == [3 << 8]
    assert not pool.core.state.executors
    assert pool.states() == ["RUNNING", "FINISHED"]


def test_one_that_takes_too_much_memory_fails_its_tasks_with_the_numbers():
    pool = running()
    pool.exit_box(9, oom_killed=True, memory_limit_bytes=64 << 20, memory_peak_bytes=64 << 20)
    end = pool.updates()[-1]
    assert end.reason is Reason.REASON_CONTAINER_LIMITATION_MEMORY
    assert end.message == "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB"


def test_an_executor_that_does_not_subscribe_in_time_is_ended_and_its_tasks_have_failed():
    pool = ready()
    assert not pool.advance(59.0)
    assert any(isinstance(effect, effects.Destroy) for effect in pool.advance(2.0))
    pool.exit_box(9)
    (end,) = pool.updates()
    assert (end.state, end.reason) == (State.TASK_FAILED, Reason.REASON_EXECUTOR_REGISTRATION_TIMEOUT)


@pytest.mark.parametrize(
    ("capabilities", "state"), [((), State.TASK_LOST), ((Capability.PARTITION_AWARE,), State.TASK_GONE)]
)
def test_an_executor_that_does_not_return_after_a_restart_is_ended(capabilities, state):
    pool = running(framework(*capabilities)).again()
    assert any(isinstance(effect, effects.Destroy) for effect in pool.advance(3.0))
    pool.exit_box(9)
    end = pool.updates()[-1]
    assert (end.state, end.reason) == (state, Reason.REASON_EXECUTOR_REREGISTRATION_TIMEOUT)


def test_a_restarted_agent_gives_no_task_twice():
    pool = ready()
    pool.give("t2")
    pool.subscribe()
    pool = pool.again()
    decision = pool.subscribe(tasks=("t1",))
    assert told(decision) == ["SUBSCRIBED"]
    (lost,) = pool.updates("t2")
    assert (lost.state, lost.reason) == (State.TASK_LOST, Reason.REASON_AGENT_RESTARTED)
    assert not pool.updates("t1")


def test_a_task_that_waited_through_a_restart_is_given_then():
    pool = ready()
    pool = pool.again()
    assert told(pool.subscribe()) == ["SUBSCRIBED", "LAUNCH"]


def test_updates_that_nobody_acknowledged_are_told_after_a_restart_in_order():
    pool = ready()
    pool.subscribe()
    pool = pool.again()
    first, second = status(State.TASK_RUNNING, uuid=b"1" * 16), status(State.TASK_FINISHED, uuid=b"2" * 16)
    assert told(pool.subscribe(first, second)) == ["SUBSCRIBED", "ACKNOWLEDGED", "ACKNOWLEDGED"]
    pool.ack()
    pool.ack()
    assert pool.states() == ["RUNNING", "FINISHED"]
    assert not pool.core.state.tasks


def test_updates_that_an_executor_lists_in_any_order_are_told_with_the_end_last():
    pool = ready()
    pool.subscribe()
    pool = pool.again()
    pool.subscribe(status(State.TASK_FINISHED, uuid=b"2" * 16), status(State.TASK_RUNNING, uuid=b"1" * 16))
    pool.ack()
    pool.ack()
    assert pool.states() == ["RUNNING", "FINISHED"]


def test_a_second_subscription_ends_the_first_stream_and_its_end_changes_nothing():
    pool = running()
    old = pool.core.state.executors[KEY].stream
    assert [effect.stream for effect in of(effects.CloseStream, pool.subscribe(tasks=("t1",)))] == [old]
    new = pool.core.state.executors[KEY].stream
    left = events.ExecutorLeft(
        cause="x", seed=pool.seed(), framework_id=FRAMEWORK, executor_id=EXECUTOR, stream=old or ""
    )
    pool.post(left)
    assert pool.core.state.executors[KEY].stream == new


def test_messages_go_both_ways_and_are_dropped_where_nobody_listens():
    pool = ready()
    order = messages.FrameworkMessage(framework_id=FRAMEWORK, executor_id=EXECUTOR, data=b"hello")
    assert not of(effects.Tell, pool.hear(order))
    pool.subscribe()
    assert told(pool.hear(order)) == ["MESSAGE"]
    pool.post(
        events.ExecutorSaid(
            cause="x", seed=pool.seed(), framework_id=FRAMEWORK, executor_id=EXECUTOR, data=b"hello back"
        )
    )
    assert [said.data for said in pool.said() if isinstance(said, messages.ExecutorMessage)] == [b"hello back"]


def test_a_shutdown_is_asked_for_and_enforced_after_the_executors_grace():
    pool = Pool()
    pool.recover()
    pool.join()
    pool.give(info=executor(shutdown_grace_period=seconds(2)))
    pool.up()
    pool.subscribe()
    order = messages.ShutdownExecutor(framework_id=FRAMEWORK, executor_id=EXECUTOR)
    assert told(pool.hear(order)) == ["SHUTDOWN"]
    assert not [effect for effect in pool.advance(1.9) if isinstance(effect, effects.Destroy)]
    assert [effect for effect in pool.advance(0.2) if isinstance(effect, effects.Destroy)]
    pool.exit_box(9)
    assert pool.updates()[-1].reason is Reason.REASON_EXECUTOR_TERMINATED
    assert failures(pool) == [9]


def test_of_a_removed_framework_nobody_hears_any_more():
    pool = running()
    pool.give("t2")
    said = len(list(pool.said()))
    assert told(pool.hear(messages.ShutdownFramework(framework_id=FRAMEWORK))) == ["SHUTDOWN"]
    assert not pool.core.state.tasks
    pool.exit_box(0)
    assert not pool.core.state.executors
    assert len(list(pool.said())) == said


def test_a_greeting_names_executors_and_whose_the_tasks_are():
    pool = running().again()
    hello = next(said for said in pool.said() if isinstance(said, messages.Hello))
    assert [report.executor.executor_id.value for report in hello.executors] == [EXECUTOR]
    assert [report.executor_id for report in hello.tasks] == [EXECUTOR]


def test_a_task_for_an_executor_that_has_ended_meanwhile_starts_no_other():
    pool = running()
    pool.exit_box(0)
    decision = pool.give("t2", new=False)
    assert not of(effects.MakeSandbox, decision)
    (end,) = pool.updates("t2")
    assert (end.state, end.reason) == (State.TASK_LOST, Reason.REASON_EXECUTOR_TERMINATED)
    assert of(effects.MakeSandbox, pool.give("t3", new=True))


def test_without_checkpoint_an_executor_ends_with_the_agent_process():
    pool = running(framework(checkpoint=False))
    alive = launcher.Container(container_id=pool.box, outcome=pool.alive())
    fresh = pool.restarted()
    fresh.__class__ = Pool
    assert isinstance(fresh, Pool)
    decision = fresh.recover(alive)
    assert of(effects.Destroy, decision)
    fresh.join(epoch=2)
    fresh.exit_box(9)
    assert fresh.updates()[-1].state is State.TASK_LOST


def test_an_executor_that_ended_while_the_agent_was_away_is_told_with_its_true_status():
    pool = running()
    wall_s = pool.now().wall_s
    gone = launcher.Exited(container_id=pool.box, wait_status=7 << 8, started_wall_s=wall_s, ended_wall_s=wall_s)
    fresh = pool.restarted()
    fresh.recover(launcher.Container(container_id=pool.box, outcome=gone))
    fresh.join(epoch=2)
    assert "exited with status 7" in (fresh.updates()[-1].message or "")
    assert not fresh.core.state.executors


def test_files_are_fetched_before_the_executor_starts_and_what_cannot_be_fetched_fails_its_tasks():
    uri = mesos.CommandInfoURI(value="/opt/executor", executable=True)
    pool = Pool()
    pool.recover()
    pool.join()
    pool.give(info=executor(command=mesos.CommandInfo(value="./executor", uris=(uri,))))
    (fetch,) = of(effects.Fetch, pool.post(events.SandboxMade(cause="x", seed=pool.seed(), container_id=pool.box)))
    assert fetch.uris == (uri,)
    failed = events.PreparingFailed(cause="x", seed=pool.seed(), container_id=pool.box, sentence="no such file")
    pool.post(failed)
    (end,) = pool.updates()
    assert (end.state, end.reason) == (State.TASK_FAILED, Reason.REASON_CONTAINER_LAUNCH_FAILED)
    assert failures(pool) == [-1]


def test_the_agent_that_stops_with_its_tasks_waits_for_its_executors():
    pool = running()
    stop = events.StopOrdered(cause="stop", seed=pool.seed(), with_tasks=True)
    decision = pool.post(stop)
    assert told(decision) == ["SHUTDOWN"]
    assert not of(effects.Exit, decision)
    pool.exit_box(0)
    pool.ack()
    (leave,) = [effect for effect in pool.done if isinstance(effect, effects.Exit)]
    assert leave.stop_launcher
    assert pool.states() == ["RUNNING", "KILLED"]


def test_an_executor_speaks_for_its_own_tasks_only():
    pool = running()
    pool.run(task("mine"))
    pool.update(State.TASK_FINISHED, "mine")
    assert pool.states("mine") == ["STARTING"]


@pytest.mark.parametrize(("aware", "state"), [(False, "LOST"), (True, "GONE")])
def test_limits_that_cannot_be_changed_end_the_executor_and_its_tasks_with_the_reason(aware, state):
    pool = Pool()
    pool.recover()
    pool.join()
    pool.give(by=framework(*([Capability.PARTITION_AWARE] if aware else [])))
    pool.up()
    pool.subscribe()
    decision = pool.post(
        events.LimitRefused(cause="x", seed=pool.seed(), container_id=pool.box, sentence="Invalid argument")
    )
    assert of(effects.Destroy, decision)
    assert "Invalid argument" in " ".join(note.sentence for note in of(Note, decision))
    pool.exit_box(9)
    (last,) = pool.updates("t1")
    assert last.state.value == f"TASK_{state}"
    assert last.reason is Reason.REASON_CONTAINER_UPDATE_FAILED


def test_heartbeats_are_rare():
    pool = running()
    assert not [effect for effect in pool.advance(1799.0) if isinstance(effect, effects.Tell)]
    told_ = [effect.event.type for effect in pool.advance(2.0) if isinstance(effect, effects.Tell)]
    assert told_ == [api.EventType.HEARTBEAT]


def test_the_environment_is_what_executors_need():
    node = msgspec.structs.replace(NODE, executor_secret=b"s" * 32, reregistration_timeout_s=2.0)
    pool = Pool(node)
    pool.recover()
    pool.join()
    pool.give()
    (launch,) = of(effects.Launch, pool.post(events.SandboxMade(cause="x", seed=pool.seed(), container_id=pool.box)))
    env = dict(launch.spec.environment)
    token = env.pop("MESOS_EXECUTOR_AUTHENTICATION_TOKEN")
    claims = executor_token.Claims(fid=FRAMEWORK, eid=EXECUTOR, cid=pool.box)
    assert executor_token.read(b"s" * 32, token) == claims
    assert executor_token.read(b"t" * 32, token) is None
    directory = f"/work/slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/{EXECUTOR}/runs/{pool.box}"
    assert env == {
        "LIBPROCESS_PORT": "0",
        "MESOS_AGENT_ENDPOINT": "10.0.0.1:5051",
        "MESOS_CHECKPOINT": "1",
        "MESOS_CONTAINER_ID": pool.box,
        "MESOS_CONTAINER_IP": "10.0.0.1",
        "MESOS_DIRECTORY": directory,
        "MESOS_EXECUTOR_ID": EXECUTOR,
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
        "MESOS_FRAMEWORK_ID": FRAMEWORK,
        "MESOS_HTTP_COMMAND_EXECUTOR": "0",
        "MESOS_RECOVERY_TIMEOUT": "15mins",
        "MESOS_SANDBOX": directory,
        "MESOS_SLAVE_ID": AGENT,
        "MESOS_SLAVE_PID": "slave(1)@10.0.0.1:5051",
        "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def test_a_snapshot_of_the_log_has_all_that_the_log_has():
    pool = running()
    pool.give("t2")
    pool.kill("t2")
    pool.update(State.TASK_FINISHED)
    fresh = pool.summarised()
    before, after = pool.core.state, fresh.core.state
    assert after.executors.keys() == before.executors.keys()
    assert after.executors[KEY].uuids.keys() == before.executors[KEY].uuids.keys()
    assert after.executors[KEY].stage is before.executors[KEY].stage
    assert {key: (one.stage, one.state, one.kill) for key, one in after.tasks.items()} == {
        key: (one.stage, one.state, one.kill) for key, one in before.tasks.items()
    }


def test_the_last_call_of_an_executor_that_has_ended_does_not_start_its_successor():
    pool = Pool()
    pool.recover()
    pool.join()
    pool.give()
    decision = pool.subscribe()
    assert of(effects.CloseStream, decision)
    assert not told(decision)
    pool.up()
    assert told(pool.subscribe()) == ["SUBSCRIBED", "LAUNCH"]


@pytest.mark.parametrize("acknowledged", [False, True])
def test_the_last_words_of_an_executor_that_has_ended_do_not_count_for_its_successor(acknowledged: bool):
    pool = running()
    pool.exit_box(9)
    if acknowledged:
        pool.ack()
    pool.give("t2")
    pool.up()
    pool.subscribe()
    before = len(pool.updates("t1"))
    assert told(pool.update(State.TASK_KILLED, "t1")) == []
    assert len(pool.updates("t1")) == before
    assert ((FRAMEWORK, "t1") in pool.core.state.streams) is not acknowledged


def test_an_executor_of_a_removed_framework_is_acknowledged_and_nothing_is_told():
    pool = running()
    pool.hear(messages.ShutdownFramework(framework_id=FRAMEWORK, cause="gone"))
    assert told(pool.update(State.TASK_KILLED)) == ["ACKNOWLEDGED"]
    assert not pool.core.state.streams


def test_a_task_that_was_given_up_and_turns_up_is_killed():
    pool = ready()
    pool.subscribe()
    pool.subscribe()
    assert pool.updates()[-1].reason is Reason.REASON_AGENT_RESTARTED
    assert told(pool.update(State.TASK_RUNNING)) == ["KILL", "ACKNOWLEDGED"]
    assert pool.core.state.tasks[FRAMEWORK, "t1"].state.ended
    pool.ack()
    assert not pool.core.state.streams


def test_an_executor_that_ends_between_greeting_and_welcome_is_told_with_the_welcome():
    pool = running()
    pool.lose_link()
    pool.advance(60.0)
    pool.post(events.Connected(cause="x", seed=pool.seed(), connection=pool.core.state.connection))
    pool.exit_box(9)
    assert failures(pool) == []
    pool.hear(
        messages.Welcome(
            version=messages.VERSION,
            epoch=1,
            agent_id=AGENT,
            silence_s=75.0,
            master=mesos.MasterInfo(id="m", ip=0, port=5050),
            cause="welcome",
        )
    )
    assert failures(pool) == [-1]
