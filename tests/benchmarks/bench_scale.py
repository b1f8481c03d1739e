"""What a playlist costs with sampled negatives: the bundled ones, in two threads, and many synthetic ones.

    python -m tests.benchmarks.bench_scale [--largest 50000] [--largest-full 5000]

BLAS has one thread; times are the best of several. `error` is the largest difference of a coefficient to the polished
fit of the same objective.
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.ml.affinity import PRIOR, PRIOR_STRENGTH
from tasks.ml.logistic import Fits, SharedRows, fit_playlists
from tasks.ml.models import BatchModels, fit_batch
from tasks.ml.negatives import weigh_rows
from tasks.ml.rows import OwnRows
from tasks.ml.statuses import TRAINED
from tests.benchmarks.measure import Results, Row, best_of
from tests.benchmarks.sample import Data, at_most, audio, full_columns, full_recipe, load, part

N_NEGATIVES = 5000
SIZES = (500, 5000, 50_000, 200_000)
C_FULL = 0.3
FULL_OPTIONS = {"C": C_FULL, "extra_prior": PRIOR, "extra_strength": PRIOR_STRENGTH}


def sampled(data: Data) -> list[Row]:
    """Milliseconds a playlist with N_NEGATIVES sampled rows; whitening, done once per process, is left out."""
    matrix, own = full_recipe(data)
    weight = weigh_rows(np.ones(len(matrix), dtype=bool), n_negatives=N_NEGATIVES, seed=1)
    options = FULL_OPTIONS
    cases = [(kind, audio(data, kind), data.own, {}) for kind in ("minmax", "standard")]
    for name, members in (("full recipe", own), ("full recipe, at most 100 own rows", at_most(own, 100))):
        cases += [(name, matrix, members, options), (f"{name}, tol 1e-4", matrix, members, options | {"tol": 1e-4})]
    rows = []
    for name, X, members, kwargs in cases:
        shared = SharedRows(X, weight)
        fit_playlists(shared, part(members, 0, 1))
        seconds, fits = best_of(7, partial(fit_playlists, shared, members, **kwargs))
        p = len(members.indptr) - 1
        per_playlist = len(members.rows) / p
        exact_fits = fit_playlists(shared, members, **(kwargs | {"polish": True}))
        rows.append(
            {
                "case": name,
                "own rows a playlist": per_playlist,
                "ms a playlist": 1e3 * seconds / p,
                "passes": fits.n_iter.mean(),
                "error": difference(fits, exact_fits),
            }
        )
    return rows


def difference(a: Fits, b: Fits) -> float:
    pairs = ((a.coef, b.coef), (a.extra_coef, b.extra_coef), (a.intercept, b.intercept))
    return max(np.abs(x - y).max(initial=0) for x, y in pairs)


def fit_batches(pool: ThreadPoolExecutor, shared: SharedRows, batches: list[OwnRows], options: dict[str, Any]) -> None:
    list(pool.map(lambda own: fit_playlists(shared, own, **options), batches))


def blas_speedup() -> float:
    """What two threads gain on plain matrix products: 2 on two idle cores, less while others use them."""
    A = np.ones((500, 500))
    seconds = []
    for n_threads in (1, 2):
        with ThreadPoolExecutor(n_threads) as pool:
            seconds.append(best_of(3, lambda pool=pool: list(pool.map(np.matmul, [A] * 32, [A] * 32)))[0])
    return seconds[0] / seconds[1]


def threads(data: Data) -> list[Row]:
    """The same batches in one and in two threads; beside it what plain matrix products gain at that moment."""
    matrix, own = full_recipe(data)
    weight = weigh_rows(np.ones(len(matrix), dtype=bool), n_negatives=N_NEGATIVES, seed=1)
    minmax, rows = audio(data, "minmax"), []
    cases = [
        ("minmax, exact", SharedRows(minmax, np.ones(len(minmax))), data.own, {}),
        ("minmax, sampled", SharedRows(minmax, weight), data.own, {}),
        ("full recipe, sampled", SharedRows(matrix, weight), own, FULL_OPTIONS),
    ]
    for name, shared, members, options in cases:
        for size in (64, 128):
            batches = [part(members, j, j + size) for j in range(0, 256, size)] * (size // 32)
            seconds = []
            for n_threads in (1, 2):
                with ThreadPoolExecutor(n_threads) as pool:
                    run = partial(fit_batches, pool, shared, batches, options)
                    seconds.append(best_of(3, run)[0])
            rows.append({"case": name, "batch": size, "1 thread": seconds[0], "2 threads": seconds[1]})
            rows[-1] |= {"speedup": seconds[0] / seconds[1], "of BLAS alone": blas_speedup()}
    return rows


def scale_audio(largest: int) -> list[Row]:
    """Synthetic playlists of 50 tracks, 12 columns, one call: cost of one, and peak memory beyond input and result."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 12)).astype(np.float32)
    shared = SharedRows(X, weigh_rows(np.ones(len(X), dtype=bool), n_negatives=N_NEGATIVES, seed=1))
    rows = []
    for p in (size for size in SIZES if size <= largest):
        centre = rng.normal(scale=0.7, size=(p, 12))
        indptr, index = np.arange(p + 1) * 50, rng.integers(0, 1999, p)[:, None] * 50 + np.arange(50)
        own_X = (np.repeat(centre, 50, axis=0) + rng.normal(size=(50 * p, 12))).astype(np.float32)
        own = OwnRows(indptr, index.ravel(), np.ones(50 * p, dtype=bool), own_X)
        row, fits = cost(p, partial(fit_playlists, shared, own))
        rows.append({"playlists": p} | row | {"converged": fits.is_converged.mean()})
    return rows


