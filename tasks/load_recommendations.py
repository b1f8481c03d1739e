"""Recommendations from the storage into a table of a warehouse."""

from __future__ import annotations

from functools import partial

from prefect import task

from tasks.recommend import RECOMMENDATIONS
from tasks.references import Recommendations
from tasks.storage import Storage
from tasks.warehouse.bigquery_replace import parse_table, replace_table


@task(task_run_name="load recommendations", persist_result=False)
def load_recommendations(storage: str, batches: list[Recommendations], destination: str) -> int:
    """Replace a BigQuery table by the recommendations of all batches, and return their number of rows.

    Never cached: what the table holds now is not known here; loading the same again changes nothing. Raises InputError
    if the destination is no table or BigQuery refuses.
    """
    files = [batch.file for batch in batches if batch.file.rows]
    n_rows = sum(file.rows for file in files)
    opened = [partial(Storage(storage).files.open, file) for file in files]
    replace_table(parse_table(destination), RECOMMENDATIONS, opened, n_rows)
    return n_rows
