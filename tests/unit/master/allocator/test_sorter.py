"""The fair order of roles and frameworks."""

from __future__ import annotations

from fractions import Fraction

from altiplano.master.allocator.filters import Filters, Refusal, Refused
from altiplano.master.allocator.sorter import Axes, Draft, Shares
from altiplano.master.allocator.split import part, parts_max
from altiplano.model.resources import EMPTY, parse

FREE = (1000,)


def shares(**roles: str) -> Shares:
    """Roles with one framework each, in a pool of ten cpus."""
    made = Shares()
    made.add_total(made.vector({"cpus": 10_000}), 1)
    for framework, role in roles.items():
        made.enter(role, framework)
    return made


def roles_in_order(made: Shares) -> list[str]:
    return [order.path for order in made.in_order()]


def test_who_holds_least_comes_first_then_who_was_offered_least_then_by_name():
    made = shares(a="*", b="*", c="*")
    assert list(made.members("*")) == ["a", "b", "c"]
    made.change("*", "a", FREE, 1, 1)
    assert list(made.members("*")) == ["b", "c", "a"]
    made.change("*", "a", FREE, -1)
    assert list(made.members("*")) == ["b", "c", "a"]


def test_what_a_child_holds_counts_for_its_parent():
    made = shares(a="eng/web", b="ops")
    made.change("eng/web", "a", FREE, 1)
    assert roles_in_order(made) == ["ops", "eng/web"]
    assert made.role_share("eng") == 0.1


def test_a_role_with_children_competes_with_them():
    made = shares(a="eng", b="eng/web")
    made.change("eng", "a", FREE, 1)
    assert roles_in_order(made) == ["eng/web", "eng"]


def test_a_role_that_gets_children_later_keeps_what_it_holds():
    made = shares(a="eng")
    made.change("eng", "a", FREE, 1)
    made.enter("eng/web", "b")
    assert roles_in_order(made) == ["eng/web", "eng"]
    made.change("eng", "a", FREE, -1)
    assert made.role_share("eng") == 0.0


def test_weights_divide_shares():
    made = shares(a="heavy", b="light")
    made.set_weight("heavy", 3.0)
    made.change("heavy", "a", (2000,), 1)
    made.change("light", "b", FREE, 1)
    assert roles_in_order(made) == ["heavy", "light"]


def test_roles_without_anybody_who_wants_something_are_left_out():
    made = shares(a="x/y", b="z")
    made.leave("x/y", "a")
    assert roles_in_order(made) == ["z"]
    made.enter("x/y", "a")
    assert roles_in_order(made) == ["x/y", "z"]


def test_a_draft_is_tried_and_taken_back():
    made = shares(a="x/y", b="x/y", c="z")
    draft = Draft(made)
    draft.change("x/y", "a", FREE, 1, 1)
    draft.change("x/y", "a", FREE, 1)
    assert (list(made.members("x/y")), roles_in_order(made)) == (["b", "a"], ["z", "x/y"])
    draft.undo()
    assert (list(made.members("x/y")), roles_in_order(made)) == (["a", "b"], ["x/y", "z"])
    assert (made.held("x/y", "a"), made.role_share("x")) == ({}, 0.0)


def test_roles_that_nobody_uses_any_more_are_forgotten_and_weights_are_not():
    made = shares(a="x/y/z", b="x", c="v")
    made.set_weight("v", 2.0)
    made.change("x/y/z", "a", FREE, 1, 1)
    made.change("x/y/z", "a", FREE, -1)
    made.forget("x/y/z", "a")
    assert made.roles() == ["v", "x"]
    assert roles_in_order(made) == ["v", "x"]
    made.forget("x", "b")
    made.forget("v", "c")
    assert (made.roles(), roles_in_order(made), made.weight("v")) == ([], [], 2.0)
    made.enter("x", "b")
    assert roles_in_order(made) == ["x"]


