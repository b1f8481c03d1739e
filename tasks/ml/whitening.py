"""Coordinates in which the shared rows have mean 0, covariance 1 and a diagonal penalty. Pure numerics, no I/O.

With the covariance of the shared rows S = Q diag(l) Q' a row x becomes a = (x - mean) Q / s, s = sqrt(l), and a model
w becomes u = s Q' w. Then x w + b = a u + (b + mean w), and the ridge ||w||^2 = sum_j (u_j / s_j)^2 stays diagonal
because Q is orthonormal: rotating to the principal components is the only whitening with both properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

BLOCK_BYTES = 2**20  # small enough for the cache and for memory that is used again
# A direction in which the shared rows hardly vary is kept, because own rows may vary in it, but its scale stops here:
# eigenvalues come with an absolute error of some 1e-15 of the largest, so that a smaller scale would be noise.
MIN_RELATIVE_VARIANCE = 1e-12
ROUNDING = 1e-13  # standard deviation that rounding gives a constant column, relative to its value; with room
MAX_KEPT_ENTRIES = 2**22
THINNING = 8
MIN_THINNED_ROWS = 1024


@dataclass(frozen=True)
class Whitening:
    """The change of coordinates: mean (d,), basis (d, d) = Q / s; variance (d,) of the whitened rows, 1 or less."""

    mean: Floats
    basis: Floats
    variance: Floats

    @property
    def penalty(self) -> Floats:
        """(d,) the factors 1 / s^2 with ||w||^2 = sum_j penalty_j u_j^2."""
        return np.vecdot(self.basis.T, self.basis.T)

    def whiten(self, X: Floats) -> Floats:
        """(m, d) rows in the new coordinates, float64."""
        centred = X.astype(np.float64)
        centred -= self.mean
        return centred @ self.basis

    def to_original(self, U: Floats, intercept: Floats) -> tuple[Floats, Floats]:
        """Coefficients (p, d) and intercepts (p,) of the original columns from those of the whitened ones."""
        coef = U @ self.basis.T
        return coef, intercept - coef @ self.mean


@dataclass(frozen=True)
class WhitenedRows:
    """The rows with weight > 0, ready for float32 passes.

    A: (n', d + 1) float32, whitened rows with a last column of ones. weight: (n',) float64. source: (n',) their rows
    in X. position: (n,) int32, the place of a row of X in A, or -1.
    """

    whitening: Whitening
    X: Floats
    A: Floats
    weight: Floats
    source: Ints
    position: Ints

    def exact_blocks(self) -> Iterable[tuple[slice, Floats]]:
        """A in blocks of rows, whitened anew in float64, free of A's rounding; kept for the next time if small."""
        return self._kept_blocks or self._whiten_blocks()

    @cached_property
    def _kept_blocks(self) -> list[tuple[slice, Floats]]:
        return list(self._whiten_blocks()) if self.A.size <= MAX_KEPT_ENTRIES else []

    def _whiten_blocks(self) -> Iterator[tuple[slice, Floats]]:
        for block in _blocks(*self.A.shape):
            source = self.source[block]
            exact = np.ones((len(source), self.A.shape[1]))
            exact[:, :-1] = self.whitening.whiten(self.X[source])
            yield block, exact

    @cached_property
    def thinned(self) -> WhitenedRows | None:
        """One row in THINNING, drawn with a fixed seed, with THINNING times the weight; None if too few would stay."""
        n = len(self.weight) // THINNING
        if n < MIN_THINNED_ROWS:
            return None
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.weight))[:n])
        scale = self.weight.sum() / self.weight[chosen].sum()
        return _select(self.whitening, self.X, self.A[chosen], self.weight[chosen] * scale, self.source[chosen])


def whiten_rows(X: Floats, row_weight: Floats) -> WhitenedRows:
    """Compact the rows with weight > 0 and whiten them, a block of rows at a time.

    Undefined case: without a row of positive weight, or if no column varies, columns keep their scale. Raises
    ValueError if a value of X or a weight is not finite, or a weight is negative.
    """
    if not (np.isfinite(row_weight).all() and (row_weight >= 0).all()):
        raise ValueError("row_weight must be finite and not negative")
    if not all(np.isfinite(X[block]).all() for block in _blocks(*X.shape)):
        raise ValueError("the shared X must be finite")
    source = np.flatnonzero(row_weight > 0)
    weight = row_weight[source].astype(np.float64)
    whitening = _fit_whitening(X, source, weight)
    A = np.ones((len(source), X.shape[1] + 1), dtype=np.float32)
    for block in _blocks(*A.shape):
        A[block, :-1] = whitening.whiten(X[source[block]])
    return _select(whitening, X, A, weight, source)


def _select(whitening: Whitening, X: Floats, A: Floats, weight: Floats, source: Ints) -> WhitenedRows:
    position = np.full(len(X), -1, dtype=np.int32)
    position[source] = np.arange(len(source), dtype=np.int32)
    return WhitenedRows(whitening, X, A, weight, source, position)


def _fit_whitening(X: Floats, source: Ints, weight: Floats) -> Whitening:
    d = X.shape[1]
    mean, covariance = np.zeros(d), np.zeros((d, d))
    share = weight / max(weight.sum(), np.finfo(float).tiny)
    for block in _blocks(len(source), d):
        mean += share[block] @ X[source[block]].astype(np.float64)
    for block in _blocks(len(source), d):
        centred = (X[source[block]].astype(np.float64) - mean) * np.sqrt(share[block, None])
        covariance += centred.T @ centred
    eigenvalues, Q = np.linalg.eigh(covariance)
    eigenvalues = np.maximum(eigenvalues, 0)
    noise = (ROUNDING * np.abs(mean).max(initial=0)) ** 2
    floor = max(MIN_RELATIVE_VARIANCE * eigenvalues.max(initial=0), noise)
    scale = np.sqrt(np.maximum(eigenvalues, floor)) if eigenvalues.max(initial=0) > noise else np.ones(d)
    return Whitening(mean, Q / scale, np.where(eigenvalues > noise, eigenvalues, 0) / scale**2)


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // (8 * max(1, n_columns)))
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))
