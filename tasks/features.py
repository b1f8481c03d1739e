"""The feature matrix of a fold: every extracted track, with constants from the tracks of that fold's train part."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from tasks.batches import Fold
from tasks.checkpoints import checkpointed
from tasks.errors import InputError
from tasks.matrices import load_counts
from tasks.ml.audio import audio_columns
from tasks.references import FeatureMatrix, FileRef
from tasks.storage import Storage
from tasks.warehouse.contract import FEATURES


@checkpointed(task_run_name="build {fold} features")
def build_features(*, storage: str, tracks: FileRef, counts: FileRef, fold: Fold, audio: str) -> FeatureMatrix:
    """One float32 column per feature, one row per extracted track; the constants stand in the file's metadata.

    Raises InputError if no feature varies over the train tracks.
    """
    store = Storage(storage)
    table = store.read_table(tracks, columns=list(FEATURES))
    features = np.column_stack([table[name].to_numpy() for name in FEATURES])
    is_fit = load_counts(storage, counts, fold) > 0
    made = audio_columns(features, is_fit, names=list(FEATURES), kind=audio)
    if not made.columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in made.dropped.items())
        raise InputError(f"no audio feature can be used ({reasons}): check the table tracks_headers of the source.")
    matrix = pa.table(dict(zip(made.columns, made.X.T, strict=True)))
    constants = json.dumps(made.constants, sort_keys=True)
    file = store.write_table("features", matrix.replace_schema_metadata({"constants": constants}))
    return FeatureMatrix(file=file, columns=made.columns, dropped=made.dropped)
