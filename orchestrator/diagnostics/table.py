"""The one table of what is read from plain text: each row a literal that its lines hold, and a matcher.

The rows are tried from top to bottom, the most frequent shape first and the general ones last; the first that finds
something wins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.diagnostics import compilers, general, golang, java, python, rust, script

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.diagnostics.found import Found
    from orchestrator.diagnostics.log import Log


class Row(NamedTuple):
    """What a line must hold, so that it is worth a look, and who looks."""

    hint: str
    match: Callable[[Log, int], Found | None]


NUMBERED: Final = re.compile(
    r"[:(\[\n](?:(?<=[^\s\"\d,]:)[ \[(]{0,2}\d|(?<=\d:)(?<![\s\[T(:.,]\d\d:)\d"
    r"|(?<=\()\d{1,7}[,):]|(?<=\[)\d{1,7},|(?<=\n)[ \t]{1,8}\d{1,7}:\d)[^\n]*"
)
"""The cheap test that rules out most lines before any matcher runs: a number behind `:`, `(` or `[`, but no clock."""
WORDS: Final = (
    "line ",
    "line: ",
    " directory ",
    "undefined reference",
    "multiple definition",
    "cannot find -l",
    "CMake ",
    "*** ",
    "FAILED ",
    "ERROR ",
    "line=",
    "linenumber=",
)
"""What the other lines that a row reads hold: searched for in the whole text at once."""

TABLE: Final = (
    Row(": ", general.plain),
    Row(" directory ", compilers.directory),
    Row('File "', python.traceback),
    Row(": Assertion ", compilers.asserted),
    Row("-->", rust.arrow),
    Row(":::", rust.arrow),
    Row("─[", rust.arrow),
    Row(",-[", rust.arrow),
    Row("panicked at", rust.panic),
    Row("cannot ", python.black),
    Row("location: '", script.tap),
    Row("[", general.boxed),
    Row("file=", general.boxed),
    Row("ERROR in ", general.boxed),
    Row("file=", general.workflow),
    Row("task.logissue", general.workflow),
    Row("at ", script.stack),
    Row("\u276f ", script.stack),
    Row(".go:", golang.panic),
    Row(".go:", golang.logged),
    Row("Error Trace:", golang.trace),
    Row("from ", compilers.included),
    Row(":   ", compilers.included),
    Row("CMake ", compilers.cmake),
    Row("*** ", compilers.make),
    Row("undefined reference", compilers.undefined),
    Row("multiple definition", compilers.undefined),
    Row("cannot find -l", compilers.library),
    Row("[ERROR]", java.surefire),
    Row(":[line", java.spotbugs),
    Row(" at ", java.gradle_test),
    Row(" line: ", java.gradle_where),
    Row(", line ", java.model),
    Row("  ", script.stylish),
    Row("FAILED ", python.pytest_summary),
    Row("ERROR ", python.pytest_summary),
    Row(".py:", python.pytest_place),
    Row(":", script.rejected),
    Row(":", general.colon),
    Row("(", general.paren),
    Row("[", general.paren),
    Row("line", general.worded),
)
