"""Queries that are paid for once: a job is named by what it computes, and found again by whoever needs it next."""

from __future__ import annotations

import hashlib
import json
import time

from google.api_core.exceptions import Conflict, Forbidden, NotFound
from google.cloud import bigquery

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import BigQueryAddress
from tasks.warehouse.bigquery_clients import SECONDS_PER_REQUEST, limits

MAX_ATTEMPTS = 100  # of one query, by anybody: a job's name is taken for six months, whatever became of it
MAX_PASSING_FAULTS = 3
PASSING_FAULTS = {"backendError", "internalError", "jobBackendError", "jobInternalError"}
MAX_JOB_SECONDS = 3600
PAUSES = (0.1, 0.2, 0.5, 1.0)  # seconds between looks at a running job; the last one repeats

Parameters = dict[str, str | int | bool]


def estimate_bytes(client: bigquery.Client, address: BigQueryAddress, statement: str, parameters: Parameters) -> int:
    """How many bytes BigQuery says the statement would process: a dry run, which costs nothing."""
    config = _config(address, parameters)
    config.dry_run = True
    job = client.query(statement, job_config=config, job_retry=None, **limits())
    return int(job.total_bytes_processed or 0)


def result_table(
    client: bigquery.Client,
    address: BigQueryAddress,
    statement: str,
    parameters: Parameters,
    snapshot: dict[str, str],
    maximum_bytes_billed: int | None,
) -> bigquery.Table:
    """The table with the statement's result, by a job that exists already or by a new one.

    A job's name is made of statement, parameters and the state of the tables, and the number of the attempt: a run that
    was killed finds the job that it had started, running or finished, and pays nothing. The next attempt is made
    where a job failed, was not ours, or its result has expired or may not be read.

    Raises the client's errors, and InputError if a job takes longer than an hour.
    """
    key = _key(address, statement, parameters, snapshot)
    config = _config(address, parameters)
    config.maximum_bytes_billed, config.job_timeout_ms = maximum_bytes_billed, MAX_JOB_SECONDS * 1000
    kept = f"{address.billing_project}.{address.scratch}.sample_{key}" if address.scratch else None
    if kept:
        statement = _keep(kept, statement)
    n_started = 0
    for attempt in range(MAX_ATTEMPTS):
        job_id = f"playlist-models-{key}-{attempt}"
        job, is_new = _start_or_attach(client, job_id, statement, config)
        if job is None:
            continue
        _wait(job)
        n_started += is_new
        if job.error_result is None:
            table = _find_table(client, kept or job.destination, required=is_new)
            if table is not None:
                return table
        elif is_new and not (n_started < MAX_PASSING_FAULTS and job.error_result.get("reason") in PASSING_FAULTS):
            raise job.exception(timeout=SECONDS_PER_REQUEST)
    raise InputError(
        f"{address}: the {MAX_ATTEMPTS} jobs playlist-models-{key}-… have all failed or "
        "expired: change sample.seed, or any row of the source, and with it the jobs' name."
    )


def _key(address: BigQueryAddress, statement: str, parameters: Parameters, snapshot: dict[str, str]) -> str:
    asked = [address.project, address.dataset, address.scratch, statement, parameters, snapshot]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]


def _config(address: BigQueryAddress, parameters: Parameters) -> bigquery.QueryJobConfig:
    types = {str: "STRING", bool: "BOOL", int: "INT64"}
    return bigquery.QueryJobConfig(
        default_dataset=f"{address.project}.{address.dataset}",
        query_parameters=[
            bigquery.ScalarQueryParameter(name, types[type(value)], value) for name, value in parameters.items()
        ],
    )


def _keep(table: str, statement: str) -> str:
    """Keep the result for a day. The name is safe: its parts were checked by pattern, and the key is hexadecimal."""
    expiry = "TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)"
    return f"CREATE TABLE IF NOT EXISTS `{table}` OPTIONS (expiration_timestamp = {expiry}) AS\n{statement}"


def _start_or_attach(
    client: bigquery.Client, job_id: str, statement: str, config: bigquery.QueryJobConfig
) -> tuple[bigquery.QueryJob | None, bool]:
    """The job of this name and whether it is new; None if the name is taken by a job that is not ours to use."""
    try:
        return client.query(statement, job_config=config, job_id=job_id, job_retry=None, **limits()), True
    except Conflict:
        pass
    try:
        job = client.get_job(job_id, **limits())
    except (Forbidden, NotFound):  # another account's, or one in another location
        return None, False
    if not isinstance(job, bigquery.QueryJob) or job.query != statement:
        return None, False
    return job, False


def _wait(job: bigquery.QueryJob) -> None:
    started, looks = time.monotonic(), 0
    while job.state != "DONE":
        if time.monotonic() - started > MAX_JOB_SECONDS + SECONDS_PER_REQUEST:
            raise InputError(f"BigQuery's job {job.job_id} is not done after an hour: look at it in the console.")
        time.sleep(PAUSES[min(looks, len(PAUSES) - 1)])
        looks += 1
        job.reload(**limits())


def _find_table(
    client: bigquery.Client, table: bigquery.TableReference | str, *, required: bool
) -> bigquery.Table | None:
    """The table that a finished job wrote, if this account may read it.

    None if it has expired, as both kinds do after a day, or is the hidden result of another account's query: such a
    job shows itself, perhaps even its table, but not the rows.
    """
    try:
        found = client.get_table(table, **limits())
        if not required:
            next(client.list_rows(found, max_results=1, **limits()).pages)
        return found
    except (Forbidden, NotFound):
        if required:
            raise
        return None
