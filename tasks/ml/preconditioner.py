"""Where the solver starts and the metric it works in: both from the positives' first two moments. Pure numerics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.own_rows import ChunkRows
from tasks.ml.whitening import WhitenedRows

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

PSEUDO_POSITIVES = 20
MAX_START_SPREAD = 1.5


@dataclass
class Preconditioner:
    """P = n [(m; 1)(m; 1)' + diag(D, 0)], with a closed inverse: n (p,), mean m and D (p, k - 1).

    The Hessian is sum p_i (1 - p_i) x_i x_i' + ridge. Where positives are rare it is near sum p_i x_i x_i', whose
    weights p_i have, at the optimum, the positives' number n and (but for the ridge) their mean m. Its covariance is
    taken as diagonal, D: the positives' variance, drawn towards that of all rows by PSEUDO_POSITIVES, plus ridge / n.
    """

    n: Floats
    mean: Floats
    D: Floats

    def solve(self, g: Floats) -> Floats:
        """(p, k) P^-1 g, by elimination of the intercept."""
        out = np.empty_like(g)
        out[:, :-1] = (g[:, :-1] - self.mean * g[:, -1:]) / self.D
        out[:, -1] = g[:, -1] - np.vecdot(self.mean, out[:, :-1])
        return out / self.n[:, None]

    def norm(self, x: Floats) -> Floats:
        """(p,) sqrt(x'P x / n)."""
        along = np.vecdot(self.mean, x[:, :-1]) + x[:, -1]
        return np.sqrt(along**2 + np.vecdot(self.D, x[:, :-1] ** 2))

    def keep(self, mask: Bools) -> None:
        """Drop the playlists outside mask."""
        self.n, self.mean, self.D = self.n[mask], self.mean[mask], self.D[mask]


def precondition(chunk: ChunkRows, rows: WhitenedRows, ridge: Floats) -> Preconditioner:
    """The preconditioner of a chunk; ridge (k,)."""
    x, e, one = chunk.features[:, :-1], chunk.n_extra, np.ones((len(chunk.slot), 1))
    n, n_own = chunk.sum_by_playlist(one, chunk.is_positive), chunk.sum_by_playlist(one)
    mean = chunk.sum_by_playlist(x, chunk.is_positive) / n
    spread = np.maximum(chunk.sum_by_playlist(x * x, chunk.is_positive) - n * mean**2, 0)
    prior = np.empty_like(spread)
    prior[:, :e] = chunk.sum_by_playlist(x[:, :e] ** 2) / n_own
    prior[:, e:] = rows.whitening.variance
    D = (spread + PSEUDO_POSITIVES * prior) / (n + PSEUDO_POSITIVES) + ridge[:-1] / n
    return Preconditioner(n[:, 0], mean, D)


def starting_point(chunk: ChunkRows, rows: WhitenedRows, *, ridge: Floats, prior: Floats) -> Floats:
    """(p, k) linear discriminant analysis of the positives against the shared rows, with the ridge.

    That is the optimum if the shared rows are Gaussian and positives rare. Scores are cut to a standard deviation of
    MAX_START_SPREAD, beyond which the tails of real columns carry them away. Per-playlist columns start at their prior.
    """
    variance, e = rows.whitening.variance, chunk.n_extra
    n = chunk.sum_by_playlist(np.ones(len(chunk.slot)), chunk.is_positive)
    pull = chunk.sum_by_playlist(chunk.features[:, e:-1], chunk.is_positive)
    u = pull / (n[:, None] * variance + ridge[e:-1])
    spread = np.sqrt(u**2 @ variance)
    cut = MAX_START_SPREAD / np.maximum(spread, MAX_START_SPREAD)
    x = np.tile(prior, (len(n), 1))
    x[:, e:-1] = cut[:, None] * u
    x[:, -1] = np.log(n / chunk.n_negative) - (cut * spread) ** 2 / 2
    return x
