"""The way of one task through the core."""

from __future__ import annotations

import msgspec
import pytest

from altiplano.agent import effects, events
from altiplano.link import messages
from altiplano.ports import launcher
from altiplano.wire import json
from altiplano.wire.messages import mesos
from tests.unit.agent.harness import AGENT, FRAMEWORK, NODE, Agent, Capability, fetching, framework, of, seconds, task

Reason = mesos.TaskStatusReason
Source = mesos.TaskStatusSource


def member() -> Agent:
    agent = Agent()
    agent.recover()
    agent.join()
    return agent


def test_a_command_goes_starting_running_finished_each_after_the_acknowledgement_of_the_last():
    agent = member()
    (launch,) = of(effects.Launch, agent.run())
    assert launch.sandbox is not None
    assert launch.sandbox.directory == launch.spec.directory
    assert launch.spec.argv == ("/bin/sh", "-c", "true")
    agent.started()
    agent.exited()
    assert agent.states() == ["STARTING"]
    agent.ack()
    assert agent.states() == ["STARTING", "RUNNING"]
    agent.ack()
    agent.ack()
    assert agent.states() == ["STARTING", "RUNNING", "FINISHED"]
    assert agent.updates()[-1].message == "Command exited with status 0"
    assert not agent.core.state.tasks


def test_the_launcher_is_asked_only_after_the_log_holds_the_task():
    agent = member()
    names = [type(fact).__name__ for fact in agent.run().facts if fact.durable]
    assert names == ["FrameworkKnown", "TaskReceived", "ContainerLaunching", "StatusQueued"]


def test_a_status_names_agent_executor_container_and_address():
    agent = member()
    agent.run()
    (status,) = agent.updates()
    assert status.agent_id == mesos.AgentID(value=AGENT)
    assert status.executor_id == mesos.ExecutorID(value="t1")
    assert status.source is Source.SOURCE_EXECUTOR
    assert status.uuid is not None
    assert len(status.uuid) == 16
    container = status.container_status
    assert container is not None
    assert container.container_id == mesos.ContainerID(value=agent.container())
    assert container.network_infos[0].ip_addresses[0].ip_address == "10.0.0.1"


def test_the_same_order_twice_is_one_task():
    agent = member()
    agent.run()
    again = agent.run()
    assert not again.effects
    assert len(agent.core.state.tasks) == 1


def test_uris_are_fetched_before_the_start():
    agent = member()
    decision = agent.run(fetching())
    assert of(effects.MakeSandbox, decision)
    assert not of(effects.Launch, decision)
    decision = agent.sandbox_made()
    (fetch,) = of(effects.Fetch, decision)
    assert [uri.value for uri in fetch.uris] == ["http://example/x"]
    assert not of(effects.Launch, decision)
    (launch,) = of(effects.Launch, agent.fetched())
    assert launch.sandbox is None


def test_a_sandbox_that_cannot_be_made_fails_the_task_before_its_container_was_started():
    agent = member()
    agent.run()
    decision = agent.prepare_failed("cannot make the sandbox /work/s: No space left on device")
    assert of(effects.Forget, decision)
    agent.ack()
    assert agent.states() == ["STARTING", "FAILED"]
    assert "No space left" in (agent.updates()[-1].message or "")
    agent.ack()
    assert not agent.core.state.tasks


def test_a_failed_fetch_fails_the_task_in_the_name_of_the_agent():
    agent = member()
    agent.run(fetching())
    agent.prepare_failed("http://example/x answered 404")
    (status,) = agent.updates()
    assert (status.state.value, status.source, status.reason) == (
        "TASK_FAILED",
        Source.SOURCE_AGENT,
        Reason.REASON_CONTAINER_LAUNCH_FAILED,
    )
    assert "404" in (status.message or "")
    agent.ack()
    assert not agent.core.state.tasks


def test_an_end_that_overtakes_the_answer_to_the_launch_is_told_in_order():
    agent = member()
    agent.run()
    answer = agent.running()
    agent.exited(wait_status=3 << 8)
    agent.post(events.LaunchAnswered(cause="x", seed=agent.seed(), outcome=answer))
    for _ in range(3):
        agent.ack()
    assert agent.states() == ["STARTING", "RUNNING", "FAILED"]
    assert agent.updates()[-1].message == "Command exited with status 3"


def test_an_end_told_twice_is_one_end():
    agent = member()
    agent.run()
    agent.started()
    agent.exited()
    decision = agent.exited()
    assert not decision.facts
    assert of(effects.Forget, decision)


def test_a_launch_that_fails_is_told_with_its_reason():
    agent = member()
    agent.run()
    answer = launcher.LaunchFailed(container_id=agent.container(), sentence="there is no program /no/such")
    agent.post(events.LaunchAnswered(cause="x", seed=agent.seed(), outcome=answer))
    agent.ack()
    assert agent.states() == ["STARTING", "FAILED"]
    assert "/no/such" in (agent.updates()[-1].message or "")


