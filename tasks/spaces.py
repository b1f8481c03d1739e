"""Entity spaces on the disk: a row per artist, or per album, in the order of the catalogue's codes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.ml.embeddings import EntitySpace
from tasks.references import FileRef
from tasks.storage import Storage

AFFINITY_SUFFIX = "_affinity"


def write_space(store: Storage, space: EntitySpace) -> FileRef:
    """Columns idf, is_alone, projection_i and sum_i."""
    columns = {"idf": space.idf, "is_alone": space.is_alone}
    columns |= {f"projection_{i}": values for i, values in enumerate(space.projection.T)}
    columns |= {f"sum_{i}": values for i, values in enumerate(space.sums.T)}
    return store.write_table("spaces", pa.table(columns))


def read_space(store: Storage, file: FileRef) -> EntitySpace:
    """The space that `write_space` wrote."""
    table = store.read_table(file)

    def matrix(prefix: str) -> np.ndarray:
        names = [name for name in table.column_names if name.startswith(prefix)]
        return np.column_stack([table[name].to_numpy() for name in names])

    return EntitySpace(
        idf=table["idf"].to_numpy(),
        is_alone=table["is_alone"].to_numpy(),
        projection=matrix("projection_"),
        sums=matrix("sum_"),
    )
