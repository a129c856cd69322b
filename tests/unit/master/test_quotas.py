"""Quotas: what operators can set, and what roles get of it."""

from __future__ import annotations

import pytest

from altiplano.master import view
from altiplano.master.allocator.quota import cut_down
from altiplano.master.state import Config
from altiplano.model.resources import parse
from altiplano.wire.messages import master, mesos, quota
from tests.unit.master.pool import INTERVAL_S, Framework, Pool, durable, value_of

Type = master.CallType


def scalars(text: str) -> dict[str, mesos.ValueScalar]:
    return {name: mesos.ValueScalar(value=amount / 1000) for name, amount in parse(text).scalars.items()}


def config(role: str, least: str = "", most: str = "") -> quota.QuotaConfig:
    return quota.QuotaConfig(role=role, guarantees=scalars(least), limits=scalars(most))


def update(pool: Pool, *configs: quota.QuotaConfig, force: bool = False) -> tuple[int, str]:
    call = master.CallUpdateQuota(force=force, quota_configs=configs)
    reply = pool.operator(type=Type.UPDATE_QUOTA, update_quota=call)
    pool.run()
    return reply.status, reply.body


def cpus(framework: Framework) -> float:
    return sum(value_of(offer.resources).scalar("cpus") for offer in framework.offers()) / 1000


def test_a_limit_caps_what_a_role_is_offered_over_all_agents():
    pool = Pool()
    for _ in range(3):
        pool.agent()
    assert update(pool, config("capped", most="cpus:11;mem:99999")) == (200, "")
    capped = pool.framework(roles=("capped",))
    pool.run(INTERVAL_S * 3)
    assert cpus(capped) == 11
    other = pool.framework(roles=("other",))
    pool.run(INTERVAL_S * 3)
    assert cpus(other) == 24 - 11


def test_who_waits_at_a_limit_is_told_so():
    pool = Pool()
    pool.agent()
    update(pool, config("capped", most="cpus:0.001;mem:1"))
    capped = pool.framework(roles=("capped/low",))
    pool.run(INTERVAL_S * 3)
    found = view.waiting_reason(pool.state, pool.state.frameworks[capped.id])
    assert found == "role capped is at the limit of its quota"


def test_a_limit_holds_for_all_roles_below():
    pool = Pool()
    for _ in range(2):
        pool.agent()
    update(pool, config("a", most="cpus:6"))
    frameworks = [pool.framework(roles=(role,)) for role in ("a/b", "a/c", "a")]
    pool.run(INTERVAL_S * 3)
    assert sum(map(cpus, frameworks)) == 6


def test_a_guarantee_is_held_back_from_others_until_its_role_comes():
    pool = Pool()
    for _ in range(2):
        pool.agent()
    update(pool, config("sure", least="cpus:5;mem:2000"))
    other = pool.framework(roles=("other",))
    pool.run(INTERVAL_S * 3)
    assert cpus(other) == 11
    sure = pool.framework(roles=("sure",))
    pool.run(INTERVAL_S * 3)
    assert cpus(sure) == 5


def test_unmet_guarantees_come_before_what_is_only_fair():
    pool = Pool(Config(allocation_interval_s=INTERVAL_S, weights=(("big", 1000.0),)))
    update(pool, config("sure", least="cpus:4"), force=True)
    sure, big = pool.framework(roles=("sure",)), pool.framework(roles=("big",))
    pool.run()
    pool.agent("cpus:4;mem:4096")
    pool.run()
    assert (cpus(sure), cpus(big)) == (4, 0)


def test_room_that_a_task_leaves_is_found_again_wherever_it_is():
    pool = Pool()
    agents = [pool.agent("cpus:4;mem:4096") for _ in range(40)]
    update(pool, config("capped", most="cpus:10;mem:99999"))
    capped = pool.framework(roles=("capped",))
    pool.run(INTERVAL_S * 3)
    offer = next(one for one in capped.offers() if value_of(one.resources).scalar("cpus") == 4000)
    capped.launch(offer, capped.task(offer, "cpus:4;mem:128"), seconds=1000)
    capped.decline(*capped.offers(), seconds=1000)
    pool.run(INTERVAL_S * 3)
    assert cpus(capped) == 6
    agent = next(one for one in agents if one.id == offer.agent_id.value)
    task_id = next(task_id for framework_id, task_id in pool.state.agents[agent.id].tasks)
    agent.update(capped.id, task_id, "TASK_FINISHED")
    pool.run(INTERVAL_S * 3)
    assert cpus(capped) == 10