def scale_full(data: Data, largest: int) -> list[Row]:
    """Playlists that are a random four fifths of a bundled one, in batches as the flow makes them, own rows included.

    Peak memory is beyond the matrix and the memberships; a batch's models are let go, as a task that wrote them does.
    """
    rng, (X, columns) = np.random.default_rng(0), full_columns(data)
    shared = SharedRows(X, weigh_rows(np.ones(len(X), dtype=bool), n_negatives=N_NEGATIVES, seed=1))
    fit = partial(fit_batch, shared, columns=columns, C=C_FULL)
    indptr, rows = data.own.indptr, []
    for p in (size for size in SIZES if size <= largest):
        bundled = [data.own.rows[indptr[j] : indptr[j + 1]] for j in rng.integers(0, len(indptr) - 1, p)]
        drawn = [np.sort(rng.choice(tracks, -(-4 * len(tracks) // 5), replace=False)) for tracks in bundled]
        size = max(64, -(-p // 1000))
        row, n_trained = cost(p, partial(fit_in_batches, fit, drawn, size))
        rows.append({"playlists": p, "batch": size} | row | {"trained": n_trained / p})
    return rows


def fit_in_batches(fit: Callable[..., BatchModels], drawn: list[np.ndarray], size: int) -> int:
    n_trained = 0
    for start in range(0, len(drawn), size):
        batch = drawn[start : start + size]
        indptr = np.cumsum([0, *(len(tracks) for tracks in batch)])
        n_trained += fit(indptr, np.concatenate(batch)).status.count(TRAINED)
    return n_trained


def cost(p: int, run: Callable[[], Any]) -> tuple[Row, Any]:
    """What a run for p playlists takes; memory in another run, because tracing it takes time."""
    seconds, _ = best_of(3 if p <= 500 else 1, run)
    tracemalloc.start()
    result = run()
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"ms a playlist": 1e3 * seconds / p, "peak MB": (peak - size) / 2**20}, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=50_000, help="largest number of synthetic playlists")
    parser.add_argument("--largest-full", type=int, default=5000, help="the same with the full recipe")
    arguments = parser.parse_args()
    threadpool_limits(1)
    data, results = load(), Results("scale")
    results.add(f"Bundled playlists, {N_NEGATIVES} sampled rows", sampled(data))
    results.add("Seconds for the same batches in one and two threads", threads(data))
    results.add(f"Synthetic playlists, audio, {N_NEGATIVES} sampled rows, one call", scale_audio(arguments.largest))
    full = scale_full(data, arguments.largest_full)
    results.add(f"Synthetic playlists, full recipe, {N_NEGATIVES} sampled rows, in batches", full)
    results.close()


if __name__ == "__main__":
    main()
