"""A storage in a bucket of Google Cloud Storage: every file an object, checked by its crc32c."""

from __future__ import annotations

import io
import json
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

from tasks.errors import InputError
from tasks.files import ConflictError, DamagedFileError, StoredFile, inside
from tasks.gcs_requests import RefusedError, as_text, connect, plain_errors, try_again
from tasks.references import FileRef

NAME = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])((?:/(?!\.{1,2}(?:/|$))[\w.=+@~-]+)*)/?", re.ASCII)
PIECE = 16 * 2**20  # bytes in memory at a time: what is larger goes piece by piece
N_UPLOADS = 3
CONTENT_TYPE = "application/octet-stream"


class GcsFiles:
    """Files as objects of a bucket; tasks/files.py says what each method promises.

    Any number of threads may use it, and any number of objects of this class are one connection.
    """

    def __init__(self, uri: str) -> None:
        match = NAME.fullmatch(uri)
        if match is None:
            raise InputError(
                f"storage {uri!r} names no bucket: give gs://bucket/prefix, with a bucket that Google Cloud Storage "
                "allows and a prefix of letters, digits and ._=+@~- between slashes."
            )
        self._bucket = match[1]
        self._prefix = f"{match[2]}/".removeprefix("/")
        self._uri = f"gs://{self._bucket}/{self._prefix}".rstrip("/")

    def probe(self) -> None:
        """Write, read and delete a small object."""
        try_again(self._uri)
        path, content = f"runs/probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
        try:
            self.write(path, content)
            is_same = self.read(path) == content
            self.delete(path)
        except FileNotFoundError as error:
            raise InputError(
                f"storage {self._uri!r}: there is no bucket {self._bucket!r}: create it (gcloud storage buckets create "
                f"gs://{self._bucket}), or correct the name."
            ) from error
        except OSError as error:
            raise InputError(f"storage {error}") from error
        if not is_same:
            raise InputError(f"storage {self._uri!r} does not return what was written to it: try again.")

    def _key(self, path: str) -> str:
        return self._prefix + inside(path)

    def _ask(self, method: str, *url: str, **options: Any) -> Any:
        """One request through gcsfs, which puts the parts of `url` into the first one, quoted."""
        with plain_errors(self._uri):
            return connect().call(method, *url, **options)

    def _metadata(self, path: str) -> dict[str, Any]:
        # Not gcsfs's info(), which also lists the object's name as a folder, at the price of an upload.
        found: dict[str, Any] = self._ask("GET", "b/{}/o/{}", self._bucket, self._key(path), json_out=True)
        return found

    def _download(self, path: str, **headers: str) -> tuple[dict[str, str], bytes]:
        """(headers, content) of an object or of the range in `headers`; an answer cut short never gets here."""
        answer: tuple[dict[str, str], bytes] = self._ask(
            "GET", "b/{}/o/{}", self._bucket, self._key(path), alt="media", headers=headers
        )
        return answer

    def read(self, path: str) -> bytes:
        """The content of an object."""
        return self._download(path)[1]

    def write(self, path: str, content: bytes) -> None:
        """Upload in one request: an object is there when all of it is."""
        self._store(path, content, as_text(google_crc32c.Checksum(content)), len(content))

    def read_version(self, path: str) -> tuple[bytes | None, str]:
        """The content, and the object's generation as the version: 0 if there is none."""
        try:
            headers, content = self._download(path)
        except FileNotFoundError:
            return None, "0"
        return content, headers["X-Goog-Generation"]

    def replace(self, path: str, content: bytes, version: str) -> None:
        """Upload on the condition that the generation is still the same; the service compares.

        If the answer was lost, the second attempt meets our own object, which is no conflict.
        """
        try:
            stored = self._upload(path, content, ifGenerationMatch=version)
        except FileExistsError:
            if self.read_version(path)[0] != content:
                raise ConflictError(f"{path} was replaced by another process") from None
            return
        if stored["crc32c"] != as_text(google_crc32c.Checksum(content)):
            raise OSError(f"{self._uri}/{path} did not arrive whole.")

    def exists(self, path: str) -> bool:
        """Whether there is an object of this name."""
        try:
            self._metadata(path)
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Every object whose name starts with the folder's, page by page as they are asked for."""
        options = {"prefix": f"{self._key(folder)}/", "fields": "items(name,size,updated),nextPageToken"}
        while True:
            page = self._ask("GET", "b/{}/o", self._bucket, json_out=True, **options)
            for item in page.get("items", []):
                if not item["name"].endswith("/"):  # an empty object that stands for a folder
                    name = item["name"].removeprefix(self._prefix)
                    yield StoredFile(name, int(item["size"]), datetime.fromisoformat(item["updated"]))
            if "nextPageToken" not in page:
                return
            options["pageToken"] = page["nextPageToken"]

    def delete(self, path: str) -> None:
        """Delete an object."""
        try:
            self._ask("DELETE", "b/{}/o/{}", self._bucket, self._key(path))
        except FileNotFoundError:
            return

    @contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """A name in a new local folder, which is deleted with everything in it."""
        with tempfile.TemporaryDirectory(prefix="playlist-models-") as local:
            yield Path(local) / Path(folder).name

    def publish(self, part: Path, file: FileRef) -> None:
        """Upload; if the same content is already there, an early cutoff sends nothing."""
        try:
            self.verify(file)
        except DamagedFileError:
            content = part.read_bytes() if file.size <= PIECE else part
            self._store(file.path, content, file.crc32c, file.size)

    def _store(self, path: str, content: bytes | Path, crc32c: str, size: int) -> None:
        """Upload, compare what arrived, and start over if it is something else; after N_UPLOADS raise OSError."""
        fault = ""
        for _ in range(N_UPLOADS):
            try:
                if isinstance(content, Path):
                    stored = self._upload_pieces(path, content, crc32c, size)
                else:
                    stored = self._upload(path, content)
            except RefusedError as error:
                fault = str(error)
                continue
            if (stored["crc32c"], int(stored["size"])) == (crc32c, size):
                return
            fault = f"{stored['size']} of {size} bytes, or others"
        raise OSError(f"{self._uri}/{path} does not arrive whole in {N_UPLOADS} uploads ({fault}).")

    def _upload_pieces(self, path: str, local: Path, crc32c: str, size: int) -> dict[str, Any]:
        """Upload a local file piece by piece; returns the metadata of what is stored now.

        As with one request, other content than this crc32c's is refused when the last piece is there. An answer says
        how much the service has; the next piece begins there.
        """
        start = 0
        with plain_errors(self._uri), local.open("rb") as stream:
            about = {"name": self._key(path), "crc32c": crc32c}
            headers, _ = connect().call("POST", self._upload_url(), self._bucket, uploadType="resumable", json=about)
            session = headers["Location"]
            while True:
                stream.seek(start)
                piece = stream.read(PIECE)
                span = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{size}", "Content-Type": CONTENT_TYPE}
                headers, stored = connect().call("POST", session, headers=span, data=piece)
                kept = headers.get("Range", "")  # none of the emulator's: it keeps all of a piece
                end = int(kept.rpartition("-")[2]) + 1 if kept else start + len(piece)
                if end == size and stored:
                    return dict(json.loads(stored))
                if end <= start or end >= size:
                    raise RefusedError(f"{self._uri} has {end} of {size} bytes of {path} after those up to {start}")
                start = end

    @staticmethod
    def _upload_url() -> str:
        return connect().base.replace("/storage/", "/upload/storage/") + "b/{}/o"

    def _upload(self, path: str, content: bytes, **conditions: str) -> dict[str, Any]:
        """Upload content in one request; returns the metadata of what is stored now."""
        boundary = secrets.token_hex(16)
        # The one form of upload whose conditions emulators check too. gcsfs's own knows no generation but 0.
        # Other content than this crc32c's is refused: it never stands under the name.
        metadata = {"name": self._key(path), "crc32c": as_text(google_crc32c.Checksum(content))}
        about = f"Content-Type: application/json\r\n\r\n{json.dumps(metadata)}"
        head = f"--{boundary}\r\n{about}\r\n--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
        with plain_errors(self._uri):
            stored: dict[str, Any] = connect().call(
                "POST",
                self._upload_url(),
                self._bucket,
                uploadType="multipart",
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                data=head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
                json_out=True,
                **conditions,
            )
        return stored

    def verify(self, file: FileRef) -> None:
        """Compare size and crc32c with the object's metadata, always fresh: nothing is downloaded."""
        try:
            found = self._metadata(file.path)
        except FileNotFoundError:
            raise DamagedFileError(f"file missing: {file.path}") from None
        if int(found["size"]) != file.size:
            raise DamagedFileError(f"file damaged: {file.path} has {found['size']} bytes instead of {file.size}")
        if found["crc32c"] != file.crc32c:
            raise DamagedFileError(f"file damaged: {file.path} has other content than its name says")

    @contextmanager
    def open(self, file: FileRef) -> Iterator[BinaryIO]:
        """A whole copy, in memory or (if larger than PIECE) on the local disk, compared before it is read.

        Raises OSError if the object was overwritten with something else. Ranges on demand would need less disk, but
        several requests for a small file, and nothing but the pages of a Parquet file carries a checksum.
        """
        with io.BytesIO() if file.size <= PIECE else tempfile.TemporaryFile() as copy:
            found = google_crc32c.Checksum()
            for start in range(0, file.size, PIECE):
                span = {"Range": f"bytes={start}-{start + PIECE - 1}"} if file.size > PIECE else {}
                content = self._download(file.path, **span)[1]
                found.update(content)
                copy.write(content)
            if as_text(found) != file.crc32c:
                raise OSError(f"{self._uri}/{file.path} has other content than its name says")
            copy.seek(0)
            yield copy
