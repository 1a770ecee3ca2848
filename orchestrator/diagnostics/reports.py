"""Reports in XML: JUnit's, which every test runner can write, and Checkstyle's, which many linters can.

They come out of the sandbox: expat reads them as a stream, and a document type, without which there are no entities
to expand, is refused.
"""

from __future__ import annotations

import re
from typing import Final
from xml.parsers import expat  # Document types are refused, and nothing is built from the tree.

from orchestrator.diagnostics.found import Found, severity
from orchestrator.diagnostics.paths import is_file

_LONGEST: Final = 20_000
"""Characters kept of what one failed test printed."""

_LINE: Final = re.compile(r"\bline (\d{1,7}), col")


class _DoctypeError(Exception):
    """A document type, and with it perhaps entities."""


class _Reader:
    """What the elements so far say."""

    def __init__(self) -> None:
        self.found: list[tuple[Found, str]] = []
        self._case: dict[str, str] = {}
        self._failure: dict[str, str] | None = None
        self._text: list[str] = []
        self._size = 0
        self._file = self._suite = ""

    def refuse(self, *_: object) -> None:
        raise _DoctypeError

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "testsuite":
            self._suite = attributes.get("file") or attributes.get("name", "")
        elif name == "testcase":
            self._case = attributes
        elif name in {"failure", "error"} and "line" not in attributes and self._case:
            self._failure, self._text, self._size = {**attributes, "kind": name}, [], 0
        elif name == "file":
            self._file = attributes.get("name", "")
        elif name in {"error", "violation"} and self._file:
            self.found.append((_checkstyle(self._file, attributes), ""))

    def end(self, name: str) -> None:
        if self._failure is not None and name == self._failure["kind"]:
            self.found.append((_junit(self._case, self._failure, self._suite, said := "".join(self._text)), said))
            self._failure = None
        elif name == "testcase":
            self._case = {}

    def text(self, data: str) -> None:
        if self._failure is not None and self._size < _LONGEST:
            self._text.append(data)
            self._size += len(data)


def xml(document: str) -> list[tuple[Found, str]] | None:
    """Return what a report says, each with what the failed test printed; None where it is none, or is refused."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document.encode("utf-8", "replace"), True)  # expat takes no keyword.
    except (expat.ExpatError, _DoctypeError, ValueError):
        return None
    return reader.found


def number(text: object) -> int:
    """Return a line or column as a tool wrote it; 0 for anything else."""
    if isinstance(text, bool):
        return 0
    if isinstance(text, float):
        return int(text) if 0 < text < 1e9 else 0  # noqa: PLR2004  # No line of a file.
    if isinstance(text, int):
        return text if 0 < text < 10**9 else 0
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004


def _junit(case: dict[str, str], failure: dict[str, str], suite: str, said: str) -> Found:
    """Return a failed test; linters name the file as the suite, and the line in what the test printed."""
    name = ".".join(part for part in (case.get("classname", ""), case.get("name", "")) if part)
    message = failure.get("message") or failure.get("type") or "failed"
    file = case.get("file") or (suite if is_file(suite) else "")
    line = case.get("line") or (place[1] if (place := _LINE.search(said)) else 0)
    return Found(file, number(line), message=message, code=name, tool="junit")


def _checkstyle(file: str, attributes: dict[str, str]) -> Found:
    return Found(
        file,
        number(attributes.get("line")),
        number(attributes.get("column")),
        severity(attributes.get("severity")),
        attributes.get("message", ""),
        attributes.get("source", "").rpartition(".")[2],
        "checkstyle",
    )
