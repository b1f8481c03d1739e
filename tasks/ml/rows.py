"""Rows in which playlists differ from a matrix that they share. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class OwnRows:
    """The rows in which p playlists differ from the shared ones, grouped by playlist.

    indptr: (p + 1,) int64; playlist j owns entries indptr[j] to indptr[j + 1]. rows: (m,) row of SharedRows.X, unique
    within a playlist. is_positive: (m,) bool. X: (m, d) float32, the playlist's own values of the shared columns;
    None means SharedRows.X[rows]. extra: (m, e) float32, values of columns that exist per playlist and are 0 on every
    row not listed here; None means e = 0.
    """

    indptr: Ints
    rows: Ints
    is_positive: NDArray[np.bool_]
    X: Floats | None = None
    extra: Floats | None = None
