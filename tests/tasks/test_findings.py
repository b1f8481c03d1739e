"""What the report says first: a sentence about the models and the best simple rule."""

from __future__ import annotations

import pytest

from tasks.findings import Findings, verdict
from tasks.ml.summary import Comparison


def findings(**differences: tuple[float, float]) -> Findings:
    comparisons = {
        subset: Comparison("popularity", 0.5, 0.5 - difference, difference, error, 9, 5, 4)
        for subset, (difference, error) in differences.items()
    }
    return Findings(None, {}, comparisons, [], [], None, None)


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        ({"overall": (0.2, 0.01)}, "better than the best simple rule overall"),
        (
            {"overall": (0.2, 0.01), "cold": (0.1, 0.01), "warm": (0.03, 0.01)},
            "better than the best simple rule overall, among cold tracks and among warm tracks",
        ),
        (
            {"overall": (0.2, 0.01), "cold": (-0.1, 0.01), "warm": (0.02, 0.01)},
            "better than the best simple rule overall; worse than the best simple rule among cold tracks; "
            "not clearly better or worse than the best simple rule among warm tracks",
        ),
        ({"overall": (0.2, float("nan"))}, "not clearly better or worse than the best simple rule overall"),
    ],
)
def test_the_verdict(differences: dict[str, tuple[float, float]], sentence: str) -> None:
    assert verdict(findings(**differences)) == f"The models rank held-out tracks {sentence}."


def test_nothing_compared_is_no_verdict() -> None:
    assert verdict(findings()) == ""
