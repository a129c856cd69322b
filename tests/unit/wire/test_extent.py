"""How much a body holds, told before it is read."""

from __future__ import annotations

import pytest

from altiplano.wire import extent, json, lists, protobuf
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos, scheduler

INFO = mesos.FrameworkInfo(
    user="u",
    name="n",
    roles=("a", "b"),
    labels=mesos.Labels(labels=(mesos.Label(key="k", value="v"),) * 3),
    offer_filters={
        "a": mesos.OfferFilters(
            min_allocatable_resources=mesos.OfferFiltersMinAllocatableResources(
                quantities=(mesos.OfferFiltersResourceQuantities(quantities={"cpus": mesos.ValueScalar(value=1.0)}),)
            )
        )
    },
)


def test_every_field_of_a_protobuf_body_counts_wherever_it_is():
    # Six plain ones, labels with three of two fields each, and an entry of a map with all that is in it.
    assert extent.protobuf_elements(mesos.FrameworkInfo, protobuf.encode(INFO), 1000) == 6 + 10 + 9


def test_counting_stops_where_it_may():
    assert extent.protobuf_elements(mesos.FrameworkInfo, protobuf.encode(INFO), 2) == 3
    many = b"\x0a\x00" * 1_000_000
    assert extent.protobuf_elements(mesos.Labels, many, 10) < 20


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\xff", b"\xff" * 50, b"\x0a\x05\x0a\x09", b"\x0b\x0b"])
def test_what_is_malformed_is_counted_without_harm(body: bytes):
    assert extent.protobuf_elements(mesos.Labels, body, 100) <= 5


def test_numbers_packed_into_one_field_count_one_by_one():
    packed = b"\x0a\x64" + b"\x01" * 100
    assert extent.protobuf_elements(mesos.Labels, packed, 1000) < 101
    statuses = b"\x22\x64" + b"\x01" * 100
    assert extent.protobuf_elements(mesos.HealthCheckHTTPCheckInfo, statuses, 1000) == 101


def test_marks_in_strings_are_left_out_also_where_two_windows_meet(monkeypatch: pytest.MonkeyPatch):
    text = b'{"a":"' + b'[,{\\\\\\"' * 500 + b'","b":[1,2,3]}'
    for window in range(1, 20):
        monkeypatch.setattr(extent, "WINDOW_BYTES", window)
        assert extent.json_elements(text, 6) == 5
        assert extent.json_elements(text, 4) == 5


def _reconcile(*ids: str) -> bytes:
    tasks = tuple(scheduler.CallReconcileTask(task_id=mesos.TaskID(value=one)) for one in ids)
    return json.encode(
        scheduler.Call(type=scheduler.CallType.RECONCILE, reconcile=scheduler.CallReconcile(tasks=tasks))
    )


PATHS = (("reconcile", "tasks"), ("decline", "offer_ids"))


@pytest.mark.parametrize("piece", [1, 10, 100, 10_000])
def test_a_long_list_is_read_the_same_in_pieces_of_any_size(piece: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lists, "PIECE_BYTES", piece)
    body = _reconcile(*(f'{{"a":[{{}},{{}}]}},{{"{number}' for number in range(50)))
    assert lists.decode(scheduler.Call, body, PATHS, 1000) == json.decode(scheduler.Call, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"RECONCILE","reconcile":{"tasks":[{"task_id":{"value":"a"}},{"task_id":3}]}}',
        b'{"type":"RECONCILE","reconcile":{"tasks":[{"task_id":{"value":"a"}},]}}',
        b'{"type":"RECONCILE","reconcile":{"tasks":{"task_id":{"value":"a"}}}}',
        b'{"type":"RECONCILE","reconcile":[]}',
        b'{"type":"RECONCILE","reconcile":{"tasks":[{}]}}',
        b'{"type":"RECONCILE"',
        b"[]",
    ],
)
def test_a_long_list_that_is_wrong_is_refused_with_a_sentence(body: bytes):
    with pytest.raises(WireError, match="Failed to"):
        lists.decode(scheduler.Call, body, PATHS, 1000)


def test_strings_full_of_borders_are_refused_not_searched_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lists, "PIECE_BYTES", 10)
    with pytest.raises(WireError, match="not clear"):
        lists.decode(scheduler.Call, _reconcile("},{" * 1000), PATHS, 10_000)


def test_what_a_call_has_besides_its_lists_is_bounded(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(lists.TooMany, match="outside its long lists"):
        lists.decode(scheduler.Call, b'{"other":"%b"}' % (b"x" * 2000), PATHS, 1000)
    monkeypatch.setattr(lists, "ELEMENTS_MAX", 3)
    with pytest.raises(lists.TooMany, match="3 elements"):
        lists.decode(scheduler.Call, _reconcile("a", "b", "c", "d"), PATHS, 1000)
