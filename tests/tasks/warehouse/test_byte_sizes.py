"""Amounts of data as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.parameters import SampleParameters
from tasks.warehouse.byte_sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100 GB", 100 * 10**9),
        ("2TB", 2 * 10**12),
        (" 1.5 tib ", 3 * 2**39),
        ("10 m", 10**7),
        ("7KiB", 7168),
        ("12345", 12345),
        ("12 B", 12),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_amounts_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1 GB", "1 XB", "1e3", "lots", "0", "0.1 B", "1 GB x", "٣ GB", "9224 PB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_bytes(text)
    with pytest.raises(ValidationError):
        SampleParameters(maximum_bytes_billed=text)


@given(st.integers(1, 10**17))
def test_what_is_written_is_read_back_to_a_twentieth(size: int) -> None:
    assert parse_bytes(format_bytes(size).replace(",", "").replace("bytes", "B")) == pytest.approx(size, rel=0.05)


def test_a_plain_number_is_an_amount_too() -> None:
    assert SampleParameters.model_validate({"maximum_bytes_billed": 5000}).maximum_bytes_billed == "5000"
    assert SampleParameters.model_json_schema()["properties"]["maximum_bytes_billed"]["type"] == "string"
