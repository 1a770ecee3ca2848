"""The formats that tools print for machines: found in an output, between other lines too, and read as such."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.diagnostics import objects, reports

if TYPE_CHECKING:
    from orchestrator.diagnostics.found import Found

LARGEST: Final = 16_000_000
"""Characters of one document; what is larger is read line by line."""
_ATTEMPTS: Final = 4
"""Documents that are looked for between other lines; each costs a look at the rest of the output."""
_BEGINS: Final = re.compile(r"\n[\[{](?=\s*(?:[\"{\[\]}]|\n|\Z))")
_ENDS: Final = ("</testsuites>", "</testsuite>", "</checkstyle>")
_XML: Final = re.compile(r"<\?xml[^<]{0,200}\?>\s*|<(?:testsuites?|checkstyle)\b")


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
    if rest.count('{"') > 1:
        each, rest = _json_lines(rest)
        found += each
    if ("{" in rest or "[" in rest) and '"' in rest and len(rest) <= LARGEST:
        each, rest = _documents(f"\n{rest}")
        found += each
    return found, rest


def _xml(output: str) -> tuple[list[Read], str]:
    begin = _XML.search(output)
    end = max((output.rfind(tag) + len(tag) for tag in _ENDS if tag in output), default=0)
    if begin is None or end <= begin.start() or end - begin.start() > LARGEST:
        return [], output
    found = reports.xml(output[begin.start() : end])
    if found is None:
        return [], output
    return [Read(*one) for one in found], output[: begin.start()] + output[end:]


def _json_lines(output: str) -> tuple[list[Read], str]:
    """Read one JSON object a line: cargo, `go test -json`, mypy. What they hold of plain text is read as such."""
    found: list[Read] = []
    printed: list[str] = []
    others: list[str] = []
    for line in output.split("\n"):
        value = loaded(line) if line.startswith('{"') and line.rstrip().endswith("}") else None
        if not isinstance(value, dict):
            others.append(line)
        elif isinstance(said := value.get("Output"), str) and "Action" in value:
            printed.append(said)
        else:
            found += [Read(one) for one in objects.located(value)]
    return found, "\n".join(others) + "\n" + "".join(printed)


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
            value, end = decoder.raw_decode(output, begin.start() + 1)
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