def test_a_grown_pool_makes_orders_anew():
    made = shares(a="*", b="*")
    made.change("*", "a", (2000,), 1)
    made.change("*", "b", made.vector({"mem": 1000}), 1)
    assert list(made.members("*")) == ["b", "a"], "nobody is starved of what the pool has none of"
    made.add_total(made.vector({"mem": 1500}), 1)
    assert list(made.members("*")) == ["a", "b"]


def test_a_share_is_the_exact_fraction_rounded_once():
    axes = Axes()
    axes.add("cpus")
    axes.add("mem")
    axes.change((3_000, 7_000_001))
    assert axes.share((1_000, 0)) == float(Fraction(1, 3))
    assert axes.share((1_000, 7_000_000), 0.1) == float(Fraction(7_000_000, 7_000_001) / Fraction(0.1))
    assert axes.share((1, 0), 1e-300) == axes.share((1, 0), 1e-9)


def test_who_was_alone_is_put_in_order_when_another_comes():
    made = shares(a="*")
    made.change("*", "a", FREE, 1)
    made.enter("*", "b")
    assert list(made.members("*")) == ["b", "a"]


def test_many_changes_at_once_give_the_same_order_as_one_by_one():
    at_once, singly = (shares(**{f"f{number:02}": "*" for number in range(40)}) for _ in range(2))
    for number in range(40):
        for made in (at_once, singly):
            made.change("*", f"f{number:02}", (number * 7 % 11 * 100,), 1)
        list(singly.members("*"))
    assert list(at_once.members("*")) == list(singly.members("*"))


def test_ranks_follow_the_fair_order_over_the_tree():
    made = shares(a="x/y", b="x", c="z", d="x/y")
    made.change("x/y", "a", FREE, 1)
    offerings = [("x/y", "a"), ("x", "b"), ("z", "c"), ("x/y", "d")]
    by_rank = sorted(offerings, key=lambda one: made.rank(*one))
    assert by_rank == [(order.path, framework) for order in made.in_order() for framework in order]


def test_a_refusal_covers_the_same_or_less():
    filters = Filters()
    declined = Refusal(resources=parse("cpus:4;mem:100"), until_s=10.0, short=False)
    filters.refuse("agent", ("f", "*"), declined)
    assert filters.refused("agent", ("f", "*"), parse("cpus:4;mem:50")) is Refused.LONG
    assert filters.refused("agent", ("f", "*"), parse("cpus:5")) is Refused.NO
    assert filters.refused("other", ("f", "*"), parse("cpus:1")) is Refused.NO
    assert filters.refused("agent", ("f", "role"), parse("cpus:1")) is Refused.NO


def test_a_long_refusal_wins_over_a_short_one():
    filters = Filters()
    for short in (True, False):
        filters.refuse("agent", ("f", "*"), Refusal(resources=parse("cpus:4"), until_s=10.0, short=short))
        expected = Refused.SHORTLY if short else Refused.LONG
        assert filters.refused("agent", ("f", "*"), parse("cpus:4")) is expected


def test_refusals_end_together_and_dropped_ones_are_forgotten():
    filters = Filters()
    for number in range(100):
        refusal = Refusal(resources=parse("cpus:1"), until_s=float(number), short=False)
        filters.refuse(f"agent{number}", ("f", "*"), refusal)
    assert len(filters.expire(9.0)) == 10
    assert filters.next_end_s() == 10.0
    filters.drop(("f", "*"))
    assert (len(filters), filters.next_end_s()) == (0, None)


def test_parts_of_an_agent_add_up_to_it():
    left = parse("cpus:8;mem:1000;ports:[1-10,20-21];gpus:3")
    parts = []
    for count in (3, 2, 1):
        piece = part(left, count)
        parts.append(piece)
        left = left - piece
    assert left == EMPTY
    assert sum(parts, EMPTY) == parse("cpus:8;mem:1000;ports:[1-10,20-21];gpus:3")
    assert [one.scalar("gpus") for one in parts] == [1000, 1000, 1000]


def test_small_agents_are_not_cut():
    assert parts_max(parse("cpus:1.5;mem:9000")) == 1
    assert parts_max(parse("cpus:8;mem:300")) == 2
    assert parts_max(parse("mem:9000")) == 1
