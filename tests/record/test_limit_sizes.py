"""Limits as they are written: a number, a size in words, or how much is free."""

from __future__ import annotations

import re

import pytest

from astcapture.errors import CaptureError
from astcapture.record.limit import in_words, read_limit

#: As the International System of Units and IEC 80000-13 have them.
POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@pytest.mark.parametrize("letter", POWERS)
def test_a_decimal_unit_is_a_power_of_a_thousand_and_a_binary_one_of_1024(letter: str) -> None:
    for unit, base in ((letter, 1000), (f"{letter}b", 1000), (f"{letter}ib", 1024)):
        for written in (unit, unit.upper(), unit.capitalize(), unit.upper().replace("I", "i")):
            assert read_limit(f"3{written}") == 3 * base ** POWERS[letter]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("7", 7), ("7B", 7), ("7 b", 7), (" 7 kB ", 7000), ("7\tkB", 7000), ("7  kB\n", 7000),
        ("1.5kB", 1500), ("0.25 MiB", 2**18), ("12_345_678", 12_345_678), ("1_000.5kB", 1_000_500),
        ("1.0000001kB", 1000), ("1", 1), (1, 1), (2**70, 2**70), ("1B", 1),
    ],
)  # fmt: skip
def test_a_size_may_have_a_fraction_spaces_and_underscores(written: object, size: int) -> None:
    read = read_limit(written)
    assert (read, type(read)) == (size, int)


@pytest.mark.parametrize(
    ("written", "read"), [(" Auto ", "auto"), ("auto", "auto"), (" None", None), ("NONE", None), (None, None)]
)
def test_auto_and_none_may_be_words_in_any_case(written: str, read: str | None) -> None:
    assert read_limit(written) == read


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "GB", "ten", "2 gigabytes", "2 G B", "2GBs", "2PB", "2Ki", "2iB", "+2GB", "-2GB", "-1",
        "1e9", "0x10", "1,000", "1.000.000", ".5GB", "5.GB", "1__0", "_1", "1_", "1 2", "nan", "inf", "9" * 400,
        "auto!", "0", "0GB", "0.5B",
        0, -1, -(2**40), 1.5, 1e9, float("inf"), True, False, [1], {"GB": 2}, b"2GB", object,
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_anything_else_is_refused_with_what_can_be_written(written: object) -> None:
    with pytest.raises(CaptureError) as caught:
        read_limit(written)
    message = str(caught.value)
    assert message.startswith(f"limit={written!r}: ")
    for example in ('"2GB"', '"512MiB"', '"auto"'):
        assert example in message
        assert read_limit(example.strip('"'))
    assert "None for no limit" in message


@pytest.mark.parametrize("written", ["0", "0GB", "0.5B", "0.0004kB"])
def test_a_size_of_no_whole_byte_is_refused(written: str) -> None:
    with pytest.raises(CaptureError, match="write a number of bytes above 0"):
        read_limit(written)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (1, "1 bytes"), (1.4, "1 bytes"), (999, "999 bytes"),
        (1000, "1 kB"), (1500, "1.5 kB"), (999_000, "999 kB"),
        (10**6, "1 MB"), (12_345_678, "12.3 MB"), (999 * 10**6, "999 MB"),
        (10**9, "1 GB"), (123_456_789_012, "123 GB"), (10**12, "1 TB"), (2.5e12, "2.5 TB"),
        (999_499, "999 kB"), (999_500, "1 MB"), (999_999, "1 MB"), (5 * 10**15, "5000 TB"),
    ],
)  # fmt: skip
def test_a_size_is_told_in_three_digits_and_the_unit_that_keeps_them_short(size: float, words: str) -> None:
    assert in_words(size) == words


@pytest.mark.parametrize("power", range(14))
def test_what_is_told_can_be_written_as_a_limit(power: int) -> None:
    size = 3.21 * 10**power
    number, unit = re.fullmatch(r"([\d.]+) (\w+)", in_words(size)).groups()  # type: ignore[union-attr]
    read = read_limit(f"{number} {'B' if unit == 'bytes' else unit}")
    assert isinstance(read, int)
    assert abs(read - size) <= max(1, size / 100)
