"""One-vs-rest logistic regressions that share their rows. Pure numerics: no Prefect, no Google, no I/O.

For playlist p with score z_i = w x_i + b the objective is scikit-learn's:

    f_p(w, b) = sum_i c_i softplus(z_i) - sum_(own positives) z + corrections + ||w||^2 / (2 C)

(scikit-learn, user guide, "Logistic regression", with sample_weight c_i and a free intercept). The first sum runs over
the shared rows with their weights c_i and is the same function for every playlist. Own rows are those in which a
playlist differs from the shared ones: each takes c_i softplus(shared z_i) out of the sum and puts softplus(own z) in,
with weight 1 whether or not the row is in the sample of shared rows.

How it is solved, a chunk of playlists at a time (`chunk_fit`):
1. `whitening`: columns are rotated and scaled so that shared rows have covariance 1; once for all batches.
2. `preconditioner`: start and metric from the positives' mean and variance.
3. `lbfgs`: all playlists descend together. A pass (`objective`) is two float32 matrix products per tile of rows, plus
   the own rows (`own_rows`); first steps are taken on a thinned set of rows; who has converged leaves.
4. `newton`: what float32 cannot bring below tol, or all with polish, is finished in float64, one playlist at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tasks.ml.chunk_fit import Settings, fit_chunk
from tasks.ml.own_rows import ChunkRows
from tasks.ml.rows import OwnRows
from tasks.ml.whitening import WhitenedRows, whiten_rows

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

CHUNK_PLAYLISTS = 512
CHUNK_OWN_ENTRIES = 2**22
NEGLIGIBLE_SHARE = 1e-9  # of the shared weight; less is what rounding leaves of a difference that is 0
_WHITENING = Lock()


@dataclass(frozen=True)
class SharedRows:
    """What all playlists have in common.

    X: (n, d) float32, one row per track of the catalogue. row_weight: (n,) float64, c_i >= 0; 0 leaves a row out
    of the shared sum (a track without train membership, or one that the sample of negatives did not draw).
    """

    X: Floats
    row_weight: Floats

    @property
    def whitened(self) -> WhitenedRows:
        """The rows as the solver reads them: computed once, then shared by all batches and threads."""
        with _WHITENING:
            if "_whitened" not in self.__dict__:
                self.__dict__["_whitened"] = whiten_rows(self.X, self.row_weight)
        return self.__dict__["_whitened"]


@dataclass(frozen=True)
class Fits:
    """Models of p playlists.

    coef (p, d), extra_coef (p, e), intercept (p,): float64. n_iter (p,): int32, passes over the rows. gradient_norm
    (p,): norm of the gradient at the solution relative to that of the zero model, which gives every row probability 0;
    both Euclidean in coordinates in which the Hessian is near the identity, so that it is about the relative error of
    scores. is_converged (p,): bool.
    """

    coef: Floats
    extra_coef: Floats
    intercept: Floats
    n_iter: Ints
    gradient_norm: Floats
    is_converged: NDArray[np.bool_]


def fit_playlists(
    shared: SharedRows,
    own: OwnRows,
    *,
    C: float = 1.0,
    extra_prior: tuple[float, ...] = (),
    extra_strength: float = 1.0,
    tol: float = 5e-6,
    max_iter: int = 200,
    polish: bool = False,
) -> Fits:
    """Fit one L2-regularised logistic regression per playlist, in the original coordinates of X.

    The penalty is ||w||^2 / (2 C) on the shared columns and extra_strength / 2 ||v - extra_prior||^2 on the
    per-playlist ones, with () for a prior of zeros; the intercept is free. A playlist is converged when gradient_norm
    is at most tol. It gets at most max_iter passes; if rounding stops it above tol, Newton's method in float64 goes on.
    polish lets Newton's method finish every playlist, to about 1e-7; meant for up to about 20 columns.

    Undefined cases: a playlist without a positive row, or without a negative one, has no optimum; it gets NaN, 0
    iterations, norm inf and is not converged. A playlist that max_iter or rounding stops has its best finite iterate
    and is not converged; NaN if there is none. Columns may be constant, duplicated or more than rows: the penalty
    decides. With all row weights 0 the own rows decide alone.

    The same batch gives the same bytes whatever other threads do, given single-threaded BLAS. Raises ValueError if
    shapes disagree, a value is not finite, a row index is out of range or repeated within a playlist, or C, tol or
    extra_strength is not positive.
    """
    d, e = shared.X.shape[1], _n_extra(own)
    _check(shared, own, extra_prior, (C, extra_strength, tol))
    ridge = np.concatenate([np.full(e, extra_strength), shared.whitened.whitening.penalty / C, [0]])
    prior = np.append(extra_prior or np.zeros(e), np.zeros(d + 1))
    settings = Settings(ridge, prior, tol, max_iter, polish)
    fits = _empty_fits(len(own.indptr) - 1, d, e)
    chunks = _chunks(np.diff(own.indptr), e + d + 1)
    for first, last in chunks:
        _check_own(own, first, last, len(shared.X))
    for first, last in chunks:
        _fill(fits, first, last, shared, own, settings)
    return fits


def _n_extra(own: OwnRows) -> int:
    return 0 if own.extra is None else own.extra.shape[1]


def _check(shared: SharedRows, own: OwnRows, extra_prior: tuple[float, ...], positive: tuple[float, ...]) -> None:
    n, m = len(shared.X), len(own.rows)
    if shared.row_weight.shape != (n,):
        raise ValueError("row_weight must have one value per row of the shared X")
    if not len(own.indptr) or own.indptr[0] != 0 or own.indptr[-1] != m or (np.diff(own.indptr) < 0).any():
        raise ValueError("indptr must ascend from 0 to the number of own rows")
    if own.is_positive.shape != (m,) or (own.X is not None and own.X.shape != (m, shared.X.shape[1])):
        raise ValueError("own rows, is_positive and X must agree in shape")
    if (own.extra is not None and own.extra.shape[:-1] != (m,)) or len(extra_prior) not in (0, _n_extra(own)):
        raise ValueError("extra must have one row per own row, extra_prior one value per extra column")
    if not np.isfinite(extra_prior).all() or not all(np.isfinite(value) and value > 0 for value in positive):
        raise ValueError("extra_prior must be finite; C, extra_strength and tol must be finite and positive")


def _check_own(own: OwnRows, first: int, last: int, n: int) -> None:
    """Check values and row indices of playlists first to last; a chunk at a time, to bound memory."""
    entries = slice(int(own.indptr[first]), int(own.indptr[last]))
    if not all(np.isfinite(values[entries]).all() for values in (own.X, own.extra) if values is not None):
        raise ValueError("own X and extra must be finite")
    rows = own.rows[entries]
    if ((rows < 0) | (rows >= n)).any():
        raise ValueError("own rows must be rows of the shared X")
    playlist = np.repeat(np.arange(last - first), np.diff(own.indptr[first : last + 1]))
    keys = np.sort(playlist * n + rows)
    if (keys[1:] == keys[:-1]).any():
        raise ValueError("own rows must be unique within a playlist")


def _empty_fits(p: int, d: int, e: int) -> Fits:
    coef, extra_coef, intercept = (np.full(shape, np.nan) for shape in ((p, d), (p, e), p))
    n_iter, is_converged = np.zeros(p, dtype=np.int32), np.zeros(p, dtype=bool)
    return Fits(coef, extra_coef, intercept, n_iter, np.full(p, np.inf), is_converged)


def _chunks(n_own: Ints, n_columns: int) -> list[tuple[int, int]]:
    """Consecutive playlists, about evenly: at most CHUNK_PLAYLISTS, and CHUNK_OWN_ENTRIES values of own rows."""
    if not len(n_own):
        return []
    cost = np.cumsum(np.maximum(1 / CHUNK_PLAYLISTS, n_own * (n_columns / CHUNK_OWN_ENTRIES)))
    inner = np.linspace(0, cost[-1], int(np.ceil(cost[-1])) + 1)[1:-1]
    edges = np.unique([0, *np.searchsorted(cost, inner), len(n_own)])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _fill(fits: Fits, first: int, last: int, shared: SharedRows, own: OwnRows, settings: Settings) -> None:
    """Fit playlists first to last and write their results into fits."""
    entries = slice(int(own.indptr[first]), int(own.indptr[last]))
    slot = np.repeat(np.arange(last - first), np.diff(own.indptr[first : last + 1]))
    is_positive, weight = own.is_positive[entries], shared.row_weight[own.rows[entries]]
    total = shared.row_weight.sum()
    n_positive = np.bincount(slot, is_positive, minlength=last - first)
    n_negative = total + np.bincount(slot, ~is_positive - weight, minlength=last - first)
    trainable = (n_positive > 0) & (n_negative > NEGLIGIBLE_SHARE * total)
    fitted = first + np.flatnonzero(trainable)
    if not len(fitted):
        return
    chosen = np.flatnonzero(trainable[slot])
    new_slot = np.cumsum(trainable) - 1
    chunk = _chunk_rows(shared, own, entries.start + chosen, new_slot[slot[chosen]], n_negative[trainable])
    found, e = fit_chunk(shared.whitened, chunk, settings), chunk.n_extra
    coef, intercept = shared.whitened.whitening.to_original(found.x[:, e:-1], found.x[:, -1])
    fits.coef[fitted], fits.extra_coef[fitted], fits.intercept[fitted] = coef, found.x[:, :e], intercept
    fits.n_iter[fitted], fits.gradient_norm[fitted] = found.n_iter, found.norm
    fits.is_converged[fitted] = found.norm <= settings.tol


def _chunk_rows(shared: SharedRows, own: OwnRows, entries: Ints, slot: Ints, n_negative: Floats) -> ChunkRows:
    """Own rows `entries`, of playlists slot, in the solver's coordinates."""
    row, e = own.rows[entries], _n_extra(own)
    features = np.ones((len(entries), e + shared.X.shape[1] + 1))
    X = shared.X[row] if own.X is None else own.X[entries]
    features[:, e:-1] = shared.whitened.whitening.whiten(X)
    if own.extra is not None:
        features[:, :e] = own.extra[entries]
    is_own = np.ones(len(entries), dtype=bool)
    if own.X is None and own.extra is None:
        is_own = shared.row_weight[row] != 1
    return ChunkRows(n_negative, slot, row, own.is_positive[entries], features, e, is_own)
