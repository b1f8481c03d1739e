"""A few tracks that show what a model does for one playlist. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.ml.selection import top_k

Numbers = NDArray[np.number]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

TRAIN, HELD_OUT, ADDED = "train", "held_out", "added"


class Example(NamedTuple):
    """A track's position, its part in the playlist, and its rank among the candidates, from 1 (None in train)."""

    track: int
    role: str
    rank: int | None


def pick_examples(scores: Numbers, is_train: Bools, is_held_out: Bools, tie_order: Ints, *, n: int) -> list[Example]:
    """At most n tracks of each role, in this order.

    `train`: the tracks that come first in tie_order, which is a draw. `held_out`: those that the model ranks highest.
    `added`: the candidates of the highest rank that are not in the playlist at all. All vectors (n_tracks,); candidates
    are the tracks outside train, ties go by tie_order, as in the metrics.
    """
    train = np.flatnonzero(is_train)
    candidates = np.flatnonzero(~is_train)
    n_held_out = int(np.count_nonzero(is_held_out))
    best = candidates[top_k(scores[candidates], n + n_held_out, tie_order[candidates])]
    rank = {int(track): place for place, track in enumerate(best, start=1)}
    added = [track for track in rank if not is_held_out[track]]
    held_out = np.flatnonzero(is_held_out)
    found = held_out[top_k(scores[held_out], n, tie_order[held_out])]
    return (
        [Example(int(track), TRAIN, None) for track in train[np.argsort(tie_order[train])][:n]]
        + [Example(int(track), HELD_OUT, _rank(int(track), scores, is_train, tie_order)) for track in found]
        + [Example(track, ADDED, rank[track]) for track in added[:n]]
    )


def _rank(track: int, scores: Numbers, is_train: Bools, tie_order: Ints) -> int:
    is_tied_ahead = (scores == scores[track]) & (tie_order < tie_order[track])
    return 1 + int(np.count_nonzero(~is_train & ((scores > scores[track]) | is_tied_ahead)))
