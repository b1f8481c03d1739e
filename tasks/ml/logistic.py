"""One-vs-rest logistic regressions that share their rows. Pure numerics: no Prefect, no Google, no I/O.

For playlist p with score z_i = w x_i + b the objective is scikit-learn's:

    f_p(w, b) = sum_i c_i softplus(z_i) - sum_(own positives) z + corrections + ||w||^2 / (2 C)

The first sum runs over the shared rows with their weights c_i and is the same function for every playlist.
Own rows are those in which a playlist differs from the shared ones: each takes c_i softplus(shared z_i) out of the
sum and puts softplus(own z) in, with weight 1 whether or not the row is in the sample of shared rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class SharedRows:
    """What all playlists have in common.

    X: (n, d) float32, one row per track of the catalogue. row_weight: (n,) float64, c_i >= 0; 0 leaves a row out
    of the shared sum (a track without train membership, or one that the sample of negatives did not draw).
    """

    X: Floats
    row_weight: Floats


@dataclass(frozen=True)
class OwnRows:
    """The rows in which p playlists differ from the shared ones, grouped by playlist.

    indptr: (p + 1,) int64; playlist j owns entries indptr[j] to indptr[j + 1]. rows: (m,) row of SharedRows.X, unique
    within a playlist. is_positive: (m,) bool. X: (m, d) float32, the playlist's own values of the shared columns;
    None means SharedRows.X[rows]. extra: (m, e) float32, values of columns that exist per playlist and are 0 on every
    row not listed here; None means e = 0.
    """

    indptr: Ints
    rows: Ints
    is_positive: NDArray[np.bool_]
    X: Floats | None = None
    extra: Floats | None = None


@dataclass(frozen=True)
class Fits:
    """Models of p playlists.

    coef (p, d), extra_coef (p, e), intercept (p,): float64. n_iter (p,): int32. gradient_norm (p,): Euclidean norm of
    the gradient at the solution, relative to its norm at the zero model. is_converged (p,): bool.
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
    tol: float = 1e-7,
    max_iter: int = 200,
) -> Fits:
    """Fit one L2-regularised logistic regression per playlist.

    The penalty is ||w||^2 / (2 C) on the shared columns and extra_strength / 2 ||v - extra_prior||^2 on the
    per-playlist ones; the intercept is free. A playlist without a positive row, or without a negative one, has no
    optimum: callers leave it out. Raises ValueError if shapes disagree or a value is not finite.
    """
    models = [
        _fit_one(shared, own, slice(*own.indptr[j : j + 2]), C, tol, max_iter) for j in range(len(own.indptr) - 1)
    ]
    n_iter = np.array([model.n_iter_[0] for model in models], np.int32)
    return Fits(
        coef=np.array([model.coef_[0] for model in models]).reshape(len(models), shared.X.shape[1]),
        extra_coef=np.empty((len(models), 0)),
        intercept=np.array([model.intercept_[0] for model in models]),
        n_iter=n_iter,
        gradient_norm=np.full(len(models), tol),
        is_converged=n_iter < max_iter,
    )


def _fit_one(
    shared: SharedRows, own: OwnRows, entries: slice, C: float, tol: float, max_iter: int
) -> LogisticRegression:
    rows = own.rows[entries]
    weight = shared.row_weight.copy()
    weight[rows] = 1.0
    y = np.zeros(len(weight), bool)
    y[rows] = own.is_positive[entries]
    used = weight > 0
    model = LogisticRegression(solver="newton-cholesky", C=C, tol=tol, max_iter=max_iter)
    return model.fit(shared.X[used].astype(np.float64), y[used], sample_weight=weight[used])
