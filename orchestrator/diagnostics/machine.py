"""The formats that tools print for machines: found in an output, between other lines too, and read as such."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.diagnostics import objects, reports

if TYPE_CHECKING:
    from orchestrator.diagnostics.values import Found

LARGEST: Final = 16_000_000
"""Characters of one document; what is larger is read line by line."""
_ATTEMPTS: Final = 4
"""Documents that are looked for between other lines; each costs a look at the rest of the output."""
_BEGINS: Final = re.compile(r"^(?:\{|\[)(?=\s*(?:[\"{\[\]}]|$))", re.MULTILINE)
_XML: Final = re.compile(r"<\?xml[^<]{0,200}\?>\s*|<(?:testsuites?|checkstyle)\b")
_LINE: Final = re.compile(r"^\{\".*\}[ \t\r]*$", re.MULTILINE)


class Read(NamedTuple):
    """What a machine format says; `raw` is what a failed test printed, which knows better where it failed."""

    found: Found
    raw: str = ""


def read(output: str) -> tuple[list[Read], str]:
    """Return what the machine formats in an output say, and the rest of the output."""
    found: list[Read] = []
    rest = output
    if "<testsuite" in output or "<checkstyle" in output:
        found, rest = _xml(rest)
    if '{"' in rest and (lines := _LINE.findall(rest)) and len(lines) > 1:
        each, rest = _json_lines(lines, rest)
        found += each
    if "{" in rest and '"' in rest and len(rest) <= LARGEST:
        each, rest = _documents(rest)
        found += each
    return found, rest


def _xml(output: str) -> tuple[list[Read], str]:
    if not (begin := _XML.search(output)):
        return [], output
    end = (
        max(
            output.rfind(f"</{name}>") + len(name) + 3
            for name in ("testsuites", "testsuite", "checkstyle")
            if f"</{name}>" in output
        )
        if "</" in output and any(f"</{name}>" in output for name in ("testsuites", "testsuite", "checkstyle"))
        else 0
    )
    if end <= begin.start() or end - begin.start() > LARGEST:
        return [], output
    found = reports.xml(output[begin.start() : end])
    return ([], output) if found is None else ([Read(*one) for one in found], output[: begin.start()] + output[end:])


def _json_lines(lines: list[str], output: str) -> tuple[list[Read], str]:
    """Read one JSON object a line: cargo, `go test -json`, mypy. What they hold of plain text is read as such."""
    found: list[Read] = []
    printed: list[str] = []
    values: list[Any] = []
    for line in lines:
        value = loaded(line)
        if value is None:
            return [], output
        if isinstance(said := value.get("Output"), str) and "Action" in value:
            printed.append(said)
        else:
            values.append(value)
    for value in values:
        found += [Read(one) for one in objects.located(value)]
    return found, _LINE.sub("", output) + "\n" + "".join(printed)


def loaded(text: str) -> Any:
    """Return the value of a JSON document; None where it is none, or nested beyond reading."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _documents(output: str) -> tuple[list[Read], str]:
    found: list[Read] = []
    at = 0
    kept: list[str] = []
    decoder = json.JSONDecoder()
    for _ in range(_ATTEMPTS):
        if not (begin := _BEGINS.search(output, at)):
            break
        try:
            value, end = decoder.raw_decode(output, begin.start())
        except (ValueError, RecursionError):
            kept.append(output[at : begin.end()])
            at = begin.end()
            continue
        each = objects.located(value)
        kept.append(output[at : begin.start()] if each or end - begin.start() > _SMALL else output[at:end])
        found += [Read(one) for one in each]
        at = end
    kept.append(output[at:])
    return found, "".join(kept)


_SMALL: Final = 200
"""Characters; a larger document that names no place is not read again as text."""
