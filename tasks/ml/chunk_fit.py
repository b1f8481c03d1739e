"""Fit one chunk of playlists: from rough to float32 to, where needed, float64. Pure numerics, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.ml.lbfgs import Minima, minimise
from tasks.ml.newton import PlaylistProblem, minimise_exactly
from tasks.ml.objective import PlaylistObjective, SharedTerm
from tasks.ml.own_rows import ChunkRows, pad_rows
from tasks.ml.preconditioner import precondition, starting_point
from tasks.ml.whitening import WhitenedRows

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Settings:
    """ridge and prior (k,) of the unknowns (extra columns, whitened columns, intercept), and when to stop."""

    ridge: Floats
    prior: Floats
    tol: float
    max_iter: int
    polish: bool


def fit_chunk(rows: WhitenedRows, chunk: ChunkRows, settings: Settings) -> Minima:
    """Solutions (p, k) in whitened coordinates, their passes, and gradient norms relative to that of the pull.

    First steps on a thinned set of rows, then float32 passes over all. Playlists that those leave above tol, or all
    with polish, are finished in float64.
    """
    pull = chunk.sum_by_playlist(chunk.features, chunk.is_positive)
    metric = precondition(chunk, rows, settings.ridge)
    scale = np.sqrt(np.vecdot(pull, metric.solve(pull)))
    shared, own = SharedTerm(rows, chunk), pad_rows(chunk)
    objective = PlaylistObjective(shared, own, replace(metric), pull, settings.ridge, settings.prior)
    rough = None if rows.thinned is None else replace(objective, shared=SharedTerm(rows.thinned, chunk))
    x0 = starting_point(chunk, rows, ridge=settings.ridge, prior=settings.prior)
    found = minimise(objective, x0, target=settings.tol * scale, max_iter=settings.max_iter, rough=rough)
    unfinished = np.isfinite(found.norm) & (found.n_iter < settings.max_iter)
    if not settings.polish:
        unfinished &= found.norm > settings.tol * scale
    gradient = np.zeros_like(found.x)
    for slot in np.flatnonzero(unfinished).tolist():
        problem = PlaylistProblem(rows, chunk, slot, pull[slot], settings.ridge, settings.prior)
        found.x[slot], gradient[slot], n_evaluations = minimise_exactly(problem, found.x[slot])
        found.n_iter[slot] += n_evaluations
    norm = np.where(unfinished, np.sqrt(np.vecdot(gradient, metric.solve(gradient))), found.norm)
    return replace(found, norm=norm / scale)
