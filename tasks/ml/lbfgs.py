"""Preconditioned L-BFGS for many small convex problems at once. Pure numerics, no I/O.

One pass evaluates the gradients of all problems that are still active, so that the caller can share work among them;
every problem keeps its own direction, step and memory, and leaves when it has converged or no longer improves.

- Direction: two-loop recursion (Nocedal 1980, "Updating quasi-Newton matrices with limited storage"; Nocedal and
  Wright, "Numerical optimization", algorithm 7.4), started from a preconditioner P scaled by s'y / y'P^-1 y. Each loop
  is a triangular system in R, R_ij = s_i'y_j for i <= j (Byrd, Nocedal and Schnabel 1994, "Representations of
  quasi-Newton matrices", theorem 2.2). With R^-1 at hand a direction takes a few array operations for all problems and
  pairs; the loops would take a dozen per pair, between which threads queue for the interpreter.
- Step: 1, or as far as RADIUS allows. If the slope along the direction comes out above OVERSHOOT times what it was in
  size, the step was too long and is repeated at the zero of the secant through both slopes. Only gradients are
  compared: differences of objectives drown in float32 long before gradients do.
- Measure: the Newton decrement sqrt(g'H^-1 g), with P or what was learned of the Hessian H for H, whichever gives more.
  It does not depend on the scale of the unknowns; half its square is how far the objective is above its minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

MEMORY = 20
RADIUS = 1.0
OVERSHOOT = 0.9
MIN_SHRINK = 0.1
MAX_PASSES_WITHOUT_PROGRESS = 20
MIN_CURVATURE = 1e-12  # relative s'y below which rounding decides its sign
ROUGH_REDUCTION = 0.3
ROUGH_SHARE = 0.9
ROUGH_MAX_PASSES = 15


class Problems(Protocol):
    """p problems in k unknowns each."""

    def gradient(self, x: Floats) -> Floats:
        """(p, k) gradients at x (p, k)."""

    def precondition(self, g: Floats) -> Floats:
        """(p, k) P^-1 g, with P symmetric, positive definite and near the Hessian."""

    def length(self, direction: Floats) -> Floats:
        """(p,) how far a step of direction (p, k) goes, in a unit over which the Hessian changes moderately."""

    def keep(self, mask: Bools) -> None:
        """Drop the problems outside mask (p,), keep the order of the others."""


@dataclass(frozen=True)
class Minima:
    """x (p, k): the best iterate of each problem. n_iter (p,): passes. norm (p,): the measure at x."""

    x: Floats
    n_iter: NDArray[np.int32]
    norm: Floats


def minimise(problems: Problems, x0: Floats, *, target: Floats, max_iter: int, rough: Problems | None = None) -> Minima:
    """Bring the measure of each problem to its target (p,), or as low as max_iter passes and rounding allow.

    With `rough`, cheap approximations of the same problems, the first steps are taken on those, until ROUGH_SHARE of
    them have come down to ROUGH_REDUCTION of their measure at x0; what was learned of the curvature is kept. Their
    passes count as well; a max_iter of ROUGH_MAX_PASSES or less does without them.

    A problem also stops after MAX_PASSES_WITHOUT_PROGRESS passes without a new smallest measure. Undefined case: where
    no gradient is finite, x is NaN and the norm inf.
    """
    best = Minima(np.full(x0.shape, np.nan), np.zeros(len(x0), dtype=np.int32), np.full(len(x0), np.inf))
    last_progress = np.zeros(len(x0), dtype=np.int32)
    search = _approach(rough if max_iter > ROUGH_MAX_PASSES else None, problems, x0)
    while True:
        index, norm = search.index, search.measure()
        better = norm < best.norm[index]  # False for NaN
        best.x[index[better]], best.norm[index[better]] = search.x[better], norm[better]
        best.n_iter[index] = search.n_passes
        last_progress[index[better]] = search.n_passes
        stalled = search.n_passes - last_progress[index] >= MAX_PASSES_WITHOUT_PROGRESS
        done = (norm <= target[index]) | stalled | ~np.isfinite(norm)
        if done.all() or search.n_passes >= max_iter:
            return best
        if done.any():
            search.keep(~done)
        search.advance()


def _approach(rough: Problems | None, problems: Problems, x0: Floats) -> _Search:
    if rough is None:
        return _Search(problems, x0)
    search = _Search(rough, x0)
    enough = ROUGH_REDUCTION * search.measure()
    while search.n_passes < ROUGH_MAX_PASSES and np.mean(search.measure() <= enough) < ROUGH_SHARE:
        search.advance()
    search.move_to(problems)
    return search


class _Search:
    """The state of the active problems; p is the first axis, and the second of the memory (MEMORY, p, k)."""

    def __init__(self, problems: Problems, x: Floats) -> None:
        p, k = x.shape
        self.index, self.x = np.arange(p), x
        self.gamma, self.n_passes = np.ones(p), 0
        self.S, self.Y = np.zeros((2, p, 0, k), dtype=np.float32)  # enough for a direction, half the traffic
        self.R_inverse, self.D = np.zeros((p, 0, 0)), np.zeros((p, 0))
        self.move_to(problems)

    def move_to(self, problems: Problems) -> None:
        """Go on from here on other problems of the same shape and about the same curvature."""
        self.problems = problems
        self.g = problems.gradient(self.x)
        self.Pg = problems.precondition(self.g)
        self.n_passes += 1
        self.direction, self.slope = self._descend()
        self.step = np.ones(len(self.x))

    def measure(self) -> Floats:
        """(p,) the measure of the module's docstring."""
        return np.sqrt(np.maximum(np.vecdot(self.g, self.Pg), self.decrement))

    def keep(self, mask: Bools) -> None:
        """Drop the problems outside mask."""
        self.problems.keep(mask)
        for name in ("index", "x", "g", "Pg", "decrement", "direction", "step", "slope", "gamma"):
            setattr(self, name, getattr(self, name)[mask])
        for name in ("S", "Y", "R_inverse", "D"):
            setattr(self, name, getattr(self, name)[mask])

    def advance(self) -> None:
        """Try a step of every problem: take it and turn to a new direction, or shorten it."""
        trial = self.x + self.step[:, None] * self.direction
        g = self.problems.gradient(trial)
        self.n_passes += 1
        slope, before = np.vecdot(g, self.direction), np.abs(self.slope)
        accept = slope <= OVERSHOOT * before  # False for a slope that is not finite
        Pg = self.problems.precondition(g)
        self._remember(accept, trial - self.x, g - self.g, Pg - self.Pg)
        taken = accept[:, None]
        self.x, self.g, self.Pg = (
            np.where(taken, new, old) for new, old in ((trial, self.x), (g, self.g), (Pg, self.Pg))
        )
        direction, next_slope = self._descend()
        secant = before / (before + np.where(accept, 0, slope))
        self.step = np.where(accept, 1, self.step * np.fmax(MIN_SHRINK, secant))
        self.direction = np.where(taken, direction, self.direction)
        self.slope = np.where(accept, next_slope, self.slope)

    def _remember(self, accept: Bools, s: Floats, y: Floats, Py: Floats) -> None:
        """Append the pair (s, y) of each step that was taken, else zeros, which change no direction."""
        sy = np.vecdot(s, y)
        useful = accept & (sy > MIN_CURVATURE * np.sqrt(np.vecdot(s, s) * np.vecdot(y, y)))
        np.divide(sy, np.vecdot(y, Py), out=self.gamma, where=useful)
        s, y = (np.where(useful[:, None], v, 0).astype(np.float32)[:, None] for v in (s, y))
        S, Y, R_inverse = (
            self.S[:, 1 - MEMORY :],
            self.Y[:, 1 - MEMORY :],
            self.R_inverse[:, 1 - MEMORY :, 1 - MEMORY :],
        )
        d, m = np.where(useful, sy, 1), S.shape[1]
        self.R_inverse = np.zeros((len(d), m + 1, m + 1))
        self.R_inverse[:, :m, :m], self.R_inverse[:, m, m] = R_inverse, 1 / d
        self.R_inverse[:, :m, m] = -np.matvec(R_inverse, np.vecdot(S, y)) / d[:, None]
        self.S, self.Y = np.concatenate([S, s], axis=1), np.concatenate([Y, y], axis=1)
        self.D = np.column_stack([self.D[:, 1 - MEMORY :], d])

    def _descend(self) -> tuple[Floats, Floats]:
        """Directions (p, k) and their slopes (p,); where rounding spoils one, the memory of that problem is dropped."""
        direction = -self._times_inverse_hessian(self.g)
        slope = np.vecdot(self.g, direction)
        ascends = ~(slope < 0)
        if ascends.any():
            self.S[ascends] = self.Y[ascends] = self.R_inverse[ascends] = 0
            direction[ascends] = -self.Pg[ascends]
            slope[ascends] = np.vecdot(self.g[ascends], direction[ascends])
        self.decrement = -slope
        shorten = RADIUS / np.maximum(self.problems.length(direction), RADIUS)
        return direction * shorten[:, None], slope * shorten

    def _times_inverse_hessian(self, g: Floats) -> Floats:
        """(p, k) the approximate inverse Hessian times g: the two-loop recursion, a triangular system for each loop."""
        alpha = np.matvec(self.R_inverse, np.matvec(self.S, g.astype(np.float32)))
        q = self.gamma[:, None] * self.problems.precondition(g - np.vecmat(alpha.astype(np.float32), self.Y))
        rest = self.D * alpha - np.matvec(self.Y, q.astype(np.float32))
        return q + np.vecmat(np.vecmat(rest, self.R_inverse).astype(np.float32), self.S)
