"""Models of one batch of playlists: who can be trained, what came out. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.affinity import PRIOR, PRIOR_STRENGTH
from tasks.ml.logistic import Fits, SharedRows, fit_playlists
from tasks.ml.playlist_rows import PlaylistColumns, build_own_rows, chunk_playlists
from tasks.ml.rows import OwnRows
from tasks.ml.statuses import NON_FINITE, NOT_CONVERGED, ONE_CLASS, TOO_FEW, TRAINED

Ints = NDArray[np.integer]

MIN_POSITIVES = 2


@dataclass(frozen=True)
class BatchModels:
    """One model per playlist, or the reason why there is none.

    status, reason: (p,) str. n_positives: (p,). coef: (p, d), extra_coef: (p, e) of the playlist's own columns, and
    intercept: (p,), float64, NaN without a model. n_iter, gradient_norm: (p,), 0 and NaN if nothing was fitted.
    """

    status: list[str]
    reason: list[str]
    n_positives: Ints
    coef: NDArray[np.float64]
    extra_coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    n_iter: NDArray[np.int32]
    gradient_norm: NDArray[np.float64]


def fit_batch(shared: SharedRows, indptr: Ints, tracks: Ints, columns: PlaylistColumns, *, C: float) -> BatchModels:
    """Fit p playlists whose train tracks are the rows tracks[indptr[j]:indptr[j + 1]] of the shared matrix.

    A playlist with fewer than two train tracks is `too_few`; one with every fit row in it is `one_class` (no negative
    is left). A fit that ends non-finite or does not converge keeps no coefficients: it must not be used by mistake.
    """
    n_positives = np.diff(indptr)
    can_fit = (n_positives >= MIN_POSITIVES) & ~_covers(shared, indptr, tracks)
    models = _without_fit(n_positives, shared, len(columns.related))
    chosen = np.flatnonzero(can_fit)
    entries = np.flatnonzero(np.repeat(can_fit, n_positives))
    indptr, tracks = np.concatenate([[0], np.cumsum(n_positives[chosen])]), tracks[entries]
    for part in chunk_playlists(indptr, tracks, columns):
        edges = indptr[part.start : part.stop + 1]
        own = build_own_rows(shared.X, edges - edges[0], tracks[edges[0] : edges[-1]], columns)
        _fill(models, chosen[part], _fit(shared, own, C))
    return models


def _without_fit(n_positives: Ints, shared: SharedRows, e: int) -> BatchModels:
    """What is true of each playlist as long as nothing is fitted."""
    p, n_rows = len(n_positives), np.count_nonzero(shared.row_weight)
    return BatchModels(
        status=[ONE_CLASS if n >= MIN_POSITIVES else TOO_FEW for n in n_positives],
        reason=[
            f"no negative is left: all {n_rows} rows are in the playlist"
            if n >= MIN_POSITIVES
            else f"{n} train tracks, {MIN_POSITIVES} are needed"
            for n in n_positives
        ],
        n_positives=n_positives,
        coef=np.full((p, shared.X.shape[1]), np.nan),
        extra_coef=np.full((p, e), np.nan),
        intercept=np.full(p, np.nan),
        n_iter=np.zeros(p, np.int32),
        gradient_norm=np.full(p, np.nan),
    )


def _fit(shared: SharedRows, own: OwnRows, C: float) -> Fits:
    if own.extra is None:
        return fit_playlists(shared, own, C=C)
    return fit_playlists(shared, own, C=C, extra_prior=PRIOR[: own.extra.shape[1]], extra_strength=PRIOR_STRENGTH)


def _fill(models: BatchModels, places: Ints, fits: Fits) -> None:
    """Write the fits of the playlists at `places` into models."""
    is_finite = np.isfinite(np.column_stack([fits.coef, fits.extra_coef, fits.intercept])).all(axis=1)
    for j, i in enumerate(places):
        models.status[i], models.reason[i] = _outcome(bool(is_finite[j]), fits, j)
        models.n_iter[i], models.gradient_norm[i] = fits.n_iter[j], fits.gradient_norm[j]
        if models.status[i] == TRAINED:
            models.coef[i], models.extra_coef[i] = fits.coef[j], fits.extra_coef[j]
            models.intercept[i] = fits.intercept[j]


def _covers(shared: SharedRows, indptr: Ints, rows: Ints) -> NDArray[np.bool_]:
    """Whether a playlist holds every row that has a weight."""
    weighted = np.concatenate([[0], np.cumsum(shared.row_weight[rows] > 0)])
    return np.diff(weighted[indptr]) == np.count_nonzero(shared.row_weight)


def _outcome(is_finite: bool, fits: Fits, j: int) -> tuple[str, str]:
    if not is_finite:
        return NON_FINITE, "the coefficients are not finite"
    if not fits.is_converged[j]:
        left = fits.gradient_norm[j]
        return NOT_CONVERGED, f"after {fits.n_iter[j]} iterations {left:.1e} of the first gradient is left"
    return TRAINED, ""
