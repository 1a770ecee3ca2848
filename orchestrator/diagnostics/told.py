"""What the model is shown of a failed command's diagnostics: every place, in little room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BUDGET: Final = 2_000
"""Bytes of the whole block, in UTF-8."""
_MESSAGES: Final = (240, 120, 60, 30, 0)
"""Characters of one message, the longest that fits all."""
_AROUND: Final = 2
"""Lines of source shown before and behind the line of an error."""
_EXCERPTS: Final = 3
_FOR_THE_REST: Final = 160
"""Bytes that are kept free for what is left out, and where it is."""
_LONGEST_LIST: Final = 256 * 1024
"""Characters of the list of all, with its messages."""
_LONGEST_LINE: Final = 120


def told(
    diagnostics: Sequence[Diagnostic],
    *,
    source: Callable[[str], str | None] = lambda _: None,
    rest: Callable[[], str] = lambda: "",
    budget: int = BUDGET,
) -> str:
    """Return the block that is shown, at most `budget` bytes; empty where nothing is worth showing.

    Errors come first, grouped by file, the same message of a file once. Where not all messages fit they are
    shortened, down to the places alone, and these grouped by directory. Where not even that fits, `rest` is asked for
    the path of a file that has all of them, which the block then names beside how many it leaves out.
    `source` returns the text of a file of the workspace, None where there is none; it is asked for a few files.
    """
    errors = [one for one in diagnostics if one.severity is Severity.ERROR]
    warnings = [one for one in diagnostics if one.severity is Severity.WARNING]
    if not errors and not warnings:
        return ""
    head, shown = _head(errors, warnings), errors or warnings
    behind = warnings if errors else []
    # All lines but the first are indented: none can be taken for one of the harness's own.
    for longest in _MESSAGES:
        body = "\n ".join((head, *_lines(shown, longest)))
        if _size(body) <= budget - (_FOR_THE_REST if behind else 0):
            break
    else:
        return _places_that_fit(head, shown, behind, budget, rest)
    for shorter in [one for one in _MESSAGES if one <= longest] if behind else []:
        whole = "\n ".join((body, *_lines(behind, shorter)))
        if _size(whole) <= budget:
            body, behind = whole, []
            break
    if behind:
        body = f"{body}\n {_left(0, behind, rest())}"
    for excerpt in _excerpts(shown, source):
        whole = "\n ".join((body, *excerpt))
        if _size(whole) > budget:
            break
        body = whole
    return body


def listed(diagnostics: Sequence[Diagnostic]) -> str:
    """Return all errors, then all warnings, as lines of `file:line:column: severity: message [code]`.

    Where that is much, the messages are left out: the places are what is to be found again.
    """
    worth = [one for severity in (Severity.ERROR, Severity.WARNING) for one in diagnostics if one.severity is severity]
    text = "".join(f"{_where(one)}: {one.severity}: {_said(one)}\n" for one in worth)
    return text if len(text) <= _LONGEST_LIST else "".join(f"{_where(one)}: {one.severity}\n" for one in worth)


def _where(one: Diagnostic) -> str:
    return ":".join([one.file, *(str(number) for number in (one.line, one.column) if number)])


def _said(one: Diagnostic) -> str:
    said = f"{one.message} [{one.code}]" if one.code and one.code not in one.message else one.message
    return " ".join(said.split())


def _left(files: int, warnings: Sequence[Diagnostic], path: str) -> str:
    """Return the line that says what isn't shown, and where all of it is."""
    parts = [f"in {files:,} other file{'' if files == 1 else 's'}"] if files else []
    parts += [f"{len(warnings):,} warning{'' if len(warnings) == 1 else 's'}"] if warnings else []
    where = f": all of it is in {path}" if path else ""
    return f"… and more {' and '.join(parts)}{where}" if files else f"… and {parts[0]}{where}"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _head(errors: list[Diagnostic], warnings: list[Diagnostic]) -> str:
    parts = [
        f"{len(found)} {word}{'' if len(found) == 1 else 's'}"
        for found, word in ((errors, "error"), (warnings, "warning"))
        if found
    ]
    return f"Diagnostics: {', '.join(parts)}"


def _lines(diagnostics: Iterable[Diagnostic], longest: int) -> list[str]:
    """Return a line for each file and message, in the order of their first appearance."""
    groups: dict[tuple[str, str], list[Diagnostic]] = {}
    for one in diagnostics:
        groups.setdefault((one.file, _message(one, longest)), []).append(one)
    return [_line(file, message, found) for (file, message), found in groups.items()]


def _message(one: Diagnostic, longest: int) -> str:
    if not longest:
        return ""
    said = _said(one)
    said = said if one.severity is Severity.ERROR else f"{one.severity}: {said}"
    return said if len(said) <= longest else said[: longest - 1] + "…"


def _line(file: str, message: str, found: list[Diagnostic]) -> str:
    """Return `file:3,7-9: message`, and how often it was printed where that is more than there are places."""
    times = sum(one.times for one in found)
    numbers = sorted({one.line for one in found if one.line})
    place = f"{file}:{_ranges(numbers)}" if numbers else file
    count = f" ({times} times)" if message and times > len(found) else ""
    return ": ".join(part for part in (place, message) if part) + count


def _ranges(numbers: list[int]) -> str:
    """Return numbers as `3,7-9`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _places_that_fit(
    head: str, shown: list[Diagnostic], behind: list[Diagnostic], budget: int, rest: Callable[[], str]
) -> str:
    """Return the places alone, those of a directory in one line, and how many files are left out, if any."""
    files: dict[str, set[int]] = {}
    for one in shown:
        files.setdefault(one.file, set()).add(one.line)
    lines: dict[str, str] = {}
    room = budget - _size(head) - _FOR_THE_REST
    left = len(files)
    for file, numbers in sorted(files.items(), key=lambda one: one[0].rpartition("/")[0]):
        directory, _, name = file.rpartition("/")
        ranges = _ranges(sorted(numbers - {0}))
        place = f" {name}:{ranges}" if ranges else f" {name}"
        size = _size(place) + (0 if directory in lines else _size(directory) + 4)
        if size > room:
            break
        lines[directory] = lines.get(directory, f"{directory}/:" if directory else "./:") + place
        room, left = room - size, left - 1
    more = [_left(left, behind, rest())] if left or behind else []
    return "\n ".join((head, *lines.values(), *more))


def _excerpts(shown: list[Diagnostic], source: Callable[[str], str | None]) -> Iterable[list[str]]:
    """Yield the source around the first places, each once, marked."""
    done: list[tuple[str, int]] = []
    for one in shown:
        if not one.file or not one.line or any(f == one.file and abs(at - one.line) <= _AROUND for f, at in done):
            continue
        if len(done) == _EXCERPTS:
            return
        done.append((one.file, one.line))
        if text := source(one.file):
            lines = text.splitlines()
            first, last = max(1, one.line - _AROUND), min(len(lines), one.line + _AROUND)
            if one.line <= len(lines):
                width = len(str(last))
                rows = [
                    f"{'>' if number == one.line else ' '} {number:{width}} {lines[number - 1][:_LONGEST_LINE]}"
                    for number in range(first, last + 1)
                ]
                yield [f"{one.file}:{one.line}", *rows]
