"""What BigQuery says when something is wrong, in one sentence each with what to do about it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions
from google.auth import exceptions as auth
from requests.exceptions import RequestException

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import BigQueryAddress

EXPECTED = (exceptions.GoogleAPIError, auth.GoogleAuthError, RequestException, concurrent.futures.TimeoutError)
QUOTA_REASONS = {"quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded", "concurrentQueryLimitExceeded"}
SILENT_REASONS = {"", "backendError", "badGateway", "internalError"}  # a fault of the service, not of the query
AGAIN = {
    "source": "then start the run again: a query that BigQuery has finished is not paid for twice",
    "destination": "then start the run again: no row is loaded twice",
}


@contextmanager
def in_words(address: BigQueryAddress) -> Iterator[None]:
    """Turn every error of Google's clients into an InputError; none of them passes by trying again at once."""
    try:
        yield
    except EXPECTED as error:
        raise InputError(describe(error, address)) from error


def describe(error: Exception, address: BigQueryAddress) -> str:
    """The sentence for one error."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    said = _said(error)
    if isinstance(error, auth.GoogleAuthError) and not isinstance(error, auth.TransportError):
        return _no_credentials(error)
    if reason_of(error) == "bytesBilledLimitExceeded" or "exceeded limit for bytes billed" in said:
        return over_the_limit(address, said)
    if reason_of(error) in QUOTA_REASONS or isinstance(error, exceptions.TooManyRequests):
        project = address.billing_project
        return f"BigQuery's quota is used up ({said}): wait, or ask for a higher quota of project {project}."
    if isinstance(error, exceptions.Unauthorized):
        return _no_credentials(error)
    if isinstance(error, exceptions.Forbidden):
        return _forbidden(error, address)
    if isinstance(error, exceptions.NotFound):
        return _not_found(error, address)
    if _is_silence(error):
        why = type(error).__name__ if isinstance(error, RequestException) else said
        return f"BigQuery does not answer for {address} ({why}): check the network, {AGAIN[address.kind]}."
    refuses = "refuses" if address.kind == "destination" else "cannot answer a query on"
    return f"BigQuery {refuses} {address} ({reason_of(error) or type(error).__name__}: {said})."


def over_the_limit(address: BigQueryAddress, what: str) -> str:
    """The sentence for a query that would cost more than it may."""
    return (
        f"a query on {address} is over the limit of bytes ({what}): raise sample.maximum_bytes_billed "
        "if it may cost that, or point the source at smaller tables."
    )


def reason_of(error: Exception) -> str:
    """BigQuery's short code for an error, such as notFound; "" if it gave none."""
    first: Any = next(iter(getattr(error, "errors", None) or []), None)
    return str(first.get("reason") or "") if isinstance(first, dict) else ""


def _said(error: Exception) -> str:
    """BigQuery's own words on one line, without the address that was called."""
    first: Any = next(iter(getattr(error, "errors", None) or []), None)
    text = first.get("message") if isinstance(first, dict) else None
    text = text or getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0].rstrip(".")


def _no_credentials(error: Exception) -> str:
    return (
        f"there are no Google credentials that work ({_said(error)}): run `gcloud auth application-default login`, or "
        "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file."
    )


def _forbidden(error: Exception, address: BigQueryAddress) -> str:
    said = _said(error)
    if "has not been used in project" in said or "is disabled" in said or "accessNotConfigured" in reason_of(error):
        return (
            f"an API is not enabled ({said}): run `gcloud services enable bigquery.googleapis.com "
            f"bigquerystorage.googleapis.com --project {address.billing_project}`."
        )
    if reason_of(error) == "billingNotEnabled":
        return f"project {address.billing_project} has no billing account ({said}): link one, or set billing_project=."
    return f"access to {address} is denied ({said}): grant {_roles(said.lower(), address)}, {AGAIN[address.kind]}."


def _roles(said: str, address: BigQueryAddress) -> str:
    """The role with the permission that a refusal names; if it names none, all that are needed."""
    billing, is_source = address.billing_project, address.kind == "source"
    jobs = f"roles/bigquery.jobUser on project {billing}"
    tables = f"roles/bigquery.data{'Viewer' if is_source else 'Editor'} on dataset {address.project}.{address.dataset}"
    if "bigquery.jobs" in said:
        return jobs
    if "bigquery.readsessions" in said:
        return f"roles/bigquery.readSessionUser on project {billing}"
    if "bigquery.tables.create" in said and address.scratch:
        return f"roles/bigquery.dataEditor on dataset {billing}.{address.scratch}"
    if "table" in said or "dataset" in said:
        return tables
    if is_source:
        return f"{tables}, roles/bigquery.jobUser and roles/bigquery.readSessionUser on project {billing}"
    return f"{tables} and {jobs}"


def _not_found(error: Exception, address: BigQueryAddress) -> str:
    said, place = _said(error), f"{address.project}.{address.dataset}"
    if "was not found in location" in said:
        what = f"give the location of dataset {place} (location=EU, say)"
    elif address.kind == "destination":
        new = f"--location={address.location or 'EU'} {address.project}:{address.dataset}"
        what = f"create the dataset first (bq mk {new}), or correct the name"
    elif "not found: dataset" in said.lower():
        what = f"check project and dataset ({place}) and, if it has one, the scratch dataset"
    else:
        what = f"put the tables playlists and tracks_headers into dataset {place}, or check project and dataset"
    return f"{address} is not there ({said}): {what}."


def _is_silence(error: Exception) -> bool:
    if isinstance(error, (RequestException, auth.TransportError, concurrent.futures.TimeoutError)):
        return True
    return isinstance(error, (exceptions.ServerError, exceptions.RetryError)) and reason_of(error) in SILENT_REASONS
