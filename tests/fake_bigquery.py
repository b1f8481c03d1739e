"""What no emulator does: a BigQuery over HTTP that answers as a test tells it to. It has tables and jobs, no data."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.warehouse.contract import TABLES

TYPES = {"id": "STRING", "text": "STRING", "number": "FLOAT"}
Answer = tuple[int, dict[str, Any]]


@dataclass
class Job:
    """A job that exists before anybody asks for it.

    query: None is whatever is asked under its name. n_looks: how often it is seen running. error: its reason.
    """

    query: str | None = None
    n_looks: int = 0
    error: str | None = None


@dataclass
class FakeBigQuery:
    """Answers, to be changed by a test, and what was asked.

    refusals: pattern of "GET /path" to status, reason and message. passing: the same, each for one request alone.
    table: what is different of every table. n_bytes: of every dry run. jobs: by attempt, what is there already.
    outcomes: by attempt, the reason for which a new job fails. destination: of every job. started: new jobs.
    """

    address: str = ""
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    passing: list[tuple[str, int, str, str]] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    n_bytes: int = 1000
    jobs: dict[int, Job] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    destination: tuple[str, str, str] = ("test-project", "hidden", "result")
    started: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        for i, (pattern, *why) in enumerate(self.passing):
            if re.search(pattern, f"{method} {path}"):
                del self.passing[i]
                return refusal(*why)
        for pattern, (status, reason, message) in self.refusals.items():
            if re.search(pattern, f"{method} {path}"):
                return refusal(status, reason, message)
        if found := re.search(r"/projects/([^/]+)/datasets/([^/]+)/tables/([^/?]+)", path):
            return 200, self._table(*found.groups())
        if found := re.search(r"/projects/([^/]+)/datasets/([^/?]+)(\?|$)", path):
            return 200, {"datasetReference": {"projectId": found[1], "datasetId": found[2]}}
        if method == "POST":
            return self._insert(body)
        name = path.split("?")[0].rsplit("/", 1)[1]
        return 200, self._existing(name)

    def _table(self, project: str, dataset: str, table: str) -> dict[str, Any]:
        fields = [{"name": name, "type": TYPES[kind]} for name, kind in TABLES.get(table, {"track_id": "id"}).items()]
        return {
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
            "schema": {"fields": fields},
            "type": "TABLE",
            "etag": "e",
            "numRows": "3",
            "lastModifiedTime": "1700000000000",
            "location": "EU",
        } | self.table

    def _insert(self, body: dict[str, Any]) -> Answer:
        if body["configuration"].get("dryRun"):
            size = {"totalBytesProcessed": str(self.n_bytes)}
            return 200, self._job(body, "dry", None) | {"statistics": size | {"query": size}}
        name = body["jobReference"]["jobId"]
        attempt = int(name.rsplit("-", 1)[1])
        self.asked[name] = body
        if attempt in self.jobs:
            return refusal(409, "duplicate", f"Already Exists: Job {name}")
        self.started.append(body)
        return 200, self._job(body, name, self.outcomes.get(attempt))

    def _existing(self, name: str) -> dict[str, Any]:
        job = self.jobs[int(name.rsplit("-", 1)[1])]
        resource = self._job(self.asked[name], name, job.error)
        if job.query is not None:
            resource["configuration"]["query"]["query"] = job.query
        if job.n_looks:
            job.n_looks -= 1
            resource["status"] = {"state": "RUNNING"}
        return resource

    def _job(self, body: dict[str, Any], name: str, error: str | None) -> dict[str, Any]:
        project, dataset, table = self.destination
        configuration = json.loads(json.dumps(body["configuration"]))
        configuration["query"]["destinationTable"] = {"projectId": project, "datasetId": dataset, "tableId": table}
        failure = {"errorResult": {"reason": error, "message": f"it ended as {error}"}} if error else {}
        return {
            "jobReference": {"projectId": project, "jobId": name, "location": "EU"},
            "configuration": configuration,
            "status": {"state": "DONE"} | failure,
            "statistics": {},
        }


def refusal(status: int, reason: str, message: str) -> Answer:
    return status, {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


@contextmanager
def serve(fake: FakeBigQuery) -> Iterator[FakeBigQuery]:
    """Serve on a free port of 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = fake.answer(self.command, self.path, json.loads(body or "{}"))
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = _handle  # noqa: N815  # http.server's names

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield fake
        server.shutdown()
