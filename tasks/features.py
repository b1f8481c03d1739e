"""The features of a fold: every extracted track, with constants from that fold's train part alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.batches import Fold
from tasks.checkpoints import checkpointed
from tasks.errors import InputError
from tasks.matrices import load_catalogue, load_counts, load_train, use_one_blas_thread
from tasks.ml.audio import AudioColumns, audio_columns
from tasks.ml.track_columns import EntityColumns, entity_columns
from tasks.references import FeatureMatrix, FileRef
from tasks.spaces import AFFINITY_SUFFIX, write_space
from tasks.storage import Storage
from tasks.warehouse.contract import FEATURES

KINDS = ("artist", "album")


@checkpointed(task_run_name="build features ({fold})")
def build_features(
    *,
    storage: str,
    memberships: FileRef,
    tracks: FileRef,
    counts: FileRef,
    fold: Fold,
    audio: str,
    embeddings: int,
    catalogue: bool,
    affinity: bool,
) -> FeatureMatrix:
    """One float32 column per feature, one row per extracted track; the constants stand in the file's metadata.

    audio "none", embeddings 0 and the two flags leave a block out. Raises InputError if no column is left.
    """
    use_one_blas_thread()
    store = Storage(storage)
    is_fit = load_counts(storage, counts, fold) > 0
    codes, train = load_catalogue(storage, tracks), load_train(storage, memberships, fold)
    blocks: list[AudioColumns | EntityColumns] = []
    if audio != "none":
        blocks.append(audio_columns(_read_audio(store, tracks), is_fit, names=list(FEATURES), kind=audio))
    spaces = {}
    for kind in KINDS if embeddings or catalogue else ():
        options: dict[str, Any] = {"kind": kind, "n_dimensions": embeddings, "catalogue": catalogue}
        made = entity_columns(*train, codes.codes(kind), is_fit, **options)
        blocks.append(made)
        if made.space is not None:
            spaces[kind] = write_space(store, made.space)
    dropped = {name: reason for block in blocks for name, reason in block.dropped.items()}
    columns = [name for block in blocks for name in block.columns]
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in dropped.items())
        raise InputError(f"no feature can be used ({reasons}): check the source's tables or take other features.")
    return FeatureMatrix(
        file=_write(store, blocks, columns),
        columns=columns,
        spaces=spaces,
        per_playlist=[f"{kind}{AFFINITY_SUFFIX}" for kind in KINDS if affinity],
        dropped=dropped,
    )


def _read_audio(store: Storage, tracks: FileRef) -> np.ndarray:
    table = store.read_table(tracks, columns=list(FEATURES))
    return np.column_stack([table[name].to_numpy() for name in FEATURES])


def _write(store: Storage, blocks: list[AudioColumns | EntityColumns], columns: list[str]) -> FileRef:
    values = [column for block in blocks for column in block.X.T]
    constants = {name: value for block in blocks for name, value in block.constants.items()}
    matrix = pa.table(dict(zip(columns, values, strict=True)))
    return store.write_table(
        "features", matrix.replace_schema_metadata({"constants": json.dumps(constants, sort_keys=True)})
    )
