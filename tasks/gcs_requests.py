"""Requests to Google Cloud Storage: sent again while a fault may pass, and no answer believed unchecked."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
import google_crc32c
from gcsfs.core import GCSFileSystem  # not gcsfs.GCSFileSystem, which asks every bucket for its kind and stalls offline
from gcsfs.retry import HttpError
from google.auth.exceptions import GoogleAuthError, TransportError

from tasks.files import UnavailableError

PATIENCE_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 6.0
SILENCE_SECONDS = 60.0  # so long after a request was given up, others are not even tried
ATTEMPT_SECONDS = 300.0  # for at most 16 MB
TIMEOUTS = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=20)
RANGE = re.compile(r"bytes (\d+)-(\d+)/")
# Why access is denied to whoever has the role.
NO_ROLE = re.compile(r"billing|disabled|not been used|retention|polic|on hold|organization", re.IGNORECASE)
PASSING = {408, 429, 500, 502, 503, 504}

T = TypeVar("T")

_given_up: dict[str, tuple[float, str]] = {}  # by place: when, and why


class NoAnswerError(Exception):
    """No good answer came within PATIENCE_SECONDS. (No OSError: aiohttp and gcsfs would take it for a passing one.)"""


class RefusedError(OSError):
    """An answer that says no, and will again."""


class PatientFileSystem(GCSFileSystem):
    """gcsfs, which also waits for a new token: it is fetched, on the way of a request, by another client."""

    async def _request(self, *args: Any, **options: Any) -> Any:
        async def attempt() -> tuple[Any, str]:
            return await GCSFileSystem._request(self, *args, **options), ""

        return await _repeat(attempt, TransportError)


def connect() -> PatientFileSystem:
    """The process's file system (fsspec keeps one for equal arguments), without a cache of listings.

    Credentials are Google's Application Default Credentials, and none against an emulator.
    """
    for name in ("gcsfs", "google.auth"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log what they raise, gcsfs with a traceback
    return PatientFileSystem(
        token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else "google_default",
        use_listings_cache=False,
        requests_timeout=TIMEOUTS,
        session_kwargs={"middlewares": (send_until_answered,)},
    )


async def send_until_answered(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """An aiohttp middleware: send a request until its answer is whole and no passing fault, or raise NoAnswerError.

    gcsfs alone would try six times, too few for a run of thousands of requests, with a first pause of a second.
    """

    async def attempt() -> tuple[aiohttp.ClientResponse, str]:
        async with asyncio.timeout(ATTEMPT_SECONDS):  # the other limits are of silence: an answer may trickle for ever
            response = await handler(request)
            return response, _fault(response, await response.read())

    return await _repeat(attempt, aiohttp.ClientError, TimeoutError)


async def _repeat(attempt: Callable[[], Awaitable[tuple[T, str]]], *passing: type[Exception]) -> T:
    """What an attempt returns once it has no fault and raises none that passes, or NoAnswerError."""
    started = time.monotonic()
    for n_failed in itertools.count():
        try:
            found, fault = await attempt()
            if not fault:
                return found
        except passing as error:
            fault = _first_line(error) or type(error).__name__
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**n_failed)
        pause = random.uniform(0.5, 1) * longest  # noqa: S311  # no secret: threads should not all come back at once
        if time.monotonic() + pause - started > PATIENCE_SECONDS:
            raise NoAnswerError(f"{fault}, for {time.monotonic() - started:.0f} s")
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _fault(response: aiohttp.ClientResponse, body: bytes) -> str:
    """Why an answer cannot be believed, "" if it can: a connection that is cut does not always show."""
    if response.status in PASSING:
        return f"{response.status} {response.reason}"
    if response.status == 206:
        span = RANGE.match(response.headers.get("Content-Range", ""))
        is_whole = span is not None and int(span[2]) - int(span[1]) + 1 == len(body)
    elif response.status == 200 and response.url.query.get("alt") == "media":
        is_whole = f"crc32c={as_text(google_crc32c.Checksum(body))}" in response.headers.get("X-Goog-Hash", "")
    elif response.status == 200 and response.content_type == "application/json":
        is_whole = _is_json(body)
    else:
        return ""
    return "" if is_whole else "an answer came cut short or damaged"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def as_text(crc32c: google_crc32c.Checksum) -> str:
    """A checksum as Google Cloud Storage writes it."""
    return base64.b64encode(crc32c.digest()).decode()


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Turn what gcsfs raises into OSErrors that say what is wrong with `place` in a sentence.

    FileNotFoundError and FileExistsError (a precondition that does not hold) stay; an UnavailableError is lasting.
    After a request was given up, the next ones fail at once: a thousand tasks that each wait would take hours to end.
    """
    when, fault = _given_up.get(place, (0.0, ""))
    if fault and time.monotonic() - when < SILENCE_SECONDS:
        raise UnavailableError(fault)
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except (NoAnswerError, TransportError) as error:
        raise _give_up(place, f"{place} does not answer ({_first_line(error)}): try again later.") from error
    except GoogleAuthError as error:
        raise _give_up(
            place,
            f"{place} needs credentials ({_first_line(error)}): run `gcloud auth application-default login`, or let "
            "GOOGLE_APPLICATION_CREDENTIALS name a key file.",
        ) from error
    except HttpError as error:
        if str(error.code) == "401":
            raise _give_up(place, f"{place} does not accept the credentials ({error}): renew them.") from error
        raise RefusedError(f"{place} refused a request ({error})") from error
    except OSError as error:
        if not str(error).startswith("Forbidden"):  # a plain OSError, as gcsfs has it
            raise
        said = _first_line(error.args[0].partition("\n")[2])
        what = "change that" if NO_ROLE.search(said) else "give it the role roles/storage.objectUser on the bucket"
        raise UnavailableError(f"{place} may not be used by this account ({said}): {what}.") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise RefusedError(f"{place} refused a request ({_first_line(error)})") from error


def try_again(place: str) -> None:
    """Forget that a request to this place was given up."""
    _given_up.pop(place, None)


def _give_up(place: str, fault: str) -> UnavailableError:
    _given_up[place] = time.monotonic(), fault
    return UnavailableError(fault)


def _first_line(message: object) -> str:
    return str(message).strip().split("\n")[0].rstrip(".")
