"""The tools that read and change files, all of it inside the sandbox: nothing here opens a path of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent.outcome import Outcome, failed
from orchestrator.agent.shown import LONGEST_LINE, clean, is_binary

if TYPE_CHECKING:
    from orchestrator.agent.arguments import Edit, Read, Write
    from sandbox.open import Sandbox

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file that the tools read or write as a whole."""


def read(sandbox: Sandbox, arguments: Read, longest: int) -> Outcome:
    """Return lines of a text file, numbered, within `longest` characters."""
    data = sandbox.read(arguments.path, limit=LARGEST)
    if is_binary(data):
        return failed(f"{arguments.path} is binary ({len(data):,} bytes); look at it with bash: file, xxd, strings")
    lines = clean(data).split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if not lines:
        return Outcome("[the file is empty]")
    if arguments.offset > len(lines):
        return failed(f"{arguments.path} has only {len(lines):,} lines")
    numbered: list[str] = []
    size, most = 0, min(LONGEST_LINE, max(longest // 2, 1))
    for number, line in enumerate(
        lines[arguments.offset - 1 : arguments.offset - 1 + arguments.limit], arguments.offset
    ):
        text = f"{number:>5}\t{_short(line, most)}"
        size += len(text) + 1
        if size > longest and numbered:
            break
        numbered.append(text)
    last = arguments.offset + len(numbered) - 1
    if last < len(lines):
        numbered.append(f"[… up to line {last:,} of {len(lines):,}; go on with offset {last + 1} …]")
    return Outcome("\n".join(numbered), total_bytes=len(data))


def edit(sandbox: Sandbox, arguments: Edit) -> Outcome:
    """Replace exact text; on bytes, so that nothing else in the file changes, whatever its encoding."""
    path = arguments.path
    data = sandbox.read(path, limit=LARGEST)
    old, new = arguments.old.encode(), arguments.new.encode()
    if old == new:
        return failed("old and new are the same")
    if old not in data and b"\r\n" in data:
        old, new = _crlf(old), _crlf(new)
    count = data.count(old)
    if count == 0:
        return failed(
            f"old was not found in {arguments.path}; read the file and copy the text exactly, blanks included"
        )
    lines = _lines_of(data, old)
    if count > 1 and not arguments.replace_all:
        where = ", ".join(map(str, lines[:10]))
        return failed(f"old occurs {count} times in {arguments.path} (lines {where}); give more of it, or replace_all")
    sandbox.write(path, data.replace(old, new))
    return Outcome(f"{arguments.path}: {count} replaced, line {', '.join(map(str, lines[:10]))}")


def write(sandbox: Sandbox, arguments: Write) -> Outcome:
    """Write a whole file."""
    data = arguments.content.encode(errors="replace")
    if len(data) > LARGEST:
        return failed(f"{len(data):,} bytes are more than a file may be written with ({LARGEST:,})")
    sandbox.write(arguments.path, data)
    return Outcome(f"{arguments.path}: {len(data):,} bytes written")


def _short(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[:most]} [… {len(line) - most:,} more …]"


def _crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _lines_of(data: bytes, old: bytes) -> list[int]:
    """Return the numbers of the lines in which `old` begins."""
    lines, start, line = [], 0, 1
    while (found := data.find(old, start)) >= 0:
        line += data.count(b"\n", start, found)
        lines.append(line)
        line += old.count(b"\n")
        start = found + len(old)
    return lines
