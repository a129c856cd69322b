from __future__ import annotations

from altiplano.pagekit.series import Series


def test_columns_have_the_length_of_time_and_gaps_where_nothing_was_measured() -> None:
    series = Series(("cpus", "mem"))
    series.add(1.0, {"cpus": 50.0, "mem": 10.0})
    series.add(2.0, {"cpus": 60.0})
    assert series.columns() == [[1.0, 2.0], [50.0, 60.0], [10.0, None]]


def test_it_forgets_the_oldest() -> None:
    series = Series(("n",), points_max=2)
    for at in (1.0, 2.0, 3.0):
        series.add(at, {"n": at})
    assert series.columns() == [[2.0, 3.0], [2.0, 3.0]]


def test_a_clock_that_was_set_back_does_not_turn_the_plot_around() -> None:
    series = Series(("n",))
    series.add(10.0, {"n": 1.0})
    series.add(5.0, {"n": 2.0})
    assert len(series) == 1
