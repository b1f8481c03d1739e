"""Models of one batch of playlists: who can be trained, what came out. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.logistic import Fits, OwnRows, SharedRows, fit_playlists

MIN_POSITIVES = 2

TRAINED = "trained"
TOO_FEW = "too_few"
ONE_CLASS = "one_class"
NON_FINITE = "non_finite"
NOT_CONVERGED = "not_converged"
FAILURES = (NON_FINITE, NOT_CONVERGED)  # of playlists that could be trained


@dataclass(frozen=True)
class BatchModels:
    """One model per playlist, or the reason why there is none.

    status, reason: (p,) str. n_positives: (p,). coef: (p, d) and intercept: (p,) float64, NaN without a model.
    n_iter, gradient_norm: (p,), 0 and NaN if nothing was fitted.
    """

    status: list[str]
    reason: list[str]
    n_positives: NDArray[np.int64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    n_iter: NDArray[np.int32]
    gradient_norm: NDArray[np.float64]


def fit_batch(shared: SharedRows, indptr: NDArray[np.int64], rows: NDArray[np.int64], *, C: float) -> BatchModels:
    """Fit p playlists whose train tracks are rows[indptr[j]:indptr[j + 1]] of the shared matrix.

    A playlist with fewer than two train tracks is `too_few`; one with every fit row in it is `one_class` (no negative
    is left). A fit that ends non-finite or does not converge keeps no coefficients: it must not be used by mistake.
    """
    n_positives = np.diff(indptr)
    n_rows = np.count_nonzero(shared.row_weight)
    can_fit = (n_positives >= MIN_POSITIVES) & ~_covers(shared, indptr, rows)
    fits = _fit(shared, indptr, rows, np.flatnonzero(can_fit), C)
    is_finite = np.isfinite(fits.coef).all(axis=1) & np.isfinite(fits.intercept)
    models = BatchModels(
        status=[ONE_CLASS if n >= MIN_POSITIVES else TOO_FEW for n in n_positives],
        reason=[
            f"all {n_rows} train tracks are in the playlist"
            if n >= MIN_POSITIVES
            else f"{n} train tracks, {MIN_POSITIVES} are needed"
            for n in n_positives
        ],
        n_positives=n_positives,
        coef=np.full((len(n_positives), shared.X.shape[1]), np.nan),
        intercept=np.full(len(n_positives), np.nan),
        n_iter=np.zeros(len(n_positives), np.int32),
        gradient_norm=np.full(len(n_positives), np.nan),
    )
    for j, i in enumerate(np.flatnonzero(can_fit)):
        models.status[i], models.reason[i] = _outcome(bool(is_finite[j]), fits, j)
        models.n_iter[i], models.gradient_norm[i] = fits.n_iter[j], fits.gradient_norm[j]
        if models.status[i] == TRAINED:
            models.coef[i], models.intercept[i] = fits.coef[j], fits.intercept[j]
    return models


def _covers(shared: SharedRows, indptr: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a playlist holds every row that has a weight."""
    weighted = np.concatenate([[0], np.cumsum(shared.row_weight[rows] > 0)])
    return np.diff(weighted[indptr]) == np.count_nonzero(shared.row_weight)


def _fit(
    shared: SharedRows, indptr: NDArray[np.int64], rows: NDArray[np.int64], chosen: NDArray[np.int64], C: float
) -> Fits:
    pieces = [rows[indptr[j] : indptr[j + 1]] for j in chosen]
    own_rows = np.concatenate([*pieces, np.empty(0, np.int64)])
    own_indptr = np.cumsum([0, *(len(piece) for piece in pieces)])
    return fit_playlists(shared, OwnRows(own_indptr, own_rows, np.ones(len(own_rows), bool)), C=C)


def _outcome(is_finite: bool, fits: Fits, j: int) -> tuple[str, str]:
    if not is_finite:
        return NON_FINITE, "the coefficients are not finite"
    if not fits.is_converged[j]:
        left = fits.gradient_norm[j]
        return NOT_CONVERGED, f"after {fits.n_iter[j]} iterations {left:.1e} of the first gradient is left"
    return TRAINED, ""
