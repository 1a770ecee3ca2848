from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.shown import clean, cut, is_binary


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07more\x1b(B", "red and more"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b" 10%\r 50%\r100%\ndone\r\n", "100%\ndone\n"),
        (b"bell\x07, nul\x00, c1\xc2\x9b, rtl\xe2\x80\xae.", "bell, nul, c1, rtl."),
        (b"caf\xe9 \xf0\x9f\x98\x80", "caf\N{REPLACEMENT CHARACTER} \N{GRINNING FACE}"),
    ],
)
def test_what_is_shown_is_clean_text(data: bytes, shown: str) -> None:
    assert clean(data) == shown


@given(st.binary())
def test_no_control_character_gets_through(data: bytes) -> None:
    assert not [char for char in clean(data) if char not in "\n\t" and (ord(char) < 32 or 127 <= ord(char) < 160)]


def test_long_output_keeps_head_and_tail_and_says_what_is_missing() -> None:
    lines = [f"line {number}" for number in range(10_000)]
    text = "\n".join(lines)
    shown = cut(text, longest=1000)
    assert len(shown) < 1100
    assert shown.startswith("line 0\nline 1\n")
    assert shown.endswith("line 9998\nline 9999")
    note = next(line for line in shown.split("\n") if "left out" in line)
    kept = sum(len(line) + 1 for line in shown.split("\n") if line != note)
    assert abs(int(note.split()[1].replace(",", "")) - (len(text) - kept)) <= 2
    assert all(line in lines for line in shown.split("\n") if line != note)


def test_what_was_cut_before_counts_too() -> None:
    assert "1,000,100 characters left out" in cut("x" * 200, longest=100, before=1_000_000)


@given(st.text(max_size=400), st.integers(min_value=20, max_value=200))
def test_a_cut_is_bounded_and_leaves_short_text_alone(text: str, longest: int) -> None:
    shown = cut(text, longest=longest)
    assert shown == text if len(text) <= longest else len(shown) <= longest + 60


def test_binary_is_told_by_a_nul() -> None:
    assert is_binary(b"\x7fELF\x00")
    assert not is_binary("käse".encode("latin-1"))
