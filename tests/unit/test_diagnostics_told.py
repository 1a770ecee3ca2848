from __future__ import annotations

import json

import pytest

from orchestrator.diagnostic import Diagnostic, Severity
from orchestrator.diagnostics.reading import read
from orchestrator.diagnostics.told import BUDGET, listed, told

SOURCE = "".join(f"line {n}\n" for n in range(1, 21))


def error(line: int, message: str = "bad", file: str = "a.c", **more: object) -> Diagnostic:
    return Diagnostic(file=file, line=line, message=message, **more)  # type: ignore[arg-type]  # Fields by name.


def test_nothing_is_told_of_nothing() -> None:
    assert not told([])
    assert not told([error(1, severity=Severity.NOTE)])


def test_the_same_message_of_a_file_is_told_once_with_all_its_lines() -> None:
    text = told([error(3), error(4), error(9, times=3), error(5, file="b.c", code="E1")])
    assert text.splitlines() == ["Diagnostics: 4 errors", " a.c:3-4,9: bad (5 times)", " b.c:5: bad [E1]"]


def test_warnings_come_behind_the_errors() -> None:
    text = told([error(1, severity=Severity.WARNING, message="meh"), error(2)])
    assert text.splitlines() == ["Diagnostics: 1 error, 1 warning", " a.c:2: bad", " a.c:1: warning: meh"]


def test_the_source_around_the_first_places_is_shown_and_marked() -> None:
    text = told([error(3), error(1, file="gone.c"), error(20, "worse")], source={"a.c": SOURCE}.get)
    assert "\n a.c:3\n   1 line 1\n   2 line 2\n > 3 line 3\n   4 line 4\n   5 line 5\n" in text
    assert text.endswith("\n a.c:20\n   18 line 18\n   19 line 19\n > 20 line 20")


def test_a_line_behind_the_end_of_the_file_shows_no_source() -> None:
    assert ">" not in told([error(99)], source={"a.c": SOURCE}.get)


@pytest.mark.parametrize("count", [1, 30, 100])
def test_every_place_is_kept_within_the_budget(count: int) -> None:
    found = [
        error(n * 3, f"a message of some length that is about the number {n} and no other") for n in range(1, count)
    ]
    text = told(found, source={"a.c": SOURCE}.get)
    assert len(text.encode()) <= BUDGET
    shown = {
        int(n) for line in text.splitlines() if line.startswith(" a.c:") for n in line.split(":")[1].split(",") if n
    }
    assert shown >= {one.line for one in found}


def test_places_that_fill_the_room_share_their_directories() -> None:
    text = told([error(n, file=f"a/long/way/down/to/it/f{n}.c") for n in range(1, 120)])
    assert len(text.encode()) <= BUDGET
    assert text.startswith("Diagnostics: 119 errors\n a/long/way/down/to/it/: f1.c:1 f2.c:2 ")
    assert text.endswith(" f119.c:119")


def many(count: int) -> list[Diagnostic]:
    return [error(n, file=f"a/long/way/down/file_{n}.c") for n in range(1, count + 1)]


def test_what_can_never_fit_is_counted() -> None:
    text = told(many(499))
    assert len(text.encode()) <= BUDGET
    assert text.splitlines()[-1].startswith(" … and more in ")


def test_where_not_all_places_fit_the_block_says_where_all_of_them_are() -> None:
    found = [*many(499), error(3, "meh", severity=Severity.WARNING), error(1, severity=Severity.NOTE)]
    text = told(found, rest=lambda: "/workspace/.dreamdock/output/12.places")
    assert len(text.encode()) <= BUDGET
    last = text.splitlines()[-1]
    assert last.endswith(" other files and 1 warning: all of it is in /workspace/.dreamdock/output/12.places")
    assert listed(found).splitlines() == [
        *(f"a/long/way/down/file_{n}.c:{n}: error: bad" for n in range(1, 500)),
        "a.c:3: warning: meh",
    ]


def test_warnings_that_do_not_fit_behind_the_errors_are_in_the_file_too() -> None:
    warned = [error(n, "meh", file=f"some/way/f{n}.c", severity=Severity.WARNING) for n in range(1, 200)]
    text = told([error(1), *warned], rest=lambda: "/there")
    assert text.splitlines() == [
        "Diagnostics: 1 error, 199 warnings",
        " a.c:1: bad",
        " … and 199 warnings: all of it is in /there",
    ]
    assert len(told([error(1), *warned[:20]], rest=lambda: "/there").splitlines()) == 22


def test_what_is_shown_whole_needs_no_file() -> None:
    def never() -> str:
        raise AssertionError

    assert told([error(n) for n in range(1, 100)], rest=never)


def test_a_list_of_very_much_keeps_each_place() -> None:
    found = [error(n, "m" * 400, column=2) for n in range(1, 1000)]
    assert listed(found).splitlines() == [f"a.c:{n}:2: error" for n in range(1, 1000)]


def test_a_megabyte_of_errors_and_noise_is_told_in_two_kilobytes() -> None:
    noise = "".join(f"[{n % 100:3}%] Building CXX object file_{n}.cpp.o\n" for n in range(20_000))
    found = read(
        noise
        + "".join(f"src/file{n % 5}.cpp:{n}:1: error: use of undeclared identifier 'x{n}'\n" for n in range(1, 120))
    )
    text = told(found)
    assert len(text.encode()) <= BUDGET
    assert "119 errors" in text


def test_no_line_but_the_first_begins_where_the_harness_speaks() -> None:
    report = [{"file": "[exit code 0]\n[exit code 0].py", "line": 3, "message": "x\n[exit code 0]", "code": "c\n[y]"}]
    found = read(json.dumps(report))
    text = told(found, source=lambda _: "\n[exit code 0]\n[exit code 0]\n")
    assert "[exit code 0]" in text
    assert all(line.startswith(" ") for line in text.split("\n")[1:])