def test_a_kill_sends_sigterm_and_after_the_grace_sigkill():
    agent = Agent()
    agent.up_to_running(task(kill_policy=mesos.KillPolicy(grace_period=seconds(0.8))))
    decision = agent.kill()
    assert of(effects.Terminate, decision)
    assert not of(effects.Destroy, decision)
    assert not [e for e in agent.advance(0.7) if isinstance(e, effects.Destroy)]
    assert [e for e in agent.advance(0.2) if isinstance(e, effects.Destroy)]
    agent.exited(wait_status=9)
    agent.ack()
    assert agent.states()[2:] == ["KILLED"]


def test_a_second_kill_shortens_the_grace_counted_from_the_first():
    agent = Agent()
    agent.up_to_running()
    agent.kill(policy=mesos.KillPolicy(grace_period=seconds(100)))
    agent.advance(10)
    decision = agent.kill(policy=mesos.KillPolicy(grace_period=seconds(12)))
    assert not of(effects.Terminate, decision)
    assert not [e for e in agent.advance(1.5) if isinstance(e, effects.Destroy)]
    agent.kill(policy=mesos.KillPolicy(grace_period=seconds(500)))
    assert [e for e in agent.advance(1.0) if isinstance(e, effects.Destroy)]


def test_a_killed_task_is_killed_whatever_its_command_says():
    agent = Agent()
    agent.up_to_running(by=framework(Capability.TASK_KILLING_STATE))
    agent.kill()
    agent.exited(wait_status=0)
    agent.ack()
    agent.ack()
    assert agent.states()[2:] == ["KILLING", "KILLED"]


def test_a_kill_during_the_launch_waits_for_the_answer():
    agent = member()
    agent.run()
    assert not of(effects.Terminate, agent.kill())
    assert of(effects.Terminate, agent.started())
    agent.exited(wait_status=15)
    agent.ack()
    assert agent.states() == ["STARTING", "KILLED"]


def test_a_kill_before_the_launch_ends_the_task_at_once():
    agent = member()
    agent.run(fetching())
    decision = agent.kill()
    assert of(effects.CancelPreparing, decision)
    (status,) = agent.updates()
    assert (status.state.value, status.reason) == ("TASK_KILLED", Reason.REASON_TASK_KILLED_DURING_LAUNCH)
    assert not agent.sandbox_made().effects


def broke(agent: Agent, order: messages.RunTask | messages.RunTaskGroup) -> None:
    agent.post(events.OrderBroke(cause="x", seed=agent.seed(), order=order, sentence="A fault of the agent"))


@pytest.mark.parametrize(("aware", "state"), [(False, "LOST"), (True, "DROPPED")])
def test_a_fault_while_deciding_on_an_order_ends_the_task_instead_of_leaving_it_staging(aware, state):
    agent = member()
    by = framework(*([Capability.PARTITION_AWARE] if aware else []))
    order = messages.RunTask(framework=by, task=msgspec.Raw(json.encode(task("t1"))))
    broke(agent, order)
    (status,) = agent.updates()
    assert agent.states() == [state]
    assert status.source is Source.SOURCE_AGENT
    assert status.reason is Reason.REASON_CONTAINER_LAUNCH_FAILED
    assert status.message == "A fault of the agent"
    agent.ack()
    assert not agent.core.state.streams


def test_a_fault_does_not_end_a_task_that_is_here():
    agent = Agent()
    agent.up_to_running()
    broke(agent, messages.RunTask(framework=framework(), task=msgspec.Raw(json.encode(task("t1")))))
    assert agent.states() == ["STARTING", "RUNNING"]


def test_a_fault_over_a_task_for_a_new_executor_gives_the_executor_back_to_the_master():
    agent = member()
    info = mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="x"), command=mesos.CommandInfo(value="./x"))
    raw = msgspec.Raw(json.encode(task("t1", executor=info)))
    broke(agent, messages.RunTask(framework=framework(), task=raw, launch_executor=True))
    (ended,) = (said for said in agent.said() if isinstance(said, messages.ExecutorEnded))
    assert (ended.executor_id, ended.status) == ("x", -1)
    assert agent.states() == ["LOST"]


def test_a_task_that_cannot_be_read_is_told_by_its_id():
    agent = member()
    raw = msgspec.Raw(b'{"task_id":{"value":"t1"},"name":"x","agent_id":{"value":"a"},"resources":"?"}')
    agent.hear(messages.RunTask(framework=framework(), task=raw))
    assert agent.states() == ["LOST"]
    assert "cannot read the task" in (agent.updates()[0].message or "")


