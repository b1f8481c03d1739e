"""The columns that differ from playlist to playlist, loaded once per process."""

from __future__ import annotations

import numpy as np

from tasks.batches import Fold
from tasks.matrices import load_catalogue, load_counts, once_per_process
from tasks.ml.entities import index_entities
from tasks.ml.playlist_rows import EmbeddedColumns, PlaylistColumns
from tasks.references import FeatureMatrix, FileRef
from tasks.spaces import AFFINITY_SUFFIX, read_space
from tasks.storage import Storage


@once_per_process
def load_playlist_columns(
    storage: str, features: FeatureMatrix, tracks: FileRef, counts: FileRef, fold: Fold, is_for_fit: bool
) -> PlaylistColumns:
    """The columns that are a playlist's own; related tracks are the fit rows to fit, and all tracks to score."""
    catalogue = load_catalogue(storage, tracks)
    n_train = load_counts(storage, counts, fold)
    is_listed = n_train > 0 if is_for_fit else np.ones(len(n_train), bool)
    kinds = [name.removesuffix(AFFINITY_SUFFIX) for name in features.per_playlist]
    return PlaylistColumns(
        embedded=tuple(
            EmbeddedColumns(read_space(Storage(storage), file), catalogue.codes(kind), _place(features.columns, kind))
            for kind, file in features.spaces.items()
        ),
        related=tuple(index_entities(catalogue.codes(kind), is_listed) for kind in kinds),
    )


def _place(columns: list[str], kind: str) -> slice:
    places = [i for i, name in enumerate(columns) if name.startswith(f"{kind}_vector_")]
    return slice(places[0], places[-1] + 1)
