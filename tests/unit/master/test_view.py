"""What a master shows: as messages of the operator API, under the older names, and why somebody waits."""

from __future__ import annotations

from typing import Any

import msgspec

from altiplano.master import answers, legacy, pieces, reconcile, snapshot, view
from altiplano.master.settings import Settings
from altiplano.wire.codec import JSON, PROTOBUF, Codec
from altiplano.wire.messages import master, mesos
from tests.unit.master.pool import CallType, Pool, value_of


def shown(tree: pieces.Tree) -> Any:
    return msgspec.json.decode(b"".join(pieces.to_json(tree)))


def whole(pool: Pool, codec: Codec) -> master.Response:
    tree = answers.get_state(snapshot.take(pool.state))
    write = answers.written(codec, answers.response(master.ResponseType.GET_STATE, "get_state", tree))
    return codec.decode(master.Response, b"".join(write()))


def busy() -> tuple[Pool, str]:
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework(roles=("web",))
    pool.run()
    label = mesos.Labels(labels=(mesos.Label(key="k", value="v"),))
    task_id = framework.start("cpus:2;mem:256;ports:[31000-31001]", labels=label)
    agent.update(framework.id, task_id, "TASK_STARTING")
    agent.update(framework.id, task_id, "TASK_RUNNING", timestamp=1.0)
    pool.run(0.5)
    return pool, task_id


def test_get_state_holds_tasks_frameworks_and_agents_in_both_forms():
    pool, task_id = busy()
    state = whole(pool, JSON).get_state
    (task,) = state.get_tasks.tasks
    assert (task.task_id.value, task.state.value) == (task_id, "TASK_RUNNING")
    assert [status.state.value for status in task.statuses] == ["TASK_STARTING", "TASK_RUNNING"]
    assert task.labels.labels[0].key == "k"
    (agent,) = state.get_agents.agents
    assert value_of(agent.allocated_resources).scalar("cpus") == 2000
    assert value_of(agent.offered_resources).scalar("cpus") == 6000
    assert agent.version == "1.11.0"
    (framework,) = state.get_frameworks.frameworks
    assert framework.active
    assert len(framework.offers) == 1
    assert whole(pool, PROTOBUF).get_state == state


def test_the_older_state_has_amounts_by_name_and_tasks_below_their_framework():
    pool, task_id = busy()
    state = shown(legacy.state(pool.state, Settings(cluster="alps")))
    (slave,) = state["slaves"]
    assert slave["resources"] == {
        "cpus": 8.0,
        "gpus": 0.0,
        "mem": 8192.0,
        "disk": 8192.0,
        "ports": "[31000-31099]",
    }
    assert slave["used_resources"]["ports"] == "[31000-31001]"
    assert slave["pid"] == "slave(1)@127.0.0.1:5051"
    (framework,) = state["frameworks"]
    (task,) = framework["tasks"]
    assert (task["id"], task["role"], task["executor_id"], task["labels"]) == (
        task_id,
        "web",
        "",
        [{"key": "k", "value": "v"}],
    )
    assert (state["cluster"], state["leader"], state["activated_slaves"]) == ("alps", "master@127.0.0.1:5050", 1.0)


def test_tasks_are_paged_newest_first():
    pool = Pool()
    pool.agent()
    framework = pool.framework()
    pool.run()
    ids = []
    for _ in range(3):
        ids.append(framework.start("cpus:1;mem:64"))
        pool.run(1.0)
    page = shown(legacy.tasks(pool.state, {"limit": "2"}))["tasks"]
    assert [task["id"] for task in page] == ids[:0:-1]
    page = shown(legacy.tasks(pool.state, {"order": "asc", "offset": "1"}))["tasks"]
    assert [task["id"] for task in page] == ids[1:]
    assert shown(legacy.tasks(pool.state, {"task_id": "nobody"})) == {"tasks": []}


def test_summaries_count_tasks_by_state():
    pool, _ = busy()
    summary = shown(legacy.state_summary(pool.state, Settings()))
    assert summary["frameworks"][0]["TASK_RUNNING"] == summary["slaves"][0]["TASK_RUNNING"] == 1
    assert summary["frameworks"][0]["slave_ids"] == [summary["slaves"][0]["id"]]


def test_roles_show_what_they_use_and_what_is_on_offer_to_them():
    pool, _ = busy()
    rows = {row["name"]: row for row in legacy.roles(pool.state)["roles"]}
    assert (rows["web"]["allocated"]["cpus"], rows["web"]["offered"]["cpus"], rows["*"]["frameworks"]) == (2, 6, [])
    assert {role.name for role in view.get_roles(pool.state).roles} == {"*", "web"}


