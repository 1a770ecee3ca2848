"""Runs that only the diagnostics tell apart: the same errors in ever other words, and others in ever the same."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks.guard_cases import Case, Step, bash, edit

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOME = 60
_LINTED = 25


def _fix(number: int) -> Step:
    return edit("src/part0.py", f"return {number}", f"return {number + 1}")


def _parallel_build() -> Iterator[Step]:
    """Yield fixes of a build whose errors move, and come in whatever order its jobs end."""
    for number in itertools.count(1):
        errors = [
            f"src/{name}.c:{number * 3 + at}:5: error: unknown type name '{name}_t'\n"
            f" {number * 3 + at:4} |     {name}_t failed = assert_{name}();\n      |     ^~~\n"
            for at, name in enumerate("abc")
        ]
        shift = number % 3
        said = "".join(errors[shift:] + errors[:shift])
        yield _fix(number)
        yield bash("make -j4 2>&1", f"{said}make: *** [Makefile:9: all] Error 1", 2)


def _logging_test() -> Iterator[Step]:
    """Yield fixes of a test that fails the same, while what it logs differs each time."""
    for number in itertools.count(1):
        yield _fix(number)
        yield bash(
            "python3 -m pytest -q",
            "    def test_get():\n>       assert get() is not None\nE       assert None is not None\n\n"
            f"tests/test_get.py:{10 + number}: AssertionError\n------- Captured log call -------\n"
            f"ERROR    app request {number * 7919} for user-{number} failed at shard {number % 13}\n"
            "FAILED tests/test_get.py::test_get - assert None is not None\n1 failed in 0.12s",
            1,
        )


def _one_file_after_the_other() -> Iterator[Step]:
    """Yield changes of one file, each of which brings the same error in another one."""
    for number in range(20):
        yield _fix(number)
        yield bash(
            "cargo build",
            f"error[E0308]: mismatched types\n --> src/part{number}.rs:9:5\n  |\n9 |     1\n  |     ^\n\n"
            "error: could not compile `parts` (lib) due to 1 previous error",
            101,
        )


def _many_errors() -> Iterator[Step]:
    """Yield fixes each of which leaves one error less, far down in the output."""
    for number in range(20):
        names = [f"n{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(_SOME - number)]
        said = "".join(f'src/part0.py:7: error: Name "{name}" is not defined  [name-defined]\n' for name in names)
        yield _fix(number)
        yield bash("mypy src", f"{said}Found {_SOME - number} errors in 1 file", 1)


def _linted() -> Iterator[Step]:
    """Yield fixes of findings that sound like no failure, from the first one on."""
    for number in range(20):
        found = [f"src/part0.py:{at + 1}:80: E501 line too long ({80 + at} > 79 characters)" for at in range(_LINTED)]
        yield _fix(number)
        yield bash("flake8 src", "\n".join(found[number:]), 1)


LOOPS = (
    Case("a parallel build that fails the same, at other lines in another order", _parallel_build, 10),
    Case("a test that fails the same and logs something else", _logging_test, 10),
)
HONEST = (
    Case("the same error, in another file each time", _one_file_after_the_other),
    Case("one error less of many each time", _many_errors),
    Case("one finding less of a linter each time", _linted),
)
