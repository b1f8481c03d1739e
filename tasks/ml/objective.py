"""Objective of a chunk of playlists that share their rows, for `lbfgs.minimise`. Pure numerics, no I/O.

The k = e + d + 1 unknowns of a playlist are x = (v, u, b): coefficients of its own e columns, coefficients of the d
whitened shared columns, intercept. With the rows split into shared ones a_i that are not its own, and own ones o_i:

    f(x) = sum_(shared) c_i softplus(a_i u + b) + sum_(own) softplus(o_i x) - pull x
           + 1/2 sum_j ridge_j (x_j - prior_j)^2,                        pull = sum of o_i over the positives

One matrix product per tile of shared rows serves all playlists: Z = A U', G = c sigmoid(Z), 0 where a row is the
playlist's own, gradient += G'A. Tiles are float32 and fit the L2 cache; sums over tiles are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.own_rows import ChunkRows, PaddedRows
from tasks.ml.preconditioner import Preconditioner
from tasks.ml.whitening import WhitenedRows

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

TILE_ENTRIES = 2**16
TILE_ROWS = 1024


class SharedTerm:
    """sum c_i softplus(a_i u + b) over the shared rows that are not the playlist's own."""

    def __init__(self, rows: WhitenedRows, chunk: ChunkRows) -> None:
        self.A, self.weight = rows.A, rows.weight.astype(np.float32)[:, None]
        position = rows.position[chunk.row]
        excluded = np.flatnonzero(chunk.is_own & (position >= 0))
        excluded = excluded[np.argsort(position[excluded], kind="stable")]
        self.excluded_row, self.excluded_slot = position[excluded], chunk.slot[excluded]

    def add_gradient(self, x: Floats, total: Floats) -> None:
        """Add the gradients at x (p, k) to total (p, k)."""
        p, (n, n_columns) = len(x), self.A.shape
        U, shared = np.ascontiguousarray(-x[:, -n_columns:].T), total[:, -n_columns:]
        step = max(1, min(TILE_ENTRIES // p, TILE_ROWS))
        buffer = np.empty((step, p), dtype=np.float32)
        starts = range(0, n, step)
        cuts = np.searchsorted(self.excluded_row, [*starts, n])
        for start, first, last in zip(starts, cuts, cuts[1:], strict=False):
            A = self.A[start : start + step]
            G = buffer[: len(A)]
            np.matmul(A, U, out=G)
            np.exp(G, out=G)
            G += 1
            np.divide(self.weight[start : start + step], G, out=G)
            if first < last:
                G[self.excluded_row[first:last] - start, self.excluded_slot[first:last]] = 0
            shared += G.T @ A

    def keep(self, mask: Bools) -> None:
        """Drop the playlists outside mask and renumber the others."""
        stays = mask[self.excluded_slot]
        self.excluded_row = self.excluded_row[stays]
        self.excluded_slot = (np.cumsum(mask) - 1)[self.excluded_slot[stays]]


@dataclass
class PlaylistObjective:
    """The objectives of p playlists. ridge and prior (k,), pull (p, k)."""

    shared: SharedTerm
    own: list[PaddedRows]
    preconditioner: Preconditioner
    pull: Floats
    ridge: Floats
    prior: Floats

    def gradient(self, x: Floats) -> Floats:
        """(p, k) float64 gradients at x."""
        total = self.ridge * (x - self.prior) - self.pull
        with np.errstate(over="ignore", invalid="ignore"):  # exp(-z) = inf gives the right probability, 0
            x = x.astype(np.float32)
            self.shared.add_gradient(x, total)
            for group in self.own:
                group.add_gradient(x, total)
        return total

    def precondition(self, g: Floats) -> Floats:
        """(p, k) P^-1 g."""
        return self.preconditioner.solve(g)

    def length(self, direction: Floats) -> Floats:
        """(p,) the root mean square change of the positives' scores; curvatures change by its exponential."""
        return self.preconditioner.norm(direction)

    def keep(self, mask: Bools) -> None:
        """Drop the playlists outside mask."""
        self.pull = self.pull[mask]
        self.shared.keep(mask)
        self.preconditioner.keep(mask)
        for group in self.own:
            group.keep(mask)
