"""A stream that breaks off goes on where it ended, and comes to an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.api_core.exceptions import GoogleAPIError
from google.cloud.bigquery_storage_v1.types import ReadRowsRequest, ReadRowsResponse

from tasks.warehouse import bigquery_clients
from tasks.warehouse.bigquery_clients import open_read_client

STREAM = "projects/p/locations/l/sessions/s/streams/x"
Answer = Callable[[int, int], Iterator[ReadRowsResponse | tuple[grpc.StatusCode, str]]]
DOWN = (grpc.StatusCode.UNAVAILABLE, "down")
RESET = (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")


@contextmanager
def serve(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A Storage Read API; answer: what comes for the call of a number, from an offset on. Yields the offsets."""
    asked: list[int] = []

    def read_rows(request: ReadRowsRequest, context: grpc.ServicerContext) -> Iterator[ReadRowsResponse]:
        asked.append(request.offset)
        for step in answer(len(asked), request.offset):
            if isinstance(step, tuple):
                context.abort(*step)
            yield step

    method = grpc.unary_stream_rpc_method_handler(
        read_rows,
        request_deserializer=ReadRowsRequest.deserialize,
        response_serializer=ReadRowsResponse.serialize,
    )
    handler = grpc.method_handlers_generic_handler(
        "google.cloud.bigquery.storage.v1.BigQueryRead", {"ReadRows": method}
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", f"127.0.0.1:{port}")
    try:
        yield asked
    finally:
        server.stop(None).wait()


def n_rows() -> int:
    with open_read_client() as client:
        return sum(message.row_count for message in client.read_rows(STREAM))


@pytest.mark.parametrize("fault", [DOWN, RESET], ids=["down", "reset"])
@pytest.mark.parametrize("at_once", [True, False], ids=["on connect", "in the middle"])
def test_a_broken_stream_goes_on_where_it_ended(
    fault: tuple[grpc.StatusCode, str], at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(call: int, offset: int) -> Iterator[ReadRowsResponse | tuple[grpc.StatusCode, str]]:
        if call == 1 and at_once:
            yield fault
        yield ReadRowsResponse(row_count=10)
        if offset < 20:
            yield fault

    with serve(answer, monkeypatch) as asked:
        assert n_rows() == 30
    assert asked == [0] * at_once + [0, 10, 20]


@pytest.mark.parametrize("fault", [DOWN, RESET], ids=["down", "reset"])
def test_a_stream_without_progress_is_given_up(
    fault: tuple[grpc.StatusCode, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(call: int, offset: int) -> Iterator[ReadRowsResponse | tuple[grpc.StatusCode, str]]:
        yield ReadRowsResponse(row_count=0)
        yield fault

    monkeypatch.setattr(bigquery_clients, "SECONDS_TO_RETRY", 0.5)
    started = time.monotonic()
    with serve(answer, monkeypatch) as asked, pytest.raises(GoogleAPIError, match=r"broke off .* times without a row"):
        n_rows()
    assert time.monotonic() - started < 5
    assert 1 < len(asked) < 10
