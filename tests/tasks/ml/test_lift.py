"""Lifts over a rule, and the bootstrap interval of how two runs' differ."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ml import lift
from tasks.ml.lift import LiftDifference, compare_lifts, playlist_lifts

LIFTS = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30)


def series(values: list[float] | np.ndarray, start: int = 0) -> pd.Series:
    return pd.Series(np.asarray(values, float), index=[f"p{i:05}" for i in range(start, start + len(values))])


def compare(ours: pd.Series, theirs: pd.Series, n_resamples: int = 500) -> LiftDifference:
    found = compare_lifts(ours, theirs, n_resamples=n_resamples, rng=np.random.default_rng(0))
    assert found is not None
    return found


def test_a_lift_is_the_difference_where_both_are_defined() -> None:
    values = pd.DataFrame(
        {"model": [0.5, np.nan, 0.2, 0.1], "rule": [0.25, 0.1, np.nan, 0.4], "other": np.nan}, index=list("dcba")
    )
    lifts = playlist_lifts(values, ours="model", rule="rule")
    assert lifts.to_dict() == {"a": pytest.approx(-0.3), "d": pytest.approx(0.25)}
    assert list(lifts.index) == ["a", "d"]


@pytest.mark.parametrize("columns", [["model"], ["rule"], []])
def test_without_the_model_or_the_rule_there_is_no_lift(columns: list[str]) -> None:
    assert playlist_lifts(pd.DataFrame(0.5, index=["a"], columns=columns), ours="model", rule="rule").empty


@pytest.mark.parametrize(("n", "n_theirs"), [(0, 5), (1, 5), (5, 1), (5, 0), (1, 1), (0, 0)])
def test_one_playlist_or_none_is_no_comparison(n: int, n_theirs: int) -> None:
    assert compare_lifts(series([0.1] * n), series([0.1] * n_theirs), rng=np.random.default_rng(0)) is None


@given(ours=LIFTS, theirs=LIFTS, shift=st.integers(0, 40))
def test_figures_and_interval(ours: list[float], theirs: list[float], shift: int) -> None:
    """Means are plain means; the ends lie within what the values allow; playlists in common are counted."""
    found = compare(series(ours), series(theirs, shift), n_resamples=50)
    assert found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert (found.lift, found.their_lift) == (pytest.approx(np.mean(ours)), pytest.approx(np.mean(theirs)))
    assert min(ours) - max(theirs) - 1e-9 <= found.low <= found.high <= max(ours) - min(theirs) + 1e-9
    assert found.n_common == len(set(range(len(ours))) & set(range(shift, shift + len(theirs))))


@given(lifts=LIFTS)
def test_a_run_does_not_differ_from_itself(lifts: list[float]) -> None:
    found = compare(series(lifts), series(lifts), n_resamples=50)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


@given(ours=LIFTS, theirs=LIFTS, seed=st.integers(0, 9))
def test_the_order_of_playlists_means_nothing(ours: list[float], theirs: list[float], seed: int) -> None:
    found = compare(series(ours), series(theirs, 3), n_resamples=50)
    mixed = series(ours).sample(frac=1, random_state=seed), series(theirs, 3).sample(frac=1, random_state=seed)
    again = compare(*mixed, n_resamples=50)
    assert (again.low, again.high) == (found.low, found.high)
    assert again.difference == pytest.approx(found.difference)


@given(ours=LIFTS, theirs=LIFTS)
def test_swapped_runs_swap_the_interval(ours: list[float], theirs: list[float]) -> None:
    found, swapped = compare(series(ours), series(theirs), 50), compare(series(theirs), series(ours), 50)
    assert (swapped.low, swapped.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_the_interval_is_that_of_the_textbook() -> None:
    """Independent playlists: 1.96 standard errors to each side. The same playlists: those of the paired difference."""
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.2, 0.3, 800), rng.normal(0.2, 0.3, 800)
    apart = compare(series(ours), series(theirs, 1000), n_resamples=4000)
    error = np.sqrt(ours.var() / 800 + theirs.var() / 800)
    assert [apart.low, apart.high] == pytest.approx(
        apart.difference + 1.96 * error * np.array([-1, 1]), abs=0.1 * error
    )
    paired = compare(series(ours), series(ours + rng.normal(0, 0.01, 800)), n_resamples=4000)
    assert paired.high - paired.low < (apart.high - apart.low) / 20


def test_a_true_difference_is_covered_as_often_as_promised() -> None:
    rng, n_covered = np.random.default_rng(2), 0
    for _ in range(200):
        found = compare(series(rng.exponential(0.2, 60)), series(rng.exponential(0.2, 40), 100), n_resamples=300)
        n_covered += found.low <= 0 <= found.high
    assert 0.89 <= n_covered / 200 <= 0.99


def test_memory_is_bounded() -> None:
    lifts = np.random.default_rng(3).normal(0, 1, 20_000)
    ours, theirs = series(lifts), series(lifts[::-1].copy())
    tracemalloc.start()
    found = compare(ours, theirs, n_resamples=400)
    assert tracemalloc.get_traced_memory()[1] < 30e6  # all weights at once would be 64 MB
    tracemalloc.stop()
    assert found.low < 0 < found.high


def test_the_size_of_the_blocks_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lifts = series(np.random.default_rng(6).normal(0, 1, 50)), series(np.random.default_rng(7).normal(0, 1, 50), 20)
    found = compare(*lifts)
    monkeypatch.setattr(lift, "_BLOCK", 1)
    again = compare(*lifts)
    assert (again.low, again.high) == (pytest.approx(found.low), pytest.approx(found.high))


def test_another_generator_gives_another_interval_and_the_same_difference() -> None:
    lifts = series(np.random.default_rng(4).normal(0, 1, 50)), series(np.random.default_rng(5).normal(0, 1, 50))
    first, second = (compare_lifts(*lifts, rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert first is not None and second is not None
    assert first.low != second.low
    assert replace(first, low=0.0, high=0.0) == replace(second, low=0.0, high=0.0)
