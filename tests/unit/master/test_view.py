"""What a master shows: as messages of the operator API, under the older names, and why somebody waits."""

from __future__ import annotations

from altiplano.master import legacy, view
from altiplano.master.settings import Settings
from altiplano.wire import json, protobuf
from altiplano.wire.messages import master, mesos
from tests.unit.master.pool import CallType, Pool, value_of


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
    state = view.get_state(pool.state)
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
    response = master.Response(type=master.ResponseType.GET_STATE, get_state=state)
    assert json.decode(master.Response, json.encode(response)) == response
    assert protobuf.decode(master.Response, protobuf.encode(response)) == response


def test_the_older_state_has_amounts_by_name_and_tasks_below_their_framework():
    pool, task_id = busy()
    state = legacy.state(pool.state, Settings(cluster="alps"))
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
    shown = legacy.tasks(pool.state, {"limit": "2"})["tasks"]
    assert [task["id"] for task in shown] == ids[:0:-1]
    assert [task["id"] for task in legacy.tasks(pool.state, {"order": "asc", "offset": "1"})["tasks"]] == ids[1:]
    assert legacy.tasks(pool.state, {"task_id": "nobody"}) == {"tasks": []}


def test_summaries_count_tasks_by_state():
    pool, _ = busy()
    summary = legacy.state_summary(pool.state, Settings())
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