def test_reservations_count_as_consumed():
    pool = Pool()
    pool.agent("cpus:4;mem:4096;cpus(owner):3")
    update(pool, config("owner", most="cpus:5"))
    owner = pool.framework(roles=("owner",))
    pool.run(INTERVAL_S * 3)
    assert cpus(owner) == 5


def test_offers_in_the_way_of_a_new_quota_are_rescinded():
    pool = Pool()
    for _ in range(4):
        pool.agent()
    hungry = pool.framework(roles=("hungry",))
    pool.run()
    assert cpus(hungry) == 32
    update(pool, config("hungry", most="cpus:20"))
    assert hungry.types().count("RESCIND") == 2
    pool.run(INTERVAL_S * 3)
    assert cpus(hungry) == 20
    update(pool, config("sure", least="cpus:16"))
    pool.run(INTERVAL_S * 3)
    assert cpus(hungry) == 16


def test_quotas_outlive_the_process():
    pool = Pool()
    pool.agent()
    update(pool, config("a", "cpus:1", "cpus:2"), config("b", most="mem:512"))
    update(pool, config("b"))
    assert durable(pool).count("QuotasSet") == 2
    pool.restart()
    assert {role: (dict(one.guarantees), dict(one.limits)) for role, one in pool.state.allocator.quotas.of.items()} == {
        "a": ({"cpus": 1000}, {"cpus": 2000})
    }
    snapshot = [fact for fact in pool.core.summary() if type(fact).__name__ == "QuotasSet"]
    assert [one.role for one in snapshot[0].quotas] == ["a"]


@pytest.mark.parametrize(
    ("configs", "why"),
    [
        ((config("q", "cpus:2", "cpus:1"),), "cannot be sure of more cpus than its limit of 1"),
        ((config("*", "cpus:1"),), "it is the role of everybody"),
        ((config("q", "cpus:1000"),), "1001 cpus would be guaranteed in all, and the pool has 8"),
        ((config("q/r", "cpus:1"),), "more than 'q' itself is"),
        ((config("q", most="cpus:1"), config("q/r", most="cpus:2")), "above that of 'q'"),
        ((config("q", "cpus:1"), config("q", "cpus:2")), "named twice"),
        ((config("used", most="cpus:0.5"),), "uses 1 cpus, more than the limit of 0.5"),
        ((quota.QuotaConfig(role="q", limits={"cpus": mesos.ValueScalar(value=-1)}),), "not an amount from 0"),
    ],
)
def test_a_call_that_cannot_be_is_refused_as_a_whole(configs: tuple[quota.QuotaConfig, ...], why: str):
    pool = Pool()
    pool.agent()
    user = pool.framework(roles=("used",))
    pool.run()
    user.start("cpus:1;mem:128")
    status, body = update(pool, config("fine", "cpus:1"), *configs)
    assert (status, pool.state.allocator.quotas.of) == (400, {})
    assert why in body


def test_force_overcommits_and_freezes_at_what_is_used():
    pool = Pool()
    pool.agent()
    user = pool.framework(roles=("used",))
    pool.run()
    user.start("cpus:3;mem:128")
    assert update(pool, config("used", most="cpus:1"), config("q", "cpus:1000"), force=True) == (200, "")
    pool.run(INTERVAL_S * 3)
    assert cpus(user) == 0


def test_the_older_calls_set_and_remove_one():
    pool = Pool()
    pool.agent()
    request = quota.QuotaRequest(
        role="old",
        guarantee=(mesos.Resource(name="cpus", type=mesos.ValueType.SCALAR, scalar=mesos.ValueScalar(value=2)),),
    )
    wanted = master.CallSetQuota(quota_request=request)
    assert pool.operator(type=Type.SET_QUOTA, set_quota=wanted).status == 200
    assert pool.operator(type=Type.SET_QUOTA, set_quota=wanted).status == 400
    old = pool.framework(roles=("old",))
    pool.run(INTERVAL_S * 2)
    assert cpus(old) == 2
    gone = master.CallRemoveQuota(role="old")
    assert pool.operator(type=Type.REMOVE_QUOTA, remove_quota=gone).status == 200
    assert pool.operator(type=Type.REMOVE_QUOTA, remove_quota=gone).status == 400
    pool.run(INTERVAL_S * 2)
    assert cpus(old) == 8


def test_gpus_and_volumes_are_cut_whole():
    assert str(cut_down(parse("cpus:8;gpus:3;mem:100"), {"gpus": 2500})) == "cpus:8; gpus:2; mem:100"
    whole = parse("cpus:8;mem:100")
    assert cut_down(whole, {"cpus": 8000}) is whole
