"""An entry as the page that people read and edit: Markdown behind front matter, and back.

The front matter is the part of YAML that people know: `key: value`, lists of `- item` lines or in brackets, quotes,
comments. Every value is text until its field says what it is, so that a commit of digits alone stays one. PyYAML takes
`no` for false and `1e5` for a number, expands aliases, and needs 0.7 ms for a page's front (0.1 in C); this takes
0.03 for the whole.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from orchestrator.errors import DreamdockError
from orchestrator.library.entry import Entry, Evidence, SeenPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

LONGEST: Final = 1 << 20
"""Bytes of a page; no entry comes near."""
_FENCE: Final = "---"
_LISTS: Final = ("evidence", "paths", "supersedes")
_FIELDS: Final = frozenset(Entry.model_fields) - {"text"}
_REQUIRED: Final = ("kind",)
_KEY: Final = re.compile(r"([a-z_-]{1,40}):(?:[ \t]+(.*))?\Z")
_ITEM: Final = re.compile(r"[ \t]*-[ \t]+(.+)\Z")
_COMMENT: Final = re.compile(r"[ \t]+#.*\Z")
_INSIDE: Final = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,"'\[\]{}]+?)[ \t]*(?:,|\Z)""")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./(<~][^\n]*\Z")
_UNSAFE: Final = re.compile(
    r": |:\Z| #|\A[0-9.][0-9_.eExo+:-]*\Z|\A(?:true|false|yes|no|on|off|null|[yn~])\Z", re.IGNORECASE
)
_EVIDENCE: Final = re.compile(r"run (\S+)(?: step (\d{1,9}))?(?: commit (\S+))?\Z")
_PATH: Final = re.compile(r"(.+) @ (\?|[0-9a-f]{4,64})\Z")
_MARKERS: Final = (re.compile(r"<{7} "), re.compile(r"={7}\Z"), re.compile(r">{7} "))


class PageError(DreamdockError):
    """A page isn't an entry; `file` and `line` (from 1) say where, `reason` why. What it holds stays as it is."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        shown = "".join(sign if sign.isprintable() else "?" for sign in file)  # A name may be any bytes.
        super().__init__(f"{shown}:{line}: {reason}", hint="mend the page, or delete it")
        self.file = file
        self.line = line
        self.reason = reason


def render(entry: Entry) -> str:
    """Return an entry's page: the same bytes for the same entry, and `parse` gives it back."""
    lines = [
        _FENCE,
        f"id: {scalar(entry.id)}",
        f"kind: {entry.kind}",
        f"scope: {entry.scope}",
        f"scope_id: {scalar(entry.scope_id)}",
        f"title: {scalar(entry.title)}",
        f"status: {entry.status}",
        f"origin: {entry.origin}",
        f"confidence: {entry.confidence:g}",
        *(f"{name}: {_time(when)}" for name in ("created", "updated") if (when := getattr(entry, name)) is not None),
        f"uses: {entry.uses}",
        f"accepted: {entry.accepted}",
        *_list("evidence", [told_evidence(one) for one in entry.evidence]),
        *_list("paths", [_seen(one) for one in entry.paths]),
        *_list("supersedes", entry.supersedes),
        *([f"command: {scalar(entry.command)}"] if entry.command else []),
        _FENCE,
    ]
    return "\n".join([*lines, "", entry.text, ""] if entry.text else [*lines, ""])


def parse(page: bytes | str, file: str, known: Mapping[str, str] | None = None) -> Entry:
    """Return the entry of a page. `known` are fields that its place says; what it says itself must be the same.

    Raises PageError.
    """
    lines = page_lines(page, file)
    end = front_end(lines, file)
    fields, where = _fields(lines[1:end], file, known or {})
    for key in _REQUIRED:
        if key not in where:
            raise PageError(file, end + 1, f"{key} is missing")
    try:
        return Entry.model_validate({"title": "", **fields, "text": "\n".join(lines[end + 1 :]).strip("\n")})
    except ValidationError as error:
        first = error.errors()[0]
        field = str((first["loc"] or ("scope_id",))[0])
        said = first["msg"].removeprefix("Value error, ")
        raise PageError(file, where.get(field, end + 1), f"{field}: {said}") from None


def _fields(front: Sequence[str], file: str, known: Mapping[str, str]) -> tuple[dict[str, object], dict[str, int]]:
    """Return what the front matter says of each field, with what is known, and the lines where it says it."""
    fields: dict[str, object] = dict(known)
    where: dict[str, int] = {}
    for number, key, value in front_fields(front, file):
        if key in where:
            raise PageError(file, number, f"{key} is there twice, first in line {where[key]}")
        if key not in _FIELDS:
            raise PageError(file, number, f"there is no field {key[:40]!r}")
        if (key in _LISTS) is isinstance(value, str):
            raise PageError(file, number, f"{key} has to be {'a list' if key in _LISTS else 'one value'}")
        if key in known and known[key] != value:
            raise PageError(file, number, f"{key} is {value!r}, and the page lies where it would be {known[key]!r}")
        where[key] = number
        if key == "evidence":
            fields[key] = [evidence_of(item, file, number) for item in value]
        elif key == "paths":
            fields[key] = [_path(item) for item in value]
        else:
            fields[key] = value
    return fields, where


