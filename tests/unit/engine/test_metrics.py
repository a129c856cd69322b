"""Rows of numbers become what monitors read."""

from __future__ import annotations

import pytest

from altiplano.engine.histogram import BOUNDS_S, Histogram
from altiplano.engine.metrics import MesosNumber, counter, exposed, histogram, plain, snapshot


def test_a_time_is_counted_in_its_bucket_and_in_all_larger_ones() -> None:
    times = Histogram()
    for seconds in (0.0001, 0.01, 0.011, 99.0):
        times.observe(seconds)
    buckets = dict(times.buckets())
    assert (buckets["0.005"], buckets["0.01"], buckets["0.025"], buckets["+Inf"]) == (1, 2, 3, 4)
    assert times.count == 4
    assert times.sum_s == pytest.approx(99.0211)
    assert len(buckets) == len(BOUNDS_S) + 1


def test_a_row_leads_to_help_type_and_value() -> None:
    times = Histogram()
    times.observe(0.3)
    rows = [
        counter("a_total", 'Counts "a" \\ more.', lambda source: source + 1),
        plain("b_bytes", "Is b.", lambda source: {('x"\\\n',): source}, "kind"),
        histogram("c_seconds", "Takes c.", lambda _: times),
    ]
    text, content_type = exposed(rows, 1, "")
    lines = text.decode().splitlines()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert lines[:3] == ['# HELP a_total Counts "a" \\\\ more.', "# TYPE a_total counter", "a_total 2.0"]
    assert 'b_bytes{kind="x\\"\\\\\\n"} 1.0' in lines
    assert 'c_seconds_bucket{le="0.5"} 1.0' in lines
    assert "c_seconds_count 1.0" in lines


def test_names_of_mesos_follow_from_rows_and_from_what_they_read() -> None:
    rows = [
        plain("tasks", "Tasks.", lambda source: {("running",): source, ("killing",): 0}, "state", mesos=("m/{}",)),
        plain("other", "Not in Mesos.", lambda source: source),
    ]
    double = MesosNumber(name="m/double", help="Twice.", read=lambda numbers: 2 * numbers["tasks", ("running",)])
    assert snapshot(rows, [double], 3) == {"m/running": 3.0, "m/killing": 0.0, "m/double": 6.0}


def test_a_counter_is_named_as_one() -> None:
    with pytest.raises(AssertionError, match="ends in _total"):
        counter("a", "Counts.", lambda _: 0)
