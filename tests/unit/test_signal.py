"""A command's output cut to what it tells: noise goes, facts and errors stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.agent.shown import clean
from orchestrator.agent.signal import LONGEST_LINE, signal

WORDS = ("lease", "worker", "queue", "tree", "step", "fence", "token", "shell", "layer", "cache")


def prose(lines: int, salt: int = 0) -> list[str]:
    """Return lines of which no two neighbours are alike."""
    size = len(WORDS)
    return [
        f"{WORDS[(at + salt) % size]} {WORDS[at // size % size]} {WORDS[at // 7 % size]} {'x' * (at % 5)}."
        for at in range(lines)
    ]


def shown(text: str, longest: int = 16_000) -> str:
    return signal(text.encode(), longest=longest).text


def test_short_output_is_shown_as_it_is() -> None:
    text = "one\ntwo 1\ntwo 2\n\n\n  indented\n" + "".join(f"item {number}\n" for number in range(20))
    assert signal(text.encode(), longest=16_000).text == text.rstrip()
    assert not signal(text.encode(), longest=16_000).partial
    assert not signal(b"", longest=16_000).text


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        ("N\bNA\bAM\bME\bE", "NAME"),
        ("_\bi_\bt", "it"),
        ("|\b/\b-\bdone", "done"),
        ("abc\b\b\b\b\b\bxy", "xy"),
        (" 10%\r 50%\r100%\r\nnext", "100%\nnext"),
        ("\x1b]0;a title\x07x\x1b]never ends", "xnever ends"),
        ("trailing   \t\nblanks  ", "trailing\nblanks"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("same\n" * 313 + "other", "same\n[the line above came 312 times more]\nother"),
        ("same\nsame\nother", "same\nsame\nother"),
    ],
)
def test_what_a_terminal_would_not_show_goes(printed: str, text: str) -> None:
    assert shown(printed) == text


@pytest.mark.parametrize(
    "lines",
    [
        [f"Downloading torch-2.1.0-cp311.whl ({size} kB)" for size in range(40)],
        [f"   ━━━━━━━━━━━ {size}.1/88.0 MB 12.1 MB/s eta 0:00:0{size % 9}" for size in range(40)],
        [f"[{'=' * done}>{' ' * (20 - done)}] {done}/20" for done in range(1, 20)],
        [f"{layer * 12}: Downloading [==>   ] {size}MB/9MB" for size in range(9) for layer in "abc"],
        [f"Receiving objects: {percent}% ({percent * 7}/700)" for percent in range(99)],
        [f"[{'#' * done}{'.' * (20 - done)}] | fetch: sill {done}" for done in range(1, 20)],
    ],
)
def test_progress_on_lines_of_its_own_is_first_and_last(lines: list[str]) -> None:
    found = signal("\n".join(["begin", *lines, "end"]).encode(), longest=16_000)
    assert found.text.split("\n") == ["begin", lines[0], f"[{len(lines) - 2} lines of progress]", lines[-1], "end"]
    assert found.partial


@pytest.mark.parametrize(
    "lines",
    [
        [f"src/{WORDS[at % 10]}.py   {at}   3   {at}%" for at in range(90)],
        [f"tests/test_{WORDS[at % 10]}.py ........ [ {at}%]" for at in range(90)],
        [f"{at} {at * 7}, {at * 13}" for at in range(200)],
        [f"FACT-{at} = {at * 7919}" for at in range(200)],
        [f'    "port{at}": {at * 7919},' for at in range(200)],
        [f"{at * 0x9E3779B97F4A7C15 % 2**64:016x}" for at in range(1, 100)],
        [f"error: test_{at} failed in {at} s, as the one before it" for at in range(90)],
        prose(90),
    ],
)
def test_data_is_left_alone(lines: list[str]) -> None:
    assert shown("\n".join(lines)).split("\n") == lines


def test_lines_that_differ_in_numbers_are_two_and_the_last() -> None:
    lines = [
        f"2024-05-01T12:00:{at % 60:02}.{at:03} INFO worker-{at % 7} did job {at * 0x9E3779B1 % 2**32:08x} in {at} ms"
        for at in range(99)
    ]
    found = signal("\n".join([*lines, "done"]).encode(), longest=16_000)
    assert found.text.split("\n") == [*lines[:2], "[96 lines like these]", lines[-1], "done"]
    assert found.partial
    broken = [*lines[:50], "ERROR worker-3 lost job 50", *lines[50:]]
    assert "ERROR worker-3 lost job 50" in shown("\n".join(broken)).split("\n")
    hexes = [f"commit {at * 0x9E3779B97F4A7C15 % 2**64:016x} picked" for at in range(1, 99)]
    assert shown("\n".join(hexes)).split("\n") == [*hexes[:2], "[95 lines like these]", hexes[-1]]


def test_errors_in_the_middle_stay_with_their_numbers() -> None:
    lines = prose(20_000)
    lines[9_000] = "E       AssertionError: expected 3"
    lines[12_345] = "tests/test_pool.py::test_lease FAILED"
    lines[7_000] = "warning: unused variable"
    text = "\n".join(lines)
    found = signal(text.encode(), longest=4_000)
    assert found.partial
    assert len(found.text) <= 4_000
    told = found.text.split("\n")
    wanted = [f"{at + 1}: {lines[at]}" for at in (7_000, 9_000, 12_345)]
    assert [line for line in told if line in wanted] == wanted
    assert told[0] == lines[0]
    assert told[-1] == lines[-1]
    note = next(line for line in told if "characters left out here" in line)
    kept = sum(len(line) + 1 for line in told if not line.startswith("[…")) - len("7001: 9001: 12346: ")
    assert abs(int(note.split()[1].replace(",", "")) - (len(text) - kept)) <= 2


def test_many_warnings_do_not_take_the_place_of_an_error() -> None:
    lines = [f"warning: {line}" for line in prose(5_000)]
    lines[4_000] = "fatal: no such revision"
    found = shown("\n".join(lines), 3_000)
    assert "4001: fatal: no such revision" in found
    assert "warning" in found.split("left out here")[1]
    assert len(found) <= 3_000


def test_what_the_sandbox_left_out_counts_and_lines_have_no_numbers_then() -> None:
    lines = prose(3_000)
    lines[1_500] = "Traceback (most recent call last):"
    found = signal("\n".join(lines).encode(), longest=2_000, before=1_000_000)
    assert "\nTraceback (most" in found.text
    note = next(line for line in found.text.split("\n") if "left out here" in line)
    assert int(note.split()[1].replace(",", "")) > 1_000_000
    assert signal(b"short", longest=2_000, before=7).partial


def test_long_lines_keep_both_ends() -> None:
    line = "a" * 3_000 + "z" * 3_000
    found = shown(f"first\n{line}\nlast")
    middle = found.split("\n")[1]
    assert middle.startswith("aaa")
    assert middle.endswith("zzz")
    assert len(middle) < LONGEST_LINE
    assert "5,600 characters" in middle


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "", "same", "error: x", "Downloading 1%", "[=> ] 3", "item 17 of many", "\x1b]", "\b"])
    ),
    st.integers(min_value=400, max_value=3_000),
    st.binary(max_size=200),
)
def test_it_is_bounded_and_never_fails(lines: list[str], longest: int, data: bytes) -> None:
    found = signal("\n".join(lines * 9).encode() + data, longest=longest)
    assert len(found.text) <= longest
    assert not [char for char in found.text if char not in {"\n", "\t"} and ord(char) < 32]
    if not found.partial:
        first = [line for line in clean("\n".join(lines).encode()).split("\n") if line]
        assert all(line.rstrip() in found.text for line in first[:1])


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 10**7,
        b"a\nb\n" * (10**7 // 4),
        b"\x1b]" * (10**7 // 2),
        b"\x1b[" + b"1" * 10**7,
        b"\x1b" + b" " * 10**7,
        b"\r" + b"x" * 10**7,
        b"x" * (10**7 // 2) + b"\b" * (10**7 // 2),
        b"[=" * (10**7 // 2),
        (b"[" + b"=" * 239 + b"\n") * (10**7 // 241),
        b"Downloading " * (10**7 // 12),
        b"".join(b"Downloading %d " % at + b"1 " * 100 + b"\n" for at in range(40_000)),
        b"".join(b"same words %d\n" % at + b"x\n" * (at % 7 == 0) for at in range(500_000)),
        b"error " * (10**7 // 6),
        b"".join(b"%d\n" % at for at in range(10**6)),
        b"".join(b"%x cafe\n" % at for at in range(10**6)),
        b"".join(b"[=%d]\n" % at for at in range(10**6)),
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_ten_hostile_megabytes_take_a_moment(data: bytes) -> None:
    begun = time.process_time()
    assert len(signal(data, longest=16_000).text) <= 16_000
    assert time.process_time() - begun < 8, "a second at most here; what goes back over all of it takes hours"
