"""What the host asks of the runner: commands, files, holding still. Everything it returns is data from inside."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox.errors import ChannelLost, DiskFull, FileProblem, WorkspaceError
from sandbox.spec import CommandResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandbox.channel import Channel
    from sandbox.spec import Limits

GRACE_S = 15.0
"""How much longer than its own time limit the runner may take for an answer, in seconds."""

REQUEST_BYTES = 64 << 20
"""Longest command with its standard input, and longest file to write, in bytes."""

_MARK_BYTES = 64
_TEXT = 4096


class Shell:
    """The resident shell of one sandbox, and its files."""

    def __init__(self, channel: Channel, limits: Limits) -> None:
        self._channel = channel
        self._limits = limits

    def run(self, command: str, *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a command of the shell; working directory, variables and functions persist to the next one.

        After `timeout_s` seconds everything that it started is killed. What it leaves in the background otherwise runs
        on and is no longer waited for. Raises ValueError for a command with a NUL byte, ChannelLost.
        """
        text = command.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            raise ValueError("a command can't contain a NUL byte")
        return self._command({"op": "run", "command_bytes": len(text)}, text + stdin, timeout_s)

    def exec(self, argv: Sequence[str], *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a program at the top of the workspace, without the shell's state. Otherwise like `run`."""
        if not argv or any("\0" in argument for argument in argv):
            raise ValueError("a program and its arguments can't be empty or contain a NUL byte")
        return self._command({"op": "exec", "argv": list(argv)}, stdin, timeout_s)

    def read(self, path: str, *, limit: int) -> bytes:
        """Return a regular file's content; a relative path starts at the workspace.

        Raises FileProblem where it's missing, longer than `limit` bytes, no regular file or not readable; ChannelLost.
        """
        header, data = self._ask({"op": "read", "path": _path(path), "limit": limit}, b"", most=limit)
        self._raise_problem(header, path)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Replace a file, or make it with its parent directories; its mode stays.

        Raises FileProblem, DiskFull, ChannelLost.
        """
        header, _ = self._ask({"op": "write", "path": _path(path)}, data)
        self._raise_problem(header, path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop every process of the job while the block runs: the workspace holds still.

        Raises WorkspaceError where one can't be stopped, ChannelLost.
        """
        self._do("hold")
        try:
            yield
        finally:
            self._do("resume")

    def kill_all(self) -> None:
        """End every process of the job and forget the shell's state. Raises WorkspaceError where one can't be ended."""
        self._do("kill")

    def _do(self, operation: str) -> None:
        header, _ = self._ask({"op": operation}, b"")
        if "error" in header:
            raise WorkspaceError("the sandbox doesn't hold still", cause=one_line(header.get("message")))

    def _ask(
        self, header: dict[str, Any], body: bytes, *, timeout_s: float = 60.0, most: int = 0
    ) -> tuple[dict[str, Any], bytes]:
        if len(body) > REQUEST_BYTES:
            raise ValueError(f"more than {REQUEST_BYTES} bytes")
        answer = self._channel.request(header, body, timeout_s=timeout_s + GRACE_S, most=most)
        if answer[0].get("error") == "internal":
            raise ChannelLost("the runner failed", cause=one_line(answer[0].get("message")))
        return answer

    def _command(self, header: dict[str, Any], body: bytes, timeout_s: float | None) -> CommandResult:
        seconds = self._limits.command_seconds if timeout_s is None else timeout_s
        keep = self._limits.output_kb * 1024
        header |= {"timeout_s": seconds, "keep_bytes": keep}
        answer, output = self._ask(header, body, timeout_s=seconds, most=keep + _MARK_BYTES)
        if "error" in answer:
            raise WorkspaceError("the sandbox can't run a command now", cause=one_line(answer.get("message")))
        try:
            return CommandResult(
                exit_code=answer["exit"],
                signal=answer["signal"],
                timed_out=answer["timed_out"],
                output=output,
                total_bytes=answer["total"],
                duration_s=answer["duration"],
                cwd=one_line(answer["cwd"]),
                notes=tuple(one_line(note) for note in answer["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            self._channel.close("the runner answered something else")
            raise ChannelLost("the sandbox is gone", cause="the runner's answer makes no sense") from error

    def _raise_problem(self, header: dict[str, Any], path: str) -> None:
        if "error" not in header:
            return
        _problem(str(header["error"]), one_line(header.get("message")), one_line(path))


def _problem(kind: str, message: str, path: str) -> NoReturn:
    if kind == "disk_full":
        raise DiskFull(
            f"no space left for {path}", cause=message, hint="free some space, or run with a smaller workspace"
        )
    words = {
        "missing": "doesn't exist",
        "is_directory": "is a directory",
        "not_a_file": "is not a regular file",
        "too_large": "is too large",
        "denied": "can't be opened",
    }
    raise FileProblem(f"{path} {words.get(kind, 'failed')}", cause=message)


def _path(path: str) -> str:
    if not path or "\0" in path:
        raise FileProblem("a path can't be empty or contain a NUL byte")
    return os.fsdecode(os.fsencode(path))


def one_line(text: object) -> str:
    """Text from inside as one bounded line without control characters."""
    safe = str(text)[:_TEXT].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in safe)
