from __future__ import annotations

import time

import pytest

from orchestrator.endings import how, last
from orchestrator.escapes import without_escapes


def test_how_a_command_ended_in_words() -> None:
    assert how(exit_code=3, signal=None, timed_out=False) == "exit code 3"
    assert how(exit_code=None, signal=9, timed_out=False) == "ended by signal 9"
    assert how(exit_code=None, signal=9, timed_out=True) == "timed out"
    assert not how(exit_code=None, signal=None, timed_out=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("out\n[exit code 0]", ("exit code 0", 4, 17)),
        ("[exit code 0]\n[exit code 2; working directory /a]\n[note]", ("exit code 2", 14, 49)),
        ("x\n[timed out after 3 s; its processes were ended]", ("timed out", 2, 49)),
        ("[ended by signal 9]", ("ended by signal 9", 0, 19)),
        (" [exit code 1]\n[exit code 12345]\n[exit codes]\n[exit code 1", None),
        ("", None),
    ],
)
def test_the_last_line_of_its_kind_tells_it(content: str, expected: tuple[str, int, int] | None) -> None:
    assert last(content) == expected


@pytest.mark.parametrize(
    "text", ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07red", "\x1b]8;;http://x\x1b\\red", "\x1bP+q\x1b\\red\x1bc", "red"]
)
def test_escape_sequences_go(text: str) -> None:
    assert without_escapes(text) == "red"


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "\x1b[1;", "\x1bP" + "x" * 9])
def test_sequences_that_never_end_take_no_longer_than_others(piece: str) -> None:
    began = time.process_time()
    without_escapes(piece * (2_000_000 // len(piece)))
    assert time.process_time() - began < 3
