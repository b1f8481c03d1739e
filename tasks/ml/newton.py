"""Newton's method in float64 for one playlist: slow, robust, exact to rounding. Pure numerics, no I/O.

It finishes what float32 passes cannot: playlists so badly conditioned that rounding or a poor preconditioner stops
L-BFGS, and those for which more digits are asked. Damped by Armijo's rule (Nocedal and Wright, "Numerical
optimization", section 3.1) it converges from anywhere, because the objective is strictly convex.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tasks.ml.own_rows import ChunkRows
from tasks.ml.whitening import WhitenedRows

Floats = NDArray[np.floating]

ARMIJO = 1e-4
MAX_MOVE = 5.0
LAST_DECREMENT = 1e-12
MAX_EVALUATIONS = 100


@dataclass(frozen=True)
class PlaylistProblem:
    """Playlist `slot` of a chunk: the objective of `objective` in its k unknowns, with pull, ridge and prior (k,)."""

    rows: WhitenedRows
    chunk: ChunkRows
    slot: int
    pull: Floats
    ridge: Floats
    prior: Floats

    def evaluate(self, x: Floats) -> tuple[float, Floats, Floats]:
        """Objective, gradient (k,) and Hessian (k, k) at x (k,)."""
        offset = x - self.prior
        value = self.ridge @ offset**2 / 2 - self.pull @ x
        gradient, hessian = self.ridge * offset - self.pull, np.diag(self.ridge)
        for features, weight in self._blocks():
            columns = slice(len(x) - features.shape[1], None)
            z = features @ x[columns]
            with np.errstate(over="ignore"):
                p = 1 / (1 + np.exp(-z))
            value += weight @ np.logaddexp(0, z)
            gradient[columns] += (weight * p) @ features
            hessian[columns, columns] += (features.T * (weight * p * (1 - p))) @ features
        return float(value), gradient, hessian

    def _blocks(self) -> Iterator[tuple[Floats, Floats]]:
        """Features and weights of own rows, then of shared rows; the latter lack the playlist's own columns."""
        own = np.flatnonzero((self.chunk.slot == self.slot) & self.chunk.is_own)
        yield self.chunk.features[own], np.ones(len(own))
        weight = self.rows.weight.copy()
        position = self.rows.position[self.chunk.row[own]]
        weight[position[position >= 0]] = 0
        for block, features in self.rows.exact_blocks():
            yield features, weight[block]


def minimise_exactly(problem: PlaylistProblem, x: Floats) -> tuple[Floats, Floats, int]:
    """The minimum (k,), the gradient there (k,) and the evaluations it took, from x (k,).

    The last step is the one that changes the objective by no more than its rounding; it is taken on trust. Undefined
    case: where the Hessian is not positive definite in float64, or no step descends, the last iterate; its gradient
    tells how good it is.
    """
    value, gradient, hessian = problem.evaluate(x)
    direction, slope = _newton_direction(gradient, hessian)
    step, n_evaluations = _first_step(direction), 1
    while slope < 0 and n_evaluations < MAX_EVALUATIONS:
        is_last = -slope <= LAST_DECREMENT * abs(value)
        trial = x + step * direction
        trial_value, trial_gradient, trial_hessian = problem.evaluate(trial)
        n_evaluations += 1
        if not is_last and not trial_value <= value + ARMIJO * step * slope:
            step /= 2
            continue
        x, value, gradient = trial, trial_value, trial_gradient
        if is_last:
            break
        direction, slope = _newton_direction(gradient, trial_hessian)
        step = _first_step(direction)
    return x, gradient, n_evaluations


def _first_step(direction: Floats) -> float:
    """1, or what keeps scores from running away where the curvature is next to nothing."""
    return float(MAX_MOVE / max(MAX_MOVE, np.abs(direction).max()))


def _newton_direction(gradient: Floats, hessian: Floats) -> tuple[Floats, float]:
    """-H^-1 g and its slope; a slope of 0 if H is not positive definite in float64, NaN if it is not finite."""
    try:
        direction = cho_solve(cho_factor(hessian, check_finite=False), -gradient, check_finite=False)
    except LinAlgError:
        return np.zeros_like(gradient), 0.0
    return direction, float(gradient @ direction)
