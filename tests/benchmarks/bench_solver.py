"""How fast and how exact `fit_playlists` is, beside scikit-learn, on the bundled playlists.

    python -m tests.benchmarks.bench_solver [--kinds minmax,standard] [--subset 40] [--largest 50000] [--json PATH]

BLAS has one thread on both sides; times are the best of several. References are timed on every k-th playlist, about
`--subset` of them, and scaled to all (0: all are timed); newton-cholesky in two processes is always timed on all.
`error` is the largest difference of a coefficient or an intercept, `score error` the largest relative difference of a
playlist's scores (Euclidean norm over the tracks), both on the subset and to newton-cholesky at tol 1e-10.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from tasks.ml.audio import audio_columns
from tasks.ml.folds import HELD_OUT, assign_folds, hash_ids
from tasks.ml.logistic import Fits, SharedRows, fit_playlists
from tasks.ml.negatives import weigh_rows
from tasks.ml.rows import OwnRows

SAMPLE = Path(__file__).parents[2] / "deployments" / "sample_warehouse"
FEATURES = ["danceability", "energy", "key", "loudness", "mode", "speechiness", "acousticness", "instrumentalness"]
FEATURES += ["liveness", "valence", "tempo", "duration_ms"]
N_NEGATIVES = 5000
TIGHT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 500}
LOOPS: dict[str, dict[str, Any]] = {
    "newton-cholesky, tol 1e-6": {"solver": "newton-cholesky", "tol": 1e-6, "max_iter": 500},
    "LogisticRegression()": {},
    "liblinear": {"solver": "liblinear"},
}


@dataclass(frozen=True)
class Data:
    """Fit rows of the sample: tracks with a train membership. artist, album: (n,) codes. own: the train memberships."""

    tracks: pd.DataFrame
    artist: np.ndarray
    album: np.ndarray
    own: OwnRows


def load() -> Data:
    columns = ["unique_pid", "track_uri", "artist_name", "album_name"]
    members = pd.read_parquet(SAMPLE / "playlists.parquet", columns=columns)
    members = members.drop_duplicates(["unique_pid", "track_uri"])
    playlist = pd.factorize(members["unique_pid"], sort=True)[0]
    hashes = hash_ids(members["unique_pid"]), hash_ids(members["track_uri"])
    members = members[assign_folds(playlist, *hashes, seed=7) != HELD_OUT]
    names = members.drop_duplicates("track_uri").set_index("track_uri")
    tracks = pd.read_parquet(SAMPLE / "tracks_headers.parquet").set_index("trackid")
    tracks = tracks[tracks.index.isin(names.index)].join(names[["artist_name", "album_name"]]).sort_index()
    members = members[members["track_uri"].isin(tracks.index)]
    members = members.assign(row=tracks.index.get_indexer(members["track_uri"])).sort_values(["unique_pid", "row"])
    counts = members.groupby("unique_pid").size()
    own = OwnRows(np.append(0, np.cumsum(counts)), members["row"].to_numpy(), np.ones(len(members), dtype=bool))
    album = tracks.groupby(["artist_name", "album_name"]).ngroup().to_numpy()
    return Data(tracks, pd.factorize(tracks["artist_name"])[0], album, own)


def playlist_of(own: OwnRows) -> np.ndarray:
    return np.repeat(np.arange(len(own.indptr) - 1), np.diff(own.indptr))


def part(own: OwnRows, first: int, last: int) -> OwnRows:
    """Playlists first to last."""
    lo, hi = own.indptr[first], own.indptr[last]
    X, extra = (None if values is None else values[lo:hi] for values in (own.X, own.extra))
    return OwnRows(own.indptr[first : last + 1] - lo, own.rows[lo:hi], own.is_positive[lo:hi], X, extra)


def audio(data: Data, kind: str) -> np.ndarray:
    values = data.tracks[FEATURES].to_numpy(dtype=float)
    return audio_columns(values, np.ones(len(values), dtype=bool), names=FEATURES, kind=kind).X


def embed(data: Data, entity: np.ndarray, playlist: np.ndarray, row: np.ndarray, leave_out: np.ndarray) -> np.ndarray:
    """32 columns of an entity (artist or album): SVD of the playlist x entity counts. For pairs of a playlist and a row
    with leave_out the row's own membership is taken out; playlist -1 stands for nobody.
    """
    p, k = len(data.own.indptr) - 1, 32
    pairs = (playlist_of(data.own), entity[data.own.rows])
    counts = csr_array((np.ones(len(pairs[0])), pairs), shape=(p, entity.max() + 1)).toarray()
    weighted = np.log1p(counts) * np.log(1 + p / np.maximum((counts > 0).sum(axis=0), 1))
    U = svds(weighted / np.linalg.norm(weighted, axis=1, keepdims=True), k=k, v0=np.ones(p))[0] * np.sqrt(p)
    count = np.where(leave_out, counts[playlist, entity[row]], 1)
    removed = np.where(leave_out, np.log1p(count) - np.log1p(count - 1), 0)
    V = (np.log1p(counts).T @ U)[entity[row]] - removed[:, None] * U[playlist]
    return 5 * V / (np.linalg.norm(V, axis=1, keepdims=True) + 0.3 * np.sqrt(k))


def at_most(own: OwnRows, most: int) -> OwnRows:
    """All positives, and of the other own rows the first ones up to `most` rows a playlist."""
    playlist = playlist_of(own)
    order = np.lexsort((~own.is_positive, playlist))
    kept = np.sort(order[(np.arange(len(order)) - own.indptr[playlist] < most) | own.is_positive[order]])
    indptr = np.searchsorted(playlist[kept], np.arange(len(own.indptr)))
    return OwnRows(indptr, own.rows[kept], own.is_positive[kept], own.X[kept], own.extra[kept])


def recipe(data: Data) -> tuple[np.ndarray, OwnRows]:
    """Splines and embeddings (n, 114); own rows are positives without themselves, and tracks of the same artists."""
    playlist, n = playlist_of(data.own), len(data.tracks)
    has_artist = csr_array((np.ones(len(playlist)), (playlist, data.artist[data.own.rows])))
    has_track = csr_array((np.ones(len(playlist)), (playlist, data.own.rows)), shape=(has_artist.shape[0], n)).toarray()
    own_playlist, own_row = np.nonzero(has_artist.toarray()[:, data.artist])
    is_positive = has_track[own_playlist, own_row] > 0
    spline, every = audio(data, "spline"), np.arange(n)
    blocks, own_blocks, extra = [spline], [spline[own_row]], []
    for entity in (data.artist, data.album):
        blocks.append(embed(data, entity, np.full(n, -1), every, np.zeros(n, dtype=bool)))
        own_blocks.append(embed(data, entity, own_playlist, own_row, is_positive))
        counts = csr_array((np.ones(len(playlist)), (playlist, entity[data.own.rows])), shape=(len(has_track), n + 1))
        extra.append(np.log1p(counts.toarray()[own_playlist, entity[own_row]] - is_positive))
    indptr = np.searchsorted(own_playlist, np.arange(len(has_track) + 1))
    own_X, columns = np.hstack(own_blocks).astype(np.float32), np.column_stack(extra).astype(np.float32)
    return np.hstack(blocks).astype(np.float32), OwnRows(indptr, own_row, is_positive, own_X, columns)


def best_of(n: int, run: Callable[[], Any]) -> tuple[float, Any]:
    seconds, result = np.inf, None
    for _ in range(n):
        start = time.perf_counter()
        result = run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


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


def two_processes(pool: Parallel, X: np.ndarray, own: OwnRows, chosen: np.ndarray) -> np.ndarray:
    options = LOOPS["newton-cholesky, tol 1e-6"]
    halves = pool(delayed(loop)(X, own, chosen[i::2], options) for i in range(2))
    models = np.empty((len(chosen), X.shape[1] + 1))
    models[0::2], models[1::2] = halves
    return models


def one_vs_rest(X: np.ndarray, own: OwnRows, chosen: np.ndarray) -> np.ndarray:
    Y = np.zeros((len(X), len(chosen)), dtype=int)
    for column, j in enumerate(chosen):
        Y[own.rows[own.indptr[j] : own.indptr[j + 1]], column] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = OneVsRestClassifier(LogisticRegression(), n_jobs=2).fit(X, Y).estimators_
    return np.array([np.append(model.coef_[0], model.intercept_) for model in models])


def exact(data: Data, kind: str, n_subset: int) -> list[dict[str, Any]]:
    """One row per way to fit all playlists on all fit rows, without own values or extra columns."""
    X = recipe(data)[0] if kind == "recipe" else audio(data, kind)
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

    add("fit_playlists", *best_of(7, fit))
    add("fit_playlists, tol 1e-4", *best_of(5, lambda: fit(tol=1e-4)))
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
        two_processes(pool, X64, own, chosen[:2])
        for name, matrix in (("", X64), (", float32", X)):
            seconds, models = best_of(repeats, partial(two_processes, pool, matrix, own, np.arange(p)))
            add(f"newton-cholesky, tol 1e-6, 2 processes{name}", seconds, models[chosen])
    seconds, models = best_of(1, partial(one_vs_rest, X64, own, chosen))
    add("OneVsRestClassifier(n_jobs=2)", seconds * scale, models)
    for row in rows:
        row["ratio"] = row["s"] / rows[0]["s"]
    return rows


def sampled(data: Data) -> list[dict[str, Any]]:
    """Milliseconds a playlist with N_NEGATIVES sampled rows; whitening, done once per process, is left out."""
    matrix, own = recipe(data)
    weight = weigh_rows(np.ones(len(matrix), dtype=bool), n_negatives=N_NEGATIVES, seed=1)
    options = {"C": 0.3, "extra_prior": (2.0, 1.0)}
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


def threads(data: Data) -> list[dict[str, Any]]:
    """The same batches in one and in two threads; beside it what plain matrix products gain at that moment."""
    matrix, own = recipe(data)
    weight = weigh_rows(np.ones(len(matrix), dtype=bool), n_negatives=N_NEGATIVES, seed=1)
    minmax, rows = audio(data, "minmax"), []
    cases = [
        ("minmax, exact", SharedRows(minmax, np.ones(len(minmax))), data.own, {}),
        ("minmax, sampled", SharedRows(minmax, weight), data.own, {}),
        ("full recipe, sampled", SharedRows(matrix, weight), own, {"C": 0.3, "extra_prior": (2.0, 1.0)}),
    ]
    for name, shared, members, options in cases:
        for size in (64, 128):
            batches = [part(members, j, j + size) for j in range(0, 256, size)] * (size // 32)
            seconds = []
            for n_threads in (1, 2):
                with ThreadPoolExecutor(n_threads) as pool:
                    run = partial(fit_batches, pool, shared, batches, options)
                    seconds.append(best_of(4, run)[0])
            rows.append({"case": name, "batch": size, "1 thread": seconds[0], "2 threads": seconds[1]})
            rows[-1] |= {"speedup": seconds[0] / seconds[1], "of BLAS alone": blas_speedup()}
    return rows


def scale(largest: int) -> list[dict[str, Any]]:
    """Synthetic playlists of 50 tracks in one call: cost of one, and peak memory beyond input and result."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 12)).astype(np.float32)
    shared = SharedRows(X, weigh_rows(np.ones(len(X), dtype=bool), n_negatives=N_NEGATIVES, seed=1))
    fit_playlists(shared, OwnRows(np.array([0, 1]), np.array([0]), np.ones(1, dtype=bool)))
    rows = []
    for p in (500, 5000, 50_000, 200_000):
        if p > largest:
            break
        centre = rng.normal(scale=0.7, size=(p, 12))
        indptr, index = np.arange(p + 1) * 50, rng.integers(0, 1999, p)[:, None] * 50 + np.arange(50)
        own_X = (np.repeat(centre, 50, axis=0) + rng.normal(size=(50 * p, 12))).astype(np.float32)
        own = OwnRows(indptr, index.ravel(), np.ones(50 * p, dtype=bool), own_X)
        tracemalloc.start()
        seconds, fits = best_of(1, partial(fit_playlists, shared, own))
        size, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        rows.append({"playlists": p, "ms a playlist": 1e3 * seconds / p, "peak MB": (peak - size) / 2**20})
        rows[-1]["converged"] = fits.is_converged.mean()
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n{pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f'{x:.3g}')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="minmax,standard,spline,recipe", help="feature sets of the exact fits")
    parser.add_argument("--subset", type=int, default=40, help="playlists on which references are timed; 0: all")
    parser.add_argument("--largest", type=int, default=50_000, help="largest number of synthetic playlists")
    parser.add_argument("--json", type=Path, help="write all tables to this file")
    arguments = parser.parse_args()
    threadpool_limits(1)
    data, tables = load(), {}
    p, m = len(data.own.indptr) - 1, len(data.own.rows)
    print(f"{p} playlists, {len(data.tracks)} fit rows, {m} train memberships")
    for kind in filter(None, arguments.kinds.split(",")):
        tables[f"exact, {kind}"] = exact(data, kind, arguments.subset)
        show(
            f"All fit rows, {kind}; references on a subset of {arguments.subset or p}, scaled", tables[f"exact, {kind}"]
        )
    tables["sampled"] = sampled(data)
    show(f"{N_NEGATIVES} sampled rows", tables["sampled"])
    tables["threads"] = threads(data)
    show("Seconds for the same batches in one and two threads", tables["threads"])
    tables["scale"] = scale(arguments.largest)
    show(f"Synthetic playlists, {N_NEGATIVES} sampled rows, one call", tables["scale"])
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=1, default=float))


if __name__ == "__main__":
    main()
