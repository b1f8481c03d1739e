"""The own rows of a chunk of playlists, and what they add to gradients. Pure numerics, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

PADDING = 1.25  # the longest list of own rows in a group may be so many times the shortest


@dataclass(frozen=True)
class ChunkRows:
    """Own rows of p playlists.

    n_negative (p,): weight of the playlist's negatives, own and shared. slot (m,): playlist, ascending. row (m,): of
    the shared X. is_positive (m,). features (m, k) float64: n_extra per-playlist columns, whitened shared columns, 1.
    is_own (m,): False where values and weight are the shared row's, so that the shared sum already has the term.
    """

    n_negative: Floats
    slot: Ints
    row: Ints
    is_positive: Bools
    features: Floats
    n_extra: int
    is_own: Bools

    def sum_by_playlist(self, values: Floats, mask: Bools | None = None) -> Floats:
        """Sums over each playlist's rows, (p, ...), of values (m, ...); with a mask (m,) over those rows alone."""
        chosen = np.arange(len(self.slot)) if mask is None else np.flatnonzero(mask)
        shape = (len(self.n_negative), len(self.slot))
        return csr_array((np.ones(len(chosen)), (self.slot[chosen], chosen)), shape=shape) @ values


@dataclass
class PaddedRows:
    """Playlists with about as many own rows: slots (q,), rows (q, most, k) padded by zero rows, which add nothing."""

    slots: Ints
    rows: Floats

    def add_gradient(self, x: Floats, total: Floats) -> None:
        """Add the gradients of sum softplus(row x) at x (p, k) to total (p, k)."""
        G = np.matmul(self.rows, -x[self.slots, :, None])[:, :, 0]
        np.exp(G, out=G)
        G += 1
        np.reciprocal(G, out=G)
        total[self.slots] += np.matmul(G[:, None, :], self.rows)[:, 0]

    def keep(self, mask: Bools) -> None:
        """Drop the playlists outside mask (p,) and renumber the others."""
        stays = mask[self.slots]
        if not stays.all():
            self.rows = self.rows[stays]
        self.slots = (np.cumsum(mask) - 1)[self.slots[stays]]


def pad_rows(chunk: ChunkRows) -> list[PaddedRows]:
    """The chunk's own rows as a few dense float32 arrays of playlists with similar numbers of them."""
    chosen = np.flatnonzero(chunk.is_own)
    slot = chunk.slot[chosen]
    count = np.bincount(slot, minlength=len(chunk.n_negative))
    rank = np.arange(len(slot)) - (np.cumsum(count) - count)[slot]
    size_class = np.ceil(np.log(np.maximum(count, 1)) / np.log(PADDING))
    groups = []
    for size in np.unique(size_class[count > 0]):
        slots = np.flatnonzero((size_class == size) & (count > 0))
        padded = np.zeros((len(slots), count[slots].max(), chunk.features.shape[1]), dtype=np.float32)
        mine = size_class[slot] == size
        padded[np.searchsorted(slots, slot[mine]), rank[mine]] = chunk.features[chosen[mine]]
        groups.append(PaddedRows(slots, padded))
    return groups
