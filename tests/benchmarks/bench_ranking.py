"""Scoring all tracks and taking each playlist's 500 best, beside the bare matrix product of the same run.

    python -m tests.benchmarks.bench_ranking

Synthetic float32 matrix of 116 columns. BLAS has one thread on both sides; ways are timed in turns, the best counts.
The products' operands have the product's type already, and the result's memory is there: what `score_in_tiles` needs to
convert, to allocate and to bound its memory is in the ratio. (First touches of fresh memory can take as long as the
product where a virtual machine gives freed memory back.) 2 million tracks take about 5 GB.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.ml.scoring import score_in_tiles
from tasks.ml.selection import top_k
from tests.benchmarks.measure import Results, Row, best_of_each

N_COLUMNS = 116
K = 500
SIZES = {28_000: 256, 2_000_000: 64}  # tracks: models
TYPES = {"float32": np.float32, "float64": np.float64}
REPEATS = 5


def exhaust(scores: Iterable[np.ndarray]) -> None:
    for _ in scores:
        pass


def rank(scores: Iterable[np.ndarray], ties: np.ndarray) -> None:
    for row in scores:
        top_k(row, K, ties)


def scoring(n: int, p: int) -> list[Row]:
    rng = np.random.default_rng(0)
    X, ties = rng.standard_normal((n, N_COLUMNS), dtype=np.float32), rng.permutation(n)
    coef, intercept = rng.normal(size=(p, N_COLUMNS)), rng.normal(size=p)
    ways = {}
    for name, dtype in TYPES.items():
        scores = partial(score_in_tiles, X, coef, intercept, dtype=dtype)
        operands = coef.astype(dtype), X.astype(dtype, copy=False).T
        ways[f"matrix product, {name}"] = partial(np.matmul, *operands, out=np.empty((p, n), dtype))
        ways[f"score_in_tiles, {name}"] = lambda scores=scores: exhaust(scores())
        ways[f"score_in_tiles and top_k, {name}"] = lambda scores=scores: rank(scores(), ties)
    seconds = best_of_each(REPEATS, ways)
    products = {name: seconds[f"matrix product, {name}"] for name in TYPES}
    return [
        {"tracks": n, "models": p, "way": way, "ms a playlist": 1e3 * s / p}
        | {f"/ {name} product": s / product for name, product in products.items()}
        for way, s in seconds.items()
    ]


def argpartition(scores: np.ndarray) -> np.ndarray:
    """The K best, best first; which of equal scores stay is left to chance."""
    best = np.argpartition(scores, len(scores) - K)[-K:]
    return best[np.argsort(-scores[best])]


def selection(n: int) -> list[Row]:
    rng = np.random.default_rng(0)
    ties, rows = rng.permutation(n), []
    for name, dtype in TYPES.items():
        scores = rng.standard_normal(n, dtype=dtype)
        expected = np.lexsort((ties, -scores))[:K]
        assert np.array_equal(top_k(scores, K, ties), expected)
        ways = {
            "top_k": partial(top_k, scores, K, ties),
            "argpartition": partial(argpartition, scores),
            "full sort": lambda scores=scores: np.argsort(-scores)[:K],
        }
        seconds = best_of_each(REPEATS, ways)
        rows += [
            {"tracks": n, "scores": name, "way": way, "ms a playlist": 1e3 * s, "/ top_k": s / seconds["top_k"]}
            for way, s in seconds.items()
        ]
    return rows


def main() -> None:
    threadpool_limits(1)
    results = Results("ranking")
    for n, p in SIZES.items():
        results.add(f"Scores of {n:,} tracks, {N_COLUMNS} columns, and the {K} best", scoring(n, p))
    results.add(f"The {K} best of given scores", [row for n in SIZES for row in selection(n)])
    results.close()


if __name__ == "__main__":
    main()
