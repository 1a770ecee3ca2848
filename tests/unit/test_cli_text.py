from __future__ import annotations

import sys
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import text

OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_no_character_that_a_terminal_or_an_eye_obeys_survives() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = {char for char in text.visible(every) if unicodedata.category(char) in OBEYED}
    assert left == {"\n", "\t"}


@given(st.text())
def test_a_line_is_one_line_and_harmless(wild: str) -> None:
    for line in text.lines(wild):
        assert not {char for char in line if unicodedata.category(char) in OBEYED}


@pytest.mark.parametrize(
    ("wild", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "␛[2J␛]0;title␇"),
        ("10%\r100%", "10%␍100%"),
        ("\x9b31m\x7f", "<U+009B>31m␡"),
        ("user\u202etxt.exe", "user<U+202E>txt.exe"),
        ("a\u200bb\ufeff", "a<U+200B>b<U+FEFF>"),
        (b"\xff".decode(errors="surrogateescape"), "<U+DCFF>"),
        ("日本語 é ✓ 👍", "日本語 é ✓ 👍"),
    ],
)
def test_control_characters_are_shown_as_what_they_are(wild: str, shown: str) -> None:
    assert text.visible(wild) == shown


def test_windows_line_ends_are_line_ends() -> None:
    assert text.lines("a\r\nb\tc\r\n") == ["a", "b   c", ""]


def test_the_first_line_says_how_many_follow() -> None:
    assert text.first_line("\n  make\n\n  check\ntest") == "make … (+2 lines)"
    assert text.first_line(" \n ") == ""


def test_a_tail_says_how_much_is_above() -> None:
    assert text.tail("1\n2\n3\n4\n\n", 2) == ["… 2 lines above", "3", "4"]
    assert text.tail("1\n2\n", 2) == ["1", "2"]
    assert text.tail("", 2) == []


def test_short_ids_are_unique_and_at_least_six_long() -> None:
    ids = ["abcdef123456", "abcdef124456", "abcdef999999", "zz0000000000"]
    short = text.short_ids(ids)
    assert short == {ids[0]: "abcdef123", ids[1]: "abcdef124", ids[2]: "abcdef9", ids[3]: "zz0000"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0034, "3 ms"),
        (0.0999, "0.1 s"),
        (0.83, "0.8 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (185, "3 min 05 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


def test_figures_in_words() -> None:
    assert [text.age(s) for s in (5, 65, 3 * 3600, 47 * 3600, 3 * 86400)] == ["5s", "1m", "3h", "47h", "3d"]
    assert [text.money(usd) for usd in (0, 0.0213, 12.5, None)] == ["$0.00", "$0.0213", "$12.50", "$?"]
    assert [text.count(n) for n in (950, 12_440, 999_960, 1_300_000)] == ["950", "12.4k", "1.0M", "1.3M"]
    numbers = (1, 2, 3, 4, 11, 12, 21, 111)
    assert [text.ordinal(n) for n in numbers] == ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "111th"]
    assert text.moment(datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)) == "2026-11-03 04:05:06Z"