def test_a_grace_that_ended_before_the_start_is_not_forgotten():
    agent = member()
    agent.run()
    agent.kill()
    assert any(isinstance(effect, effects.Destroy) for effect in agent.advance(4))
    decision = agent.started()
    assert of(effects.Destroy, decision)
    agent.exited(wait_status=9)
    agent.ack()
    assert agent.states()[-1] == "KILLED"


def test_the_max_completion_time_fails_the_task():
    agent = Agent()
    agent.up_to_running(task(max_completion_time=seconds(5)))
    assert [e for e in agent.advance(5.1) if isinstance(e, effects.Terminate)]
    agent.exited(wait_status=15)
    status = agent.updates()[-1]
    assert (status.state.value, status.reason) == ("TASK_FAILED", Reason.REASON_MAX_COMPLETION_TIME_REACHED)


def test_a_memory_limit_is_told_with_numbers():
    agent = Agent()
    agent.up_to_running()
    mib = 1024 * 1024
    agent.exited(wait_status=9, oom_killed=True, memory_limit_bytes=64 * mib, memory_peak_bytes=63 * mib)
    status = agent.updates()[-1]
    assert status.reason is Reason.REASON_CONTAINER_LIMITATION_MEMORY
    assert status.message == "Memory limit exceeded: Requested: 64MB Maximum Used: 63MB"
    assert status.limitation is not None


def test_killing_an_unknown_task_is_told_until_acknowledged():
    agent = member()
    agent.kill("nobody")
    (status,) = agent.updates("nobody")
    assert (status.state.value, status.reason) == ("TASK_LOST", Reason.REASON_EXECUTOR_TERMINATED)
    agent.ack("nobody")
    assert not agent.core.state.streams


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"command": None}, "no command"),
        ({"command": mesos.CommandInfo()}, "no value"),
        ({"container": mesos.ContainerInfo(type=mesos.ContainerInfoType.DOCKER)}, "Docker"),
        (
            {
                "container": mesos.ContainerInfo(
                    type=mesos.ContainerInfoType.MESOS,
                    mesos=mesos.ContainerInfoMesosInfo(image=mesos.Image(type=mesos.ImageType.DOCKER)),
                )
            },
            "image",
        ),
        ({"executor": mesos.ExecutorInfo(executor_id=mesos.ExecutorID(value="e"))}, "executor"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence(changes, word):
    agent = member()
    agent.run(task(**changes))
    (status,) = agent.updates()
    assert status.state.value == "TASK_FAILED"
    assert word in (status.message or "")


def test_a_plain_mesos_container_is_accepted():
    agent = member()
    assert of(
        effects.Launch,
        agent.run(task(container=mesos.ContainerInfo(type=mesos.ContainerInfoType.MESOS))),
    )


def test_a_removed_framework_is_ended_in_silence():
    agent = Agent()
    agent.up_to_running()
    decision = agent.hear(messages.ShutdownFramework(framework_id=FRAMEWORK))
    assert of(effects.Terminate, decision)
    before = len(list(agent.said()))
    agent.advance(6)
    agent.exited(wait_status=9)
    assert len(list(agent.said())) == before
    assert not agent.core.state.tasks


def test_the_spec_carries_user_limits_and_bounds():
    node = msgspec.structs.replace(
        NODE,
        may_switch_user=True,
        cgroups=True,
        hard_cpu_limit=True,
        output_max_bytes=1000,
        environment=(("SITE", "x"),),
    )
    agent = Agent(node)
    agent.recover()
    agent.join()
    variables = (mesos.EnvironmentVariable(name="A", value="b"), mesos.EnvironmentVariable(name="PATH", value="/x"))
    command = mesos.CommandInfo(
        value="/bin/echo",
        shell=False,
        arguments=("echo", "$HOME"),
        environment=mesos.Environment(variables=variables),
    )
    (launch,) = of(effects.Launch, agent.run(task(command=command), framework(user="nobody")))
    spec = launch.spec
    assert (spec.executable, spec.argv, spec.user) == ("/bin/echo", ("echo", "$HOME"), "nobody")
    assert spec.cgroup == launcher.CgroupLimits(
        cpu_shares=512, cpu_quota_us=50_000, memory_hard_bytes=64 * 2**20, memory_soft_bytes=64 * 2**20
    )
    assert spec.output_max_bytes == 1000
    environment = dict(spec.environment)
    assert environment["MESOS_SANDBOX"] == environment["MESOS_DIRECTORY"] == spec.directory
    assert environment["MESOS_TASK_ID"] == "t1"
    assert (environment["A"], environment["PATH"], environment["SITE"]) == ("b", "/x", "x")
    assert environment["MESOS_ALLOCATION_ROLE"] == "dev"
    assert spec.directory.endswith(f"/slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/t1/runs/{agent.container()}")
