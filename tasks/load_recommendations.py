"""Recommendations from the storage into a table of a warehouse."""

from __future__ import annotations

from prefect import task

from tasks.publish_tables import parts_of
from tasks.recommend import RECOMMENDATIONS
from tasks.references import Recommendations
from tasks.warehouse.bigquery_address import parse_table
from tasks.warehouse.bigquery_tables import replace_table


@task(task_run_name="load recommendations", persist_result=False)
def load_recommendations(storage: str, batches: list[Recommendations], destination: str) -> int:
    """Replace a BigQuery table by the recommendations of all batches, and return their number of rows.

    Never cached: what the table holds now is not known here; loading the same again changes nothing. Raises InputError
    if the destination is no table or BigQuery refuses.
    """
    parts = parts_of(storage, [batch.file for batch in batches])
    replace_table(parse_table(destination), RECOMMENDATIONS, parts)
    return sum(part.rows for part in parts)
