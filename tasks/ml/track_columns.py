"""The columns of the shared matrix that come from names, not from audio. Pure numerics: no Prefect, no Google, no I/O.

All constants come from one fold's train memberships and fit rows, the tracks with at least one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.ml.catalogue import catalogue_column
from tasks.ml.embeddings import N_DIMENSIONS, EntitySpace, fit_space, vectors
from tasks.ml.entities import count_entities

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class EntityColumns:
    """What one kind of entity (artist or album) adds to the shared matrix.

    X: (n, d) float32. columns: (d,) names, those of the embedding first. dropped: reason by column. constants: of the
    catalogue column, plain values. space: of the embedding, None if it was not asked for or has no dimension.
    """

    X: NDArray[np.float32]
    columns: list[str]
    dropped: dict[str, str]
    constants: dict[str, Any]
    space: EntitySpace | None


def entity_columns(
    indptr: Ints,
    tracks: Ints,
    codes: Ints,
    is_fit: NDArray[np.bool_],
    *,
    kind: str,
    n_dimensions: int = N_DIMENSIONS,
    catalogue: bool = True,
) -> EntityColumns:
    """Embedding and catalogue columns of every track.

    Playlist j has the train tracks tracks[indptr[j]:indptr[j + 1]]; all playlists of the fold. codes: (n,) entity of
    each track in an order of the names, -1 where unknown; so a track without a train membership changes no byte of
    the other rows. kind names the columns ("artist"). n_dimensions 0 leaves the embedding out, catalogue=False its
    column; a column that says nothing about the fit rows is dropped with a reason.
    """
    blocks: list[NDArray[np.float32]] = []
    dropped: dict[str, str] = {}
    constants: dict[str, Any] = {}
    space = fit_space(count_entities(indptr, tracks, codes), n_dimensions=n_dimensions) if n_dimensions else None
    if space is not None and not space.sums.shape[1]:
        dropped[f"{kind}_vector"] = f"no train track has a known {kind}"
        space = None
    if space is not None:
        blocks.append(vectors(space)[codes])
    names = [f"{kind}_vector_{i}" for i in range(blocks[0].shape[1])] if blocks else []
    if catalogue:
        column = catalogue_column(codes, is_fit)
        if column.x is None:
            dropped[f"{kind}_n_tracks"] = f"every train track's {kind} has as many other train tracks"
        else:
            blocks.append(column.x[:, None])
            names.append(f"{kind}_n_tracks")
            constants[f"{kind}_n_tracks"] = {"mean": column.mean, "std": column.std}
    X = np.concatenate([np.empty((len(codes), 0), np.float32), *blocks], axis=1)
    return EntityColumns(X, names, dropped, constants, space)
