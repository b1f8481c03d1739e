"""An HTTP proxy on 127.0.0.1 that spoils answers: a service on a bad day."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
PASSING = ("503", "429", "reset", "lost answer", "cut short", "cut short unseen")


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `target`, and spoils a share `rate` of the answers in one of the ways `faults`.

    A number is answered in place of the service. "reset": the connection ends before the request is passed on. "lost
    answer": after it. "cut short": half of the body, then the connection ends. "cut short unseen": half of the body,
    with a length that says it is all. The sequence of faults follows from the seed. counts: requests by fault, "" for
    none; begin_after: requests that are passed on unspoilt first.
    """

    daemon_threads = True

    def __init__(self, target: str, rate: float, faults: tuple[str, ...], begin_after: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.rate, self.faults, self.begin_after = rate, faults, begin_after
        self.counts: Counter[str] = Counter()
        self._random, self._lock = random.Random(7), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str:
        with self._lock:
            is_spoilt = self.counts.total() >= self.begin_after and self._random.random() < self.rate
            fault = self._random.choice(self.faults) if is_spoilt else ""
            self.counts[fault] += 1
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault()
        if fault == "reset":
            self.close_connection = True
        elif fault.isdigit():
            self._answer(int(fault), {"Content-Type": "application/json"}, b'{"error": {"message": "planted"}}')
        else:
            status, headers, content = self._ask(body)
            if fault == "lost answer":
                self.close_connection = True
            elif fault.startswith("cut short") and content:
                self._answer(status, headers, content[: len(content) // 2], None if "unseen" in fault else len(content))
                self.close_connection = True
            else:
                self._answer(status, headers, content)

    do_GET = do_POST = do_PUT = do_DELETE = _pass_on  # noqa: N815  # http.server's names

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                own = urlsplit(self.server.url).netloc  # what an answer sends the client on to comes through here too
                self.send_header(name, value.replace(self.server.target, own) if name == "Location" else value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def spoiled(
    target: str, monkeypatch: pytest.MonkeyPatch, rate: float, faults: tuple[str, ...] = PASSING, begin_after: int = 0
) -> Iterator[Proxy]:
    """Put a proxy between the storage client and the emulator for a while."""
    with Proxy(target, rate, faults, begin_after) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        try:
            with monkeypatch.context() as patch:
                patch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
                yield proxy
        finally:
            proxy.shutdown()
