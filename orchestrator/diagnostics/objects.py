"""Findings in JSON: SARIF and cargo as they are specified, every other tool's by the names that its fields have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place, severity
from orchestrator.diagnostics.reports import number

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST: Final = 12
_FILES: Final = ("file", "filename", "filePath", "file_path", "file_name", "path", "Filename", "abspath", "uri")
_LINES: Final = ("line", "row", "lineNumber", "line_number", "startLine", "line_start", "start_line", "Line", "lineno")
_COLUMNS: Final = ("column", "col", "startColumn", "column_start", "Column", "character", "col_offset", "start_column")
_MESSAGES: Final = ("message", "Text", "text", "details", "description", "reason", "issue_text", "longrepr", "msg")
_CODES: Final = (
    "option",
    "ruleId",
    "code",
    "rule",
    "rule_id",
    "check_id",
    "cop_name",
    "FromLinter",
    "test_id",
    "symbol",
    "check_name",
)
_SEVERITIES: Final = ("kind", "severity", "Severity", "level", "type", "issue_severity")
_PLACES: Final = (
    "location",
    "locations",
    "caret",
    "positions",
    "Pos",
    "start",
    "range",
    "startPosition",
    "begin",
    "lines",
    "position",
    "crash",
    "extra",
)


def located(value: Any) -> list[Found]:
    """Return what a JSON value says of places; nothing where it speaks of something else."""
    if isinstance(value, dict):
        if isinstance(value.get("runs"), list) and ("version" in value or "$schema" in value):
            return list(_sarif(value["runs"]))
        if isinstance(message := value.get("message"), dict) and isinstance(message.get("spans"), list):
            return list(_rustc(message))
        if isinstance(value.get("spans"), list) and "level" in value:
            return list(_rustc(value))
    return list(_walk(value, "", 0))


def _walk(value: Any, file: str, depth: int) -> Iterator[Found]:
    """Yield every object that has a message and a line; an object around it may name the file."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from _walk(each, file, depth + 1)
    elif isinstance(value, dict):
        file = _text(value, _FILES) or file
        if (one := _finding(value, file)) is not None:
            yield one
            return
        for each in value.values():
            if isinstance(each, dict | list):
                yield from _walk(each, file, depth + 1)


def _finding(value: dict[str, Any], file: str) -> Found | None:
    message = _text(value, _MESSAGES) or (
        _text(value["extra"], _MESSAGES) if isinstance(value.get("extra"), dict) else ""
    )
    if not message:
        return None
    places = [value, *_places(value)]
    file = next((name for one in places if (name := _text(one, _FILES))), file)
    line = next((at for one in places if (at := _number(one, _LINES))), 0)
    if not file or not (line or ("ruleId" in value and "messages" not in value)):
        return None
    column = next((at for one in places if (at := _number(one, _COLUMNS))), 0)
    # Language servers, and pyright with them, count from 0.
    zero = 1 if isinstance(value.get("range"), dict) and "character" in str(value["range"])[:400] else 0
    code = next((code for name in _CODES if (code := _code(value.get(name)))), "")
    word = next(
        (
            value[name]
            for name in _SEVERITIES
            if value.get(name) not in {None, ""} and isinstance(value[name], str | int)
        ),
        None,
    )
    return Found(file, line + zero, column + zero, severity(word), message, code, _tool(value))


def _places(value: dict[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the objects in it that say where: gcc and others put the place into a list of places."""
    for name in _PLACES:
        inner = value.get(name)
        if isinstance(inner, list) and inner and name == "locations":
            inner = inner[0]
        if isinstance(inner, dict) and depth < 3:  # noqa: PLR2004  # location, range, start.
            yield inner
            yield from _places(inner, depth + 1)


def _tool(value: dict[str, Any]) -> str:
    if "ruleId" in value:
        return "eslint"
    if "FromLinter" in value:
        return "golangci-lint"
    if "end_location" in value:
        return "ruff"
    return ""


def _text(value: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        said = value.get(name)
        if isinstance(said, str) and said:
            return said
        if isinstance(said, dict) and isinstance(said.get("text"), str):
            return str(said["text"])
    return ""


def _number(value: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((at for name in names if (at := number(value.get(name)))), 0)


def _code(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("code") or value.get("value") or value.get("name")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else ""


def _rustc(message: dict[str, Any]) -> Iterator[Found]:
    """Yield a message of rustc: its primary place, the others as frames."""
    spans = [one for one in message["spans"] if isinstance(one, dict) and isinstance(one.get("file_name"), str)]
    primary = [one for one in spans if one.get("is_primary")]
    for one in primary[:1]:
        others = tuple(
            Place(o["file_name"], number(o.get("line_start")), str(o.get("label") or "")) for o in spans if o is not one
        )
        yield Found(
            one["file_name"],
            number(one.get("line_start")),
            number(one.get("column_start")),
            severity(message.get("level")),
            str(message.get("message", "")),
            _code(message.get("code")),
            "rustc",
            others,
        )


def _sarif(runs: list[Any]) -> Iterator[Found]:
    """Yield the results of a SARIF log (OASIS, version 2.1.0); a result without a level is a warning."""
    for run in runs:
        if not isinstance(run, dict) or not isinstance(run.get("results"), list):
            continue
        driver = _within(run, "tool", "driver")
        for result in run["results"]:
            if not isinstance(result, dict):
                continue
            places = result.get("locations")
            place = places[0] if isinstance(places, list) and places else {}
            region = _within(place, "physicalLocation", "region")
            artifact = _within(place, "physicalLocation", "artifactLocation")
            yield Found(
                _text(artifact, ("uri",)),
                number(region.get("startLine")),
                number(region.get("startColumn")),
                severity(result.get("level"), Severity.WARNING),
                _text(result, ("message",)),
                _code(result.get("ruleId")),
                _text(driver, ("name",)),
            )


def _within(value: Any, *names: str) -> dict[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
