"""What the host asks of the runner: commands, files, holding still. Everything it returns is data from inside."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox.errors import ChannelLost, FileProblem, WorkspaceError
from sandbox.spec import BackgroundProcess, CommandResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sandbox.channel import Channel
    from sandbox.freezer import Freezer
    from sandbox.spec import Limits

GRACE_S = 15.0
"""How much longer than its own time limit the runner may take for an answer, in seconds."""

REQUEST_BYTES = 64 << 20
"""Longest command with its standard input, and longest file to write, in bytes."""

STATE_BYTES = (4 << 20) + 4097
"""Longest state of a shell, in bytes: what the runner carries from one command to the next."""

WHOLE_OVER = 16_000
"""From how many bytes on an output is also written to a file inside: whoever shows it may show less than is kept."""

STOP_GRACE_S = 2.0
"""How long a process in the background may take to end itself, in seconds."""

_LIST_BYTES = 4 << 20
_MARK_BYTES = 64
_TEXT = 4096


class Shell:
    """The resident shell of one sandbox, and its files."""

    def __init__(self, channel: Channel, limits: Limits, freezer: Freezer) -> None:
        self._channel = channel
        self._limits = limits
        self._freezer = freezer

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

    def background(self) -> tuple[BackgroundProcess, ...]:
        """Return what commands left running, at most 1,000 processes. Raises ChannelLost."""
        _, data = self._ask({"op": "list"}, b"", most=_LIST_BYTES)
        try:
            return tuple(
                BackgroundProcess(**(item | {"command": one_line(item["command"])})) for item in json.loads(data)
            )
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise self._nonsense() from error

    def stop(self, pid: int, *, grace_s: float = STOP_GRACE_S) -> bool:
        """End a process of `background` with its descendants: ask, and after `grace_s` seconds kill.

        Return whether there was one of this number. Raises WorkspaceError where it can't be ended, ChannelLost.
        """
        header, _ = self._ask({"op": "stop", "pid": pid, "grace_s": grace_s}, b"", timeout_s=60.0 + grace_s)
        if "error" in header:
            raise WorkspaceError(f"process {pid} can't be ended", cause=one_line(header.get("message")))
        return bool(header.get("stopped"))

    def read(self, path: str, *, limit: int, offset: int | None = None) -> bytes:
        """Return a regular file's content; a relative path starts at the workspace.

        With `offset` it's a page: what lies from that byte on, `limit` bytes at most. Raises FileProblem where the file
        is missing, longer than `limit` bytes without an offset, no regular file or not readable; ChannelLost.
        """
        header = {
            "op": "read",
            "path": inside_path(path),
            "limit": limit,
            "offset": -1 if offset is None else max(0, offset),
        }
        header, data = self._ask(header, b"", most=limit)
        self._raise_problem(header, path)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Replace a file, or make it with its parent directories; its mode stays.

        Raises FileProblem, ChannelLost.
        """
        header, _ = self._ask({"op": "write", "path": inside_path(path)}, data)
        self._raise_problem(header, path)

    @contextmanager
    def held(self) -> Iterator[bytes]:
        """Stop every process of the job while the block runs: the workspace holds still.

        What is yielded is what the next command starts from: a directory, a NUL byte, declarations; data, to hand to
        `reset`. Nothing where no command has changed it. Raises WorkspaceError where a process can't be stopped,
        ChannelLost; that going on failed shows in the next request.
        """
        state = self._do("hold", most=STATE_BYTES)
        try:
            # The runner's stop would be ended by a signal that a process has sent to itself later; this one isn't.
            # It comes second: cgroup v1 never comes to an end with processes that fork on and on.
            with self._freezer.held(always=False):
                yield state
        finally:
            self._channel.post({"op": "resume"})

    def kill_all(self) -> None:
        """End every process of the job and forget the shell's state. Raises WorkspaceError where one can't be ended."""
        self._do("kill")

    def reset(self, state: bytes = b"") -> None:
        """End every process, empty /tmp, /run and /dev/shm, and let the next command start from `state`.

        Until `sees` is asked or a command is run, no process but the runner is there.
        Raises WorkspaceError where something can't be ended or removed, ChannelLost.
        """
        self._do("reset", state)

    def sees(self, folder: Path) -> bool:
        """Whether what is mounted at the workspace inside is what is mounted at `folder` here. Raises ChannelLost."""
        header, _ = self._ask({"op": "place"}, b"")
        status = folder.stat()
        return (header.get("device"), header.get("inode")) == (status.st_dev, status.st_ino)

    def _do(self, operation: str, body: bytes = b"", *, most: int = 0) -> bytes:
        header, data = self._ask({"op": operation}, body, most=most)
        if "error" in header:
            raise WorkspaceError("the sandbox doesn't hold still", cause=one_line(header.get("message")))
        return data

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
        header |= {"timeout_s": seconds, "keep_bytes": keep, "whole_over": WHOLE_OVER}
        answer, output = self._ask(header, body, timeout_s=seconds, most=keep + _MARK_BYTES)
        if "error" in answer:
            raise WorkspaceError("the sandbox can't run a command now", cause=one_line(answer.get("message")))
        try:
            notes = [one_line(note) for note in answer["notes"]]
            if answer["whole"] and answer["whole_bytes"] < answer["total"]:
                notes.append(f"only the first {answer['whole_bytes']} bytes of the output are in {answer['whole']}")
            return CommandResult(
                exit_code=answer["exit"],
                signal=answer["signal"],
                timed_out=answer["timed_out"],
                output=output,
                total_bytes=answer["total"],
                duration_s=answer["duration"],
                cwd=one_line(answer["cwd"]),
                notes=tuple(notes),
                number=answer["number"],
                whole=one_line(answer["whole"]),
            )
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise self._nonsense() from error

    def _nonsense(self) -> ChannelLost:
        self._channel.close("the runner answered something else")
        return ChannelLost("the sandbox is gone", cause="the runner's answer makes no sense")

    def _raise_problem(self, header: dict[str, Any], path: str) -> None:
        if "error" not in header:
            return
        file_problem(str(header["error"]), one_line(header.get("message")), one_line(path))


def file_problem(kind: str, message: str, path: str) -> NoReturn:
    """Raise what a refusal to read or write means; `kind` is the runner's word for it."""
    words = {
        "disk_full": "doesn't fit: no space is left there",
        "missing": "doesn't exist",
        "is_directory": "is a directory",
        "not_a_file": "is not a regular file",
        "too_large": "is too large",
        "denied": "can't be opened",
    }
    raise FileProblem(f"{path} {words.get(kind, 'failed')}", cause=message)


def inside_path(path: str) -> str:
    """Return a path as it can be asked for. Raises FileProblem."""
    if not path or "\0" in path:
        raise FileProblem("a path can't be empty or contain a NUL byte")
    return os.fsdecode(os.fsencode(path))


def one_line(text: object) -> str:
    """Text from inside as one bounded line without control characters."""
    safe = str(text)[:_TEXT].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in safe)
