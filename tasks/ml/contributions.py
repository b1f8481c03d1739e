"""How much each group of features moves a playlist's scores. Pure numerics: no Prefect, no Google, no I/O.

A group's contribution to a track's logit is the sum of coefficient times value over the group's columns. Two numbers
per playlist and group, both in units of the logit: `spread`, its standard deviation over the candidates, and `lift`,
its mean over the held-out tracks minus its mean over the candidates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

SOURCES = ("sound", "artist", "album", "catalogue")


def group_of(column: str) -> str:
    """The group of a column: its name without a trailing number (energy_3: energy, artist_vector_17: artist_vector)."""
    return re.sub(r"_\d+$", "", column)


def split_coefficients(columns: Sequence[str], coef: Floats) -> tuple[list[str], NDArray[np.float64]]:
    """(groups, C): C (d, g) has the coefficients (d,) of each group in a column of its own, so that X C contributes.

    Groups come in the order of their first column.
    """
    names = [group_of(column) for column in columns]
    groups = list(dict.fromkeys(names))
    C = np.zeros((len(columns), len(groups)))
    C[np.arange(len(columns)), [groups.index(name) for name in names]] = coef
    return groups, C


def source_of(column: str) -> str:
    """What a column tells of a track: "artist", "album", "catalogue" (how many tracks these have) or "sound"."""
    kind, _, rest = column.partition("_")
    if kind not in ("artist", "album"):
        return "sound"
    return "catalogue" if rest == "n_tracks" else kind


def contributions_by_source(columns: Sequence[str], coef: Floats, values: Floats) -> NDArray[np.float64]:
    """What each of SOURCES adds to n logits, (n, 4), in their order.

    columns, coef: (d,). values: (n, d), measured from wherever a contribution is to be 0.
    """
    places = [SOURCES.index(source_of(column)) for column in columns]
    C = np.zeros((len(columns), len(SOURCES)))
    C[np.arange(len(columns)), places] = coef
    return values.astype(np.float64) @ C


def dense_contributions(candidates: Floats, held_out: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(spread, lift), (g,) each, from contributions (n, g) to some candidates and (h, g) to the held-out tracks.

    NaN where there is no candidate, and lift NaN without a held-out track.
    """
    n_groups = candidates.shape[1]
    if not len(candidates):
        return np.full(n_groups, np.nan), np.full(n_groups, np.nan)
    lift = held_out.mean(axis=0) - candidates.mean(axis=0) if len(held_out) else np.full(n_groups, np.nan)
    return candidates.std(axis=0), lift


def sparse_contributions(
    values: Floats, is_held_out: Bools, n_candidates: int, n_held_out: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`dense_contributions` over all candidates, when only m of them have values (m, g) and the others are 0.

    is_held_out: (m,). The counts include the candidates that are not listed.
    """
    if not n_candidates:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    mean = values.sum(axis=0) / n_candidates
    variance = (((values - mean) ** 2).sum(axis=0) + (n_candidates - len(values)) * mean**2) / n_candidates
    if not n_held_out:
        return np.sqrt(variance), np.full(values.shape[1], np.nan)
    return np.sqrt(variance), values[is_held_out].sum(axis=0) / n_held_out - mean
