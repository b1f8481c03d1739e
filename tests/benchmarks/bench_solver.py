"""How fast and how exact `fit_playlists` is, beside scikit-learn, on the bundled playlists and all their fit rows.

    python -m tests.benchmarks.bench_solver [--kinds minmax,standard,spline,full] [--subset 40]

BLAS has one thread on both sides, and what uses both processors says so; times are the best of several. References are
timed on every k-th playlist, about `--subset` of them, and scaled to all (0: all are timed); those in two processes are
always timed on all, because the dispatch of a matrix must not be scaled up. `error` is the largest difference of a
coefficient or an intercept, `score error` the largest relative difference of a playlist's scores (Euclidean norm over
the tracks), both on the subset and to newton-cholesky at tol 1e-10.
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from tasks.ml.logistic import SharedRows, fit_playlists
from tasks.ml.rows import OwnRows
from tests.benchmarks.measure import Results, Row, best_of
from tests.benchmarks.sample import Data, audio, full_recipe, load, part

TIGHT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 500}
LOOPS: dict[str, dict[str, Any]] = {
    "newton-cholesky, tol 1e-6": {"solver": "newton-cholesky", "tol": 1e-6, "max_iter": 500},
    "LogisticRegression()": {},
    "liblinear": {"solver": "liblinear"},
}


def loop(X: np.ndarray, own: OwnRows, chosen: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """(chosen, d + 1) coefficients and intercepts of one scikit-learn model after the other."""
    models = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for j in chosen:
            y = np.zeros(len(X))
            y[own.rows[own.indptr[j] : own.indptr[j + 1]]] = 1
            model = LogisticRegression(**options).fit(X, y)
            models.append(np.append(model.coef_[0], model.intercept_))
    return np.array(models)


def two_processes(
    pool: Parallel, X: np.ndarray, own: OwnRows, chosen: np.ndarray, options: dict[str, Any]
) -> np.ndarray:
    halves = pool(delayed(loop)(X, own, chosen[i::2], options) for i in range(2))
    models = np.empty((len(chosen), X.shape[1] + 1))
    models[0::2], models[1::2] = halves
    return models


def two_threads(pool: ThreadPoolExecutor, shared: SharedRows, own: OwnRows) -> np.ndarray:
    """As the pipeline runs on two processors: half of the playlists in each thread."""
    p = len(own.indptr) - 1
    fits = pool.map(partial(fit_playlists, shared), [part(own, 0, p // 2), part(own, p // 2, p)])
    return np.vstack([np.column_stack([half.coef, half.intercept]) for half in fits])


def one_vs_rest(X: np.ndarray, own: OwnRows, chosen: np.ndarray) -> np.ndarray:
    Y = np.zeros((len(X), len(chosen)), dtype=int)
    for column, j in enumerate(chosen):
        Y[own.rows[own.indptr[j] : own.indptr[j + 1]], column] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = OneVsRestClassifier(LogisticRegression(), n_jobs=2).fit(X, Y).estimators_
    return np.array([np.append(model.coef_[0], model.intercept_) for model in models])


def exact(data: Data, kind: str, n_subset: int) -> list[Row]:
    """One row per way to fit all playlists on all fit rows, without own values or extra columns."""
    X = full_recipe(data)[0] if kind == "full" else audio(data, kind)
    p, own = len(data.own.indptr) - 1, data.own
    chosen = np.arange(p)[:: max(1, p // n_subset)] if n_subset else np.arange(p)
    X64, scale = X.astype(float), p / len(chosen)
    tight_seconds, tight = best_of(1, partial(loop, X64, own, chosen, TIGHT))
    rows = []

    def add(name: str, seconds: float, models: np.ndarray) -> None:
        scores, right = (X64 @ m[:, :-1].T + m[:, -1] for m in (models, tight))
        score_error = (np.linalg.norm(scores - right, axis=0) / np.linalg.norm(right, axis=0)).max()
        error = np.abs(models - tight).max()
        rows.append(
            {"kind": kind, "d": X.shape[1], "way": name, "s": seconds, "error": error, "score error": score_error}
        )

    def fit(**options: Any) -> np.ndarray:
        fits = fit_playlists(SharedRows(X, np.ones(len(X))), own, **options)
        return np.column_stack([fits.coef, fits.intercept])[chosen]

    add("fit_playlists", *best_of(5, fit))
    with ThreadPoolExecutor(2) as threads:
        shared = SharedRows(X, np.ones(len(X)))
        add("fit_playlists, 2 threads", *best_of(5, lambda: two_threads(threads, shared, own)[chosen]))
    add("fit_playlists, tol 1e-4", *best_of(3, lambda: fit(tol=1e-4)))
    if X.shape[1] <= 20:
        add("fit_playlists, polish", *best_of(2, lambda: fit(polish=True)))
    add("newton-cholesky, tol 1e-10", tight_seconds * scale, tight)
    repeats = 2 if X.shape[1] <= 20 else 1
    for name, options in LOOPS.items():
        seconds, models = best_of(repeats, partial(loop, X64, own, chosen, options))
        add(name, seconds * scale, models)
    seconds, models = best_of(repeats, partial(loop, X, own, chosen, LOOPS["newton-cholesky, tol 1e-6"]))
    add("newton-cholesky, tol 1e-6, float32", seconds * scale, models)
    with Parallel(2) as pool:  # on all playlists: the dispatch of a matrix must not be scaled up
        two_processes(pool, X64, own, chosen[:2], {})
        for name, matrix, options in (
            ("tol 1e-6, 2 processes", X64, LOOPS["newton-cholesky, tol 1e-6"]),
            ("tol 1e-6, 2 processes, float32", X, LOOPS["newton-cholesky, tol 1e-6"]),
            ("tol 1e-8, 2 processes", X64, TIGHT | {"tol": 1e-8}),
            ("tol 1e-10, 2 processes", X64, TIGHT),
        ):
            seconds, models = best_of(repeats, partial(two_processes, pool, matrix, own, np.arange(p), options))
            add(f"newton-cholesky, {name}", seconds, models[chosen])
    seconds, models = best_of(repeats, partial(one_vs_rest, X64, own, np.arange(p)))
    add("OneVsRestClassifier(n_jobs=2)", seconds, models[chosen])
    for row in rows:
        row["ratio"] = row["s"] / rows[0]["s"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="minmax,standard,spline,full", help="audio alone, or the full recipe")
    parser.add_argument("--subset", type=int, default=40, help="playlists on which references are timed; 0: all")
    arguments = parser.parse_args()
    threadpool_limits(1)
    data, results = load(), Results("solver")
    n_playlists = len(data.own.indptr) - 1
    size = f"{n_playlists} playlists, {len(data.tracks)} fit rows, {len(data.own.rows)} train memberships"
    for kind in arguments.kinds.split(","):
        rows = exact(data, kind, arguments.subset)
        results.add(f"{kind}: {size}; references on about {arguments.subset or n_playlists} playlists, scaled", rows)
    results.close()


if __name__ == "__main__":
    main()
