"""The algebra of resources, against sets that hold every thousandth and every number one by one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from altiplano.model import resources, values
from altiplano.model.resources import Kind, Reservation, ResourceError, Resources
from altiplano.model.values import Value
from altiplano.wire import json, protobuf, translate
from altiplano.wire.messages import mesos

KINDS = {
    "counted": [Kind(name="cpus"), Kind(name="cpus", reservations=(Reservation(role="a"),)), Kind(name="mem")],
    "ranges": [Kind(name="ports"), Kind(name="ports", allocated_to="a")],
    "set": [Kind(name="zones"), Kind(name="zones", revocable=True)],
}
amounts: dict[str, st.SearchStrategy[Value]] = {
    "counted": st.integers(0, 12),
    "ranges": st.sets(st.integers(0, 15)).map(lambda numbers: values.ranges((n, n) for n in numbers)),
    "set": st.frozensets(st.sampled_from("abcde")),
}
parts = st.one_of([st.tuples(st.sampled_from(kinds), amounts[form]) for form, kinds in KINDS.items()])
lists = st.lists(parts, max_size=6)
held = lists.map(Resources)
thorough = settings(max_examples=400, deadline=None)

Naive = Counter[tuple[Kind, object]]


def naive(some: Resources) -> Naive:
    """Every thousandth as a count, every number and every item as something that is there once."""
    found: Naive = Counter()
    for kind, value in some:
        match value:
            case int():
                found[kind, "thousandths"] += value
            case tuple():
                found.update({(kind, number): 1 for begin, end in value for number in range(begin, end + 1)})
            case frozenset():
                found.update({(kind, item): 1 for item in value})
    return found


def naive_sum(a: Naive, b: Naive) -> Naive:
    return Counter(
        {key: a[key] + b[key] if key[1] == "thousandths" else max(a[key], b[key]) for key in a.keys() | b.keys()}
    )


@thorough
@given(held, held)
def test_sums_are_what_counting_says(a: Resources, b: Resources) -> None:
    assert naive(a + b) == naive_sum(naive(a), naive(b))


@thorough
@given(held, held)
def test_contains_and_difference_are_what_counting_says(a: Resources, b: Resources) -> None:
    if naive(b) <= naive(a):
        assert a.contains(b)
        assert naive(a - b) == naive(a) - naive(b)
    else:
        assert not a.contains(b)
        with pytest.raises(ResourceError):
            a - b


@thorough
@given(held, held, held)
def test_sums_do_not_depend_on_order(a: Resources, b: Resources, c: Resources) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert hash(a + b) == hash(b + a)
    assert a + resources.EMPTY == a


@thorough
@given(held, held)
def test_what_was_added_can_be_taken_back(a: Resources, b: Resources) -> None:
    total = a + b
    assert total >= a
    assert total >= b
    assert (total - b) + b == total
    if not naive(a) & Counter({key: n for key, n in naive(b).items() if key[1] != "thousandths"}):
        assert total - b == a


@thorough
@given(held)
def test_totals_agree_with_counting(a: Resources) -> None:
    counted = Counter[str]()
    for (kind, what), count in naive(a).items():
        if what == "thousandths":
            counted[kind.name] += count
    assert Counter(a.scalars) == counted


@thorough
@given(held, st.sampled_from(["a", "a/b", "c"]))
def test_parts_add_up_to_the_whole(a: Resources, role: str) -> None:
    assert a.unreserved() + a.reserved() == a
    assert a.revocable() + a.non_revocable() == a
    assert a >= a.allocatable_to(role)
    assert a.allocate(role).allocated_to(role) == a.allocate(role)


@thorough
@given(lists, st.booleans())
def test_resources_survive_translation_and_both_codecs(some: list[tuple[Kind, Value]], refined: bool) -> None:
    whole = Resources(some)
    for message in translate.resources_to(whole, refined=refined):
        assert json.decode(mesos.Resource, json.encode(message)) == message
        assert protobuf.decode(mesos.Resource, protobuf.encode(message)) == message
    assert translate.resources_from(translate.resources_to(whole, refined=refined)) == whole


@thorough
@given(st.lists(st.tuples(st.sampled_from(["cpus", "mem", "cpus(a)"]), st.integers(1, 10**9)), max_size=4))
def test_text_is_read_as_it_was_written(some: list[tuple[str, int]]) -> None:
    text = "; ".join(f"{name}:{values.number_text(amount)}" for name, amount in some)
    counted = Counter[str]()
    for name, amount in some:
        counted[name.partition("(")[0]] += amount
    assert resources.parse(text).scalars == counted