def test_a_framework_can_ask_why_it_waits():
    pool = Pool()
    framework = pool.framework()
    known = pool.state.frameworks[framework.id]
    assert view.waiting_reason(pool.state, known) == "nothing is free on any of 0 agents"
    pool.agent()
    pool.run()
    assert view.waiting_reason(pool.state, known) == "it holds 1 offers"
    framework.decline(framework.offer(), seconds=1000)
    pool.run()
    assert "on 1 of them it declined as much" in view.waiting_reason(pool.state, known)
    framework.call(CallType.SUPPRESS)
    assert "all its roles are suppressed" in view.waiting_reason(pool.state, known)
    framework.close()
    assert view.waiting_reason(pool.state, known) == "it is not connected"


def test_a_snapshot_stays_as_it_was_while_tasks_go_on():
    pool, task_id = busy()
    (framework,) = pool.state.frameworks.values()
    tree = answers.get_state(snapshot.take(pool.state))
    before = b"".join(pieces.to_json(tree))
    agent_id = framework.tasks[task_id].agent_id
    call = master.CallMarkAgentGone(agent_id=mesos.AgentID(value=agent_id))
    pool.operator(type=master.CallType.MARK_AGENT_GONE, mark_agent_gone=call)
    assert b"".join(pieces.to_json(tree)) == before
    after = whole(pool, JSON).get_state
    assert after is not None
    assert after.get_agents is not None
    assert not after.get_agents.agents


def test_large_answers_come_in_pieces_of_bounded_work():
    pool = Pool()
    pool.agent("cpus:1000;mem:1000000")
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    count = 3 * answers.TASKS_PER_PIECE + 1
    framework.launch(offer, *(framework.task(offer, "cpus:0.1;mem:32") for _ in range(count)))
    trees = (answers.get_tasks(snapshot.take(pool.state)), legacy.state(pool.state, Settings()))
    for tree in trees:
        written = list(pieces.to_json(tree))
        assert sum(piece.count(b"TASK_STAGING") for piece in written) == count
        assert max(piece.count(b"TASK_STAGING") for piece in written) == answers.TASKS_PER_PIECE
    assert reconcile.TASKS_PER_SLICE <= answers.TASKS_PER_PIECE


def test_rows_that_are_copied_are_those_that_are_worked_out():
    pool = Pool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    offer = framework.offer()
    executor = mesos.ExecutorInfo(
        executor_id=mesos.ExecutorID(value="e"),
        command=mesos.CommandInfo(value="x"),
        type=mesos.ExecutorInfoType.CUSTOM,
    )
    label = mesos.Labels(labels=(mesos.Label(key="k\u20ac", value='":null"'),))
    plain = framework.task(
        offer,
        "cpus:1;mem:64;ports:[31000-31001]",
        command=mesos.CommandInfo(value="true", user="me"),
        labels=label,
        limits={"cpus": mesos.ValueScalar(value=2.0)},
        kill_policy=mesos.KillPolicy(grace_period=mesos.DurationInfo(nanoseconds=5)),
        container=mesos.ContainerInfo(type=mesos.ContainerInfoType.MESOS),
    )
    endless = framework.task(offer, "cpus:1;mem:64", limits={"mem": mesos.ValueScalar(value=float("inf"))})
    own = framework.task(offer, "cpus:1;mem:64", executor=executor)
    framework.launch(offer, plain, endless, own)
    agent.update(framework.id, plain.task_id.value, "TASK_RUNNING", labels=label, timestamp=2.5, healthy=True)
    shot = snapshot.take(pool.state)
    (then,) = shot.frameworks
    assert len(then.tasks) == 3
    state = whole(pool, JSON).get_state
    assert state is not None
    assert state.get_tasks is not None
    assert state.get_tasks.tasks == tuple(view.task_row(task) for task in then.tasks)
    rows = {row["id"]: row for row in shown(legacy.tasks(pool.state, {}))["tasks"]}
    row = rows[plain.task_id.value]
    assert (row["user"], row["limits"], row["labels"]) == (
        "me",
        {"cpus": 2.0},
        [{"key": "k\u20ac", "value": '":null"'}],
    )
    assert (row["statuses"][0]["healthy"], row["statuses"][0]["timestamp"]) == (True, 2.5)
    assert rows[own.task_id.value]["executor_id"] == "e"
    assert rows[endless.task_id.value]["limits"] == {"mem": None}
