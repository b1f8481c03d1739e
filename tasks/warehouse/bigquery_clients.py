"""BigQuery's two clients: who they are, where they call, and how long they try."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.reader import ReadRowsStream
from google.cloud.bigquery_storage_v1.services import big_query_read
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import BigQueryAddress

REST_EMULATOR = "BIGQUERY_EMULATOR_HOST"  # read by google-cloud-bigquery itself
READ_EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"  # ours: the read client knows no variable
SECONDS_TO_RETRY = 40.0  # left alone the clients try a dead address for 10 minutes, a dead stream for a day
SECONDS_PER_REQUEST = 50.0
SECONDS_PER_STREAM = 3600.0


def retry() -> Retry:
    """The client's own choice of what is worth another try, ended within a minute."""
    return DEFAULT_RETRY.with_timeout(SECONDS_TO_RETRY)


def limits() -> dict[str, Any]:
    """Retry and timeout of one request, as options of the client's methods."""
    return {"retry": retry(), "timeout": SECONDS_PER_REQUEST}


def open_client(address: BigQueryAddress) -> bigquery.Client:
    """A client that runs jobs in the billing project, with Application Default Credentials.

    Against an emulator (BIGQUERY_EMULATOR_HOST) it is anonymous. Raises google.auth's DefaultCredentialsError.
    """
    credentials = AnonymousCredentials() if os.environ.get(REST_EMULATOR) else None
    return bigquery.Client(project=address.billing_project, credentials=credentials, location=address.location)


class ReadClient(BigQueryReadClient):
    """The client of the Storage Read API, with an end to its retries wherever it is used."""

    def create_read_session(self, *args: Any, **options: Any) -> Any:
        """As in the base class, whatever retry and timeout the caller gave."""
        options |= {"retry": _read_retry(), "timeout": SECONDS_PER_REQUEST}
        return super().create_read_session(*args, **options)

    def read_rows(self, name: str, offset: int = 0, **_: Any) -> ReadRowsStream:  # type: ignore[override]  # as the base
        """As in the base class, whatever the caller's options; goes on where a broken stream ended."""
        opener = StreamOpener(partial(big_query_read.BigQueryReadClient.read_rows, self))
        return ReadRowsStream(opener, name, offset, {"retry": _read_retry(), "timeout": SECONDS_PER_STREAM})


class StreamOpener:
    """What a ReadRowsStream opens itself with again where it broke off; left alone it would do so for ever."""

    def __init__(self, open_at: Callable[..., Any]) -> None:
        self._open_at = open_at
        self._offset, self._since, self._n_tries = -1, 0.0, 0

    def read_rows(self, *, read_stream: str, offset: int, **options: Any) -> Any:
        """The messages from a row on; raises ServiceUnavailable once no new row has come for SECONDS_TO_RETRY."""
        if offset > self._offset:
            self._offset, self._n_tries = offset, 0
        else:
            self._since = self._since if self._n_tries else time.monotonic()
            self._n_tries += 1
            if time.monotonic() - self._since > SECONDS_TO_RETRY:
                raise exceptions.ServiceUnavailable(f"a stream broke off {self._n_tries} times without a row")
            time.sleep(min(0.1 * 2**self._n_tries, 5))
        return self._open_at(read_stream=read_stream, offset=offset, **options)


def open_read_client() -> ReadClient:
    """A client of the Storage Read API, with Application Default Credentials, or anonymous against an emulator."""
    if not os.environ.get(REST_EMULATOR):
        return ReadClient()
    host = os.environ.get(READ_EMULATOR)
    if not host:
        raise InputError(f"{REST_EMULATOR} is set and {READ_EMULATOR} is not: give the emulator's gRPC host:port too.")
    channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])
    return ReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def _is_passing(error: Exception) -> bool:
    passing = (exceptions.ServiceUnavailable, exceptions.DeadlineExceeded, exceptions.Unknown)
    return isinstance(error, passing) or "RST_STREAM" in str(error)  # as ReadRowsStream counts them


def _read_retry() -> Retry:
    return Retry(predicate=_is_passing, initial=0.1, maximum=10.0, timeout=SECONDS_TO_RETRY)
