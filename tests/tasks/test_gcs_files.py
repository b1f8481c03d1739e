"""A bucket keeps every promise of tasks/files.py, against a real server and through real faults."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import google.auth
import pyarrow as pa
import pytest
from gcsfs.core import GCSFileSystem
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, TransportError

from tasks import gcs_files, gcs_requests
from tasks.errors import InputError
from tasks.files import ConflictError, DamagedFileError, StoredFile, UnavailableError
from tasks.gcs_files import GcsFiles
from tasks.gcs_requests import connect
from tasks.references import FileRef
from tasks.storage import Storage
from tests.gcs_emulator import Bucket
from tests.proxy import PASSING, spoiled

NINE_DIGITS = FileRef(
    path=f"data/models/{'0' * 64}.parquet", sha256="0" * 64, crc32c="4waSgw==", size=9, rows=1
)  # its checksum is the check value of CRC-32C, 0xE3069283
TABLE = pa.table({"a": list(range(1000)), "b": [f"text {i}" for i in range(1000)]})


@pytest.fixture
def files(bucket: Bucket) -> GcsFiles:
    return GcsFiles(bucket.uri)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_requests, "PATIENCE_SECONDS", 1.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_requests, "FIRST_PAUSE_SECONDS", 0.002)


@pytest.mark.parametrize(
    "uri",
    [
        "gs://",
        "gs:///prefix",
        "gs://b",
        "gs://Bucket/prefix",
        "gs://bucket/../other",
        "gs://bucket/a/./b",
        "gs://bucket/a//b",
        "gs://bucket/a#1",
        "gs://bucket/a?b",
        "gs://bucket/a b",
        "gs://bucket/a\n",
        "gs://-bucket/a",
    ],
)
def test_what_names_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="names no bucket: give gs://bucket/prefix"):
        Storage(uri)


@pytest.mark.parametrize("uri", ["gs://bucket/a/b", "gs://bucket/a/b/"])
def test_a_slash_at_the_end_changes_nothing(uri: str) -> None:
    assert GcsFiles(uri)._key("runs/x") == "a/b/runs/x"


def test_a_bucket_without_prefix_is_a_storage() -> None:
    assert GcsFiles("gs://my.bucket_1")._key("runs/x") == "runs/x"


def test_small_files_come_back(files: GcsFiles, bucket: Bucket) -> None:
    content = b"\x00\r\n--boundary--\r\n" + bytes(range(256))
    for path, value in {"runs/a/report.html": content, "runs/empty": b"", "runs/a b?#%ü": b"odd name"}.items():
        files.write(path, b"before")
        files.write(path, value)
        assert files.read(path) == value == bucket.get(path)
        assert files.exists(path)
    with pytest.raises(FileNotFoundError):
        files.read("runs/nothing")
    assert not files.exists("runs/nothing")
    assert not files.exists("runs/a")  # a folder is no file


def test_a_listing_shows_every_file_below_a_folder(files: GcsFiles, bucket: Bucket) -> None:
    for path in ("runs/a/manifest.json", "runs/b.json", "runs2/c.json"):
        files.write(path, b"12")
    bucket.put("runs/folder/", b"")
    listed = list(files.list("runs"))
    assert {(file.path, file.size) for file in listed} == {("runs/a/manifest.json", 2), ("runs/b.json", 2)}
    assert all(isinstance(file, StoredFile) and abs(file.modified.timestamp() - time.time()) < 60 for file in listed)
    assert list(files.list("data")) == []
    files.delete("runs/b.json")
    files.delete("runs/b.json")
    assert [file.path for file in files.list("runs")] == ["runs/a/manifest.json"]


def test_a_long_listing_comes_in_pages(bucket: Bucket, files: GcsFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: bucket.put(f"records/{i}", b""), range(1005)))
    assert len({file.path for file in files.list("records")}) == 1005


def test_replacing_needs_the_version_that_was_read(files: GcsFiles) -> None:
    content, version = files.read_version("champion.json")
    assert content is None
    files.replace("champion.json", b"first", version)
    with pytest.raises(ConflictError):
        files.replace("champion.json", b"late", version)
    content, version = files.read_version("champion.json")
    assert content == b"first"
    files.replace("champion.json", b"second", version)
    with pytest.raises(ConflictError):
        files.replace("champion.json", b"late", version)
    assert files.read("champion.json") == b"second"


def test_of_many_that_replace_at_once_one_wins(files: GcsFiles) -> None:
    _, version = files.read_version("champion.json")

    def try_to_replace(i: int) -> int | None:
        try:
            files.replace("champion.json", str(i).encode(), version)
        except ConflictError:
            return None
        return i

    with ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(try_to_replace, range(8)) if i is not None]
    assert [str(i).encode() for i in winners] == [files.read("champion.json")]


def test_what_is_replaced_by_something_else_is_an_error(files: GcsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = GcsFiles._upload

    def spoil(self: GcsFiles, path: str, content: bytes, **conditions: str) -> object:
        return upload(self, path, content[:-1] + b"X", **conditions)

    monkeypatch.setattr(GcsFiles, "_upload", spoil)
    with pytest.raises(OSError, match=r"champion\.json did not arrive whole"):
        files.replace("champion.json", b"first", "0")


def test_an_upload_says_its_checksum_so_that_the_service_refuses_other_content(
    files: GcsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    request = GCSFileSystem._request

    async def record(self: GCSFileSystem, *args: Any, **options: Any) -> Any:
        sent.append(options.get("json") or options.get("data"))
        return await request(self, *args, **options)

    monkeypatch.setattr(GCSFileSystem, "_request", record)
    files.write("runs/a", b"123456789")
    assert f'"crc32c": "{NINE_DIGITS.crc32c}"'.encode() in sent[0]
    sent.clear()
    (tmp_path / "part").write_bytes(b"123456789")
    monkeypatch.setattr(gcs_files, "PIECE", 5)
    files.publish(tmp_path / "part", NINE_DIGITS)
    assert [one["crc32c"] for one in sent if isinstance(one, dict)] == [NINE_DIGITS.crc32c]
    assert sent[-2:] == [b"12345", b"6789"] and files.read(NINE_DIGITS.path) == b"123456789"


def test_a_lost_answer_to_replacing_is_no_conflict(
    files: GcsFiles, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("lost answer",)) as proxy:
        answer = proxy.next_fault

        def once() -> str:
            proxy.rate = 1.0 if not proxy.counts.total() else 0.0
            return answer()

        monkeypatch.setattr(proxy, "next_fault", once)
        files.replace("champion.json", b"first", "0")
        assert proxy.counts["lost answer"] == 1
        assert proxy.counts[""] == 2  # the same upload again, and a look at what is in its way
    assert files.read("champion.json") == b"first"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "data/../../outside", ""])
def test_a_path_does_not_leave_the_storage(path: str, files: GcsFiles) -> None:
    for use in (files.read, files.delete, files.exists, files.read_version, lambda p: files.write(p, b"")):
        with pytest.raises(ValueError, match="not a path inside"):
            use(path)


def test_a_data_file_is_published_once_and_verified(files: GcsFiles, bucket: Bucket) -> None:
    store = Storage(bucket.uri)
    file = store.write_table("models", TABLE)
    assert bucket.names("data/") == {file.path}
    before = files.read_version(file.path)[1]
    assert store.write_table("models", TABLE) == file
    assert files.read_version(file.path)[1] == before
    store.verify(file)
    assert store.read_table(file) == TABLE
    assert store.read_rows(file, "b", ["text 3"])["a"].to_pylist() == [3]
    with store.open_parquet(file) as parquet:
        assert parquet.metadata.num_rows == file.rows == 1000


def test_an_object_deleted_or_overwritten_is_noticed_at_once_and_heals(bucket: Bucket) -> None:
    store = Storage(bucket.uri)
    file = store.write_table("models", TABLE)
    content = bucket.get(file.path)
    store.verify(file)
    bucket.delete(file.path)
    with pytest.raises(DamagedFileError, match=f"^file missing: {file.path}$"):
        store.verify(file)
    with pytest.raises(FileNotFoundError):
        store.read_table(file)
    bucket.put(file.path, content[:-7])
    with pytest.raises(DamagedFileError, match=f"^file damaged: {file.path} has {file.size - 7} bytes instead of"):
        store.verify(file)
    bucket.put(file.path, content[:-1] + b"x")
    with pytest.raises(DamagedFileError, match=f"^file damaged: {file.path} has other content than its name says$"):
        store.verify(file)
    with pytest.raises(OSError, match="other content than its name says"):
        store.read_table(file)
    store.write_table("models", TABLE)
    store.verify(file)
    assert bucket.get(file.path) == content


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_large_file_goes_and_comes_in_pieces(rate: float, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": pa.array(range(2_000_000)), "b": pa.array([i * 7919 % 1_000_003 for i in range(2_000_000)])})
    monkeypatch.setattr(gcs_files, "PIECE", 1 << 20)
    store = Storage(bucket.uri)
    # No answers that get lost: the emulator appends a piece that comes again, the service does not.
    with spoiled(bucket.endpoint, monkeypatch, rate, ("503", "429", "reset")) as proxy:
        file = store.write_table("features", table)
        n_pieces = -(-file.size // (1 << 20))
        assert n_pieces > 5 and proxy.counts[""] >= n_pieces + 1
        proxy.counts.clear()
        assert store.read_table(file) == table
        assert proxy.counts[""] == n_pieces
    store.verify(file)


def test_a_damaged_piece_is_noticed_and_all_are_sent_again(
    files: GcsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "part").write_bytes(b"123456789")
    pieces: list[bytes] = []
    request = GCSFileSystem._request

    async def spoil(self: GCSFileSystem, *args: Any, **options: Any) -> Any:
        if "Content-Range" in (options.get("headers") or {}):
            pieces.append(options["data"])
            if len(pieces) <= n_spoilt:
                options["data"] = b"X" * len(options["data"])
        return await request(self, *args, **options)

    monkeypatch.setattr(GCSFileSystem, "_request", spoil)
    monkeypatch.setattr(gcs_files, "PIECE", 5)
    n_spoilt = 1
    files.publish(tmp_path / "part", NINE_DIGITS)
    assert len(pieces) == 4 and files.read(NINE_DIGITS.path) == b"123456789"
    files.delete(NINE_DIGITS.path)
    n_spoilt = 100
    with pytest.raises(OSError, match="does not arrive whole in 3 uploads"):
        files.publish(tmp_path / "part", NINE_DIGITS)


def test_an_error_while_writing_leaves_nothing(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def tables() -> Iterator[pa.Table]:
        yield TABLE
        assert list(tmp_path.iterdir())
        raise RuntimeError("the query broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        Storage(bucket.uri).write_row_groups("models", TABLE.schema, tables())
    assert bucket.names() == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["503", "reset", "lost answer"])
def test_an_upload_that_fails_leaves_the_old_content(
    fault: str, files: GcsFiles, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("runs/a", b"old")
    with spoiled(bucket.endpoint, monkeypatch, 1.0, (fault,)), pytest.raises(UnavailableError, match="does not answer"):
        files.write("runs/a", b"new")
    assert bucket.get("runs/a") == (b"new" if fault == "lost answer" else b"old")  # whole, one or the other


@pytest.mark.usefixtures("impatient")
def test_what_arrives_as_something_else_is_sent_again_then_an_error(
    files: GcsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads: list[bytes] = []
    upload = GcsFiles._upload

    def spoil(self: GcsFiles, path: str, content: bytes) -> object:
        uploads.append(content)
        return upload(self, path, content[:-1] if len(uploads) < n_spoilt + 1 else content)

    monkeypatch.setattr(GcsFiles, "_upload", spoil)
    n_spoilt = 2
    files.write("runs/a", b"content")
    assert (len(uploads), files.read("runs/a")) == (3, b"content")
    uploads.clear()
    n_spoilt = 3
    with pytest.raises(OSError, match="does not arrive whole in 3 uploads") as caught:
        files.write("runs/a", b"content")
    assert not isinstance(caught.value, UnavailableError)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_waited_for(
    fault: str, files: GcsFiles, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Storage(bucket.uri)
    with spoiled(bucket.endpoint, monkeypatch, 0.5, (fault,)) as proxy:
        file = store.write_table("models", TABLE)
        files.write("runs/a", b"content")
        assert files.read("runs/a") == b"content"
        assert store.read_table(file) == TABLE
        assert {found.path for found in files.list("runs")} == {"runs/a"}
        files.delete("runs/a")
        assert not files.exists("runs/a")
        assert proxy.counts[fault] > 0


def test_threads_share_one_connection(files: GcsFiles, bucket: Bucket) -> None:
    def use(i: int) -> bytes:
        GcsFiles(bucket.uri).write(f"runs/{i}", str(i).encode() * i)
        return GcsFiles(bucket.uri).read(f"runs/{i}")

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(use, range(64))) == [str(i).encode() * i for i in range(64)]
    assert connect() is connect()


def probe_error(uri: str) -> str:
    with pytest.raises(InputError) as caught:
        GcsFiles(uri).probe()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_bucket_is_probed_without_a_trace(files: GcsFiles, bucket: Bucket) -> None:
    files.probe()
    assert bucket.names() == set()


def test_probing_says_that_there_is_no_bucket(gcs: str) -> None:
    assert "there is no bucket 'nobody-has-this': create it" in probe_error("gs://nobody-has-this/prefix")


def test_probing_says_that_access_is_denied(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("403",)):
        message = probe_error(bucket.uri)
    assert "may not be used by this account (planted): give it the role roles/storage.objectUser" in message
    assert time.monotonic() - started < 5


def test_a_refusal_that_no_role_lifts_does_not_ask_for_one() -> None:
    said = "The billing account for the owning project is disabled in state absent"
    with (
        pytest.raises(UnavailableError, match=f"account .{said}.: change that\\.$"),
        gcs_requests.plain_errors("gs://b"),
    ):
        raise OSError(f"Forbidden: b/o\n{said}.")


def test_probing_says_that_the_credentials_are_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("401",)):
        assert "does not accept the credentials" in probe_error(bucket.uri)


@pytest.mark.usefixtures("impatient")
def test_probing_says_that_nobody_answers(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("503",)):
        assert f"storage {bucket.uri} does not answer (503 Service Unavailable, for" in probe_error(bucket.uri)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert "does not answer (Cannot connect to host 127.0.0.1:9" in probe_error(bucket.uri)
    monkeypatch.undo()
    GcsFiles(bucket.uri).probe()


def test_probing_says_that_there_are_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", none)
    message = probe_error("gs://some-bucket/prefix")
    assert "needs credentials (Your default credentials were not found): run `gcloud auth" in message


class Expired(Credentials):  # type: ignore[misc]
    """Credentials whose token cannot be fetched the first n_faults times."""

    def __init__(self, n_faults: int) -> None:
        super().__init__()
        self.n_faults = n_faults

    def refresh(self, request: object) -> None:
        self.n_faults -= 1
        if self.n_faults >= 0:
            raise TransportError("the metadata server is away")
        self.token = "token"


@pytest.mark.usefixtures("quick", "impatient")
@pytest.mark.parametrize("n_faults", [3, 10**6])
def test_a_token_that_cannot_be_fetched_for_a_while_is_waited_for(
    n_faults: int, files: GcsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("runs/a", b"content")
    monkeypatch.setattr(connect().credentials, "credentials", Expired(n_faults))
    if n_faults == 3:
        assert files.read("runs/a") == b"content"
    else:
        with pytest.raises(UnavailableError, match=r"does not answer \(the metadata server is away, for"):
            files.read("runs/a")


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_requests, "ATTEMPT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            with suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection: socket.socket) -> None:
            with suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=r"does not answer \(TimeoutError, for"):
            GcsFiles("gs://some-bucket/x").exists("runs/a")
        assert time.monotonic() - started < 5


@pytest.mark.usefixtures("impatient")
def test_after_a_request_was_given_up_the_next_ones_fail_at_once(
    files: GcsFiles, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("503",)) as proxy:
        with pytest.raises(UnavailableError):
            files.read("runs/a")
        n_requests = proxy.counts.total()
        for _ in range(1000):
            with pytest.raises(UnavailableError, match="does not answer"):
                files.read("runs/a")
        assert proxy.counts.total() == n_requests
    files.probe()
    files.write("runs/a", b"again")


def test_patience_ends_within_a_minute() -> None:
    longest = gcs_requests.PATIENCE_SECONDS + gcs_requests.LONGEST_PAUSE_SECONDS + gcs_requests.TIMEOUTS.sock_read
    assert longest < 60
