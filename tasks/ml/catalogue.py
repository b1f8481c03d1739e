"""How many train tracks an artist and an album have. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class CatalogueColumn:
    """x: (n,) float32, or None if it is the same for all fit rows. mean, std: constants, of the fit rows."""

    x: NDArray[np.float32] | None
    mean: float
    std: float


def catalogue_column(codes: Ints, is_fit: NDArray[np.bool_]) -> CatalogueColumn:
    """Standardised log1p of the number of OTHER fit tracks of each track's entity.

    codes: (n,) entity of each track, -1 where unknown (0 others). A fit row is a track with a train membership. Only
    these are counted, because a track that exists through a held-out membership alone must leave no trace; and a
    track never counts itself, because otherwise "no track" would mark those that only held-out memberships know.
    """
    n_fit = np.bincount(codes[is_fit & (codes >= 0)], minlength=int(codes.max(initial=-1)) + 2)
    n_others = np.where(codes >= 0, n_fit[codes] - is_fit, 0)
    values = np.log1p(n_others)
    mean, std = (float(values[is_fit].mean()), float(values[is_fit].std())) if is_fit.any() else (0.0, 0.0)
    if std == 0:
        return CatalogueColumn(None, mean, std)
    return CatalogueColumn(((values - mean) / std).astype(np.float32), mean, std)