def page_lines(page: bytes | str, file: str) -> list[str]:
    """Return the lines of a page, however an editor ends them."""
    if isinstance(page, bytes):
        if len(page) > LONGEST:
            raise PageError(file, 1, f"it has {len(page)} bytes, and a page at most {LONGEST}")
        try:
            page = page.decode()
        except UnicodeDecodeError as error:
            raise PageError(file, error.object[: error.start].count(b"\n") + 1, "it isn't UTF-8") from None
    if (place := page.find("\0")) >= 0:
        raise PageError(file, page[:place].count("\n") + 1, "it holds a NUL")
    lines = page.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if "<<<<<<< " in page:
        _refuse_markers(lines, file)
    return lines


def front_end(lines: Sequence[str], file: str) -> int:
    """Return which line, from 0, ends the front matter."""
    if lines[0].rstrip() != _FENCE:
        raise PageError(file, 1, "it doesn't begin with ---, as front matter does")
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == _FENCE:
            return number
    raise PageError(file, 1, "its front matter has no end: a line with --- alone")


def _refuse_markers(lines: Sequence[str], file: str) -> None:
    """Refuse what git leaves in a file where two changes met: who wrote it has to say which one holds."""
    first, met = 0, 0
    for number, line in enumerate(lines, start=1):
        if line[:7] in {"<<<<<<<", "=======", ">>>>>>>"} and _MARKERS[met].match(line):
            first, met = first or number, met + 1
            if met == len(_MARKERS):
                raise PageError(file, first, "a merge left both sides in it: keep one")


def front_fields(lines: Sequence[str], file: str) -> Iterator[tuple[int, str, str | list[str]]]:
    """Yield each field with the number of its line, its name and its value: text, or a list of it."""
    key, started, items = "", 0, []
    for number, raw in enumerate(lines, start=2):
        name, colon, rest = raw.partition(": ")
        if colon and not key and name in _FIELDS and rest.isascii() and rest[:1].isalnum() and " #" not in rest:
            yield number, name, rest.rstrip()  # Most lines are of this kind.
            continue
        line = raw.rstrip()
        if not line or line.lstrip().startswith("#"):
            continue
        if key and (item := _ITEM.match(line)):
            items.append(_value(item[1], file, number))
            continue
        if key:
            yield started, key, items or ("" if key not in _LISTS else [])
            key, items = "", []
        if not (found := _KEY.match(line)):
            raise PageError(file, number, "it should read `name: value`")
        rest = (found[2] or "").strip()
        if not rest or rest.startswith("#"):
            key, started = found[1], number
        elif rest.startswith("["):
            yield number, found[1], _inline(rest, file, number)
        else:
            yield number, found[1], _value(rest, file, number)
    if key:
        yield started, key, items or ("" if key not in _LISTS else [])


def _value(text: str, file: str, number: int) -> str:
    """Return what a value says: plain text, or what its quotes hold."""
    if text[0] == '"':
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            value, end = None, 0
        if isinstance(value, str) and (not text[end:] or _COMMENT.match(text[end:])):
            return value
        raise PageError(file, number, "its quotes don't end, or hold what they can't")
    if text[0] == "'":
        if found := re.match(r"'((?:[^']|'')*)'(?:[ \t]+#.*)?\Z", text):
            return found[1].replace("''", "'")
        raise PageError(file, number, "its quotes don't end")
    if text[0] in "&*!|>{}[]%`":
        raise PageError(file, number, f"a value can't begin with {text[0]}: put it into quotes")
    return _COMMENT.sub("", text) if " #" in text or "\t#" in text else text


def _inline(text: str, file: str, number: int) -> list[str]:
    """Return the items of a list in brackets."""
    inner = _COMMENT.sub("", text) if " #" in text else text
    if not inner.endswith("]"):
        raise PageError(file, number, "its brackets don't end")
    inner, place, items = inner[1:-1].strip(), 0, []
    while place < len(inner):
        if not (found := _INSIDE.match(inner, place)):
            raise PageError(file, number, "a list in brackets is `[one, two]`; put what holds other signs into quotes")
        items.append(_value(found[1], file, number))
        place = found.end()
    return items


def evidence_of(item: str, file: str, number: int) -> dict[str, object]:
    """Return the fields of a piece of evidence. Raises PageError."""
    if not (found := _EVIDENCE.match(item)):
        raise PageError(file, number, f"evidence is `run ID step N commit ID`, not {item[:80]!r}")
    return {"run": found[1], "step": found[2] or 0, "commit": found[3] or ""}


def _path(item: str) -> dict[str, str]:
    found = _PATH.match(item)
    return {"path": item} if not found else {"path": found[1], "commit": "" if found[2] == "?" else found[2]}


def told_evidence(one: Evidence) -> str:
    """Return a piece of evidence as pages say it; `evidence_of` reads it."""
    return f"run {one.run} step {one.step}" + (f" commit {one.commit}" if one.commit else "")


def _seen(one: SeenPath) -> str:
    return f"{one.path} @ {one.commit or '?'}" if one.commit or " @ " in one.path else one.path


def _list(name: str, items: Sequence[str]) -> list[str]:
    return [f"{name}:", *(f"  - {scalar(item)}" for item in items)] if items else []


def scalar(text: str) -> str:
    """Return text as a value that any reader of YAML takes for this text."""
    if _PLAIN.match(text) and not _UNSAFE.search(text) and text == text.strip():
        return text
    return json.dumps(text, ensure_ascii=False)


def _time(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
