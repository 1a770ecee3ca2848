"""The fallback for images without Python: what Shell does, through the engine's exec, one program at a time.

Slower, and weaker in what a time-out ends: everything in the sandbox, not only what the command started.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import docker
import requests

from sandbox import exec_scripts as scripts
from sandbox.errors import ChannelLost, WorkspaceError
from sandbox.execution import STDERR, Execution
from sandbox.shell import REQUEST_BYTES, STATE_BYTES, STOP_GRACE_S, file_problem, inside_path, one_line
from sandbox.spec import WORKSPACE, BackgroundProcess, CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sandbox.freezer import Freezer
    from sandbox.spec import Limits

_T = TypeVar("_T")
_HELPER_S: Final = 60.0
_FIRST = (WORKSPACE.encode(), b"")
_BY_SIGNAL: Final = 128
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KINDS: Final = {scripts.MISSING: "missing", scripts.DIRECTORY: "is_directory", scripts.OTHER: "not_a_file"}
_KINDS[scripts.DENIED] = "denied"


class ExecShell:
    """Commands and files of one sandbox, without a runner inside it. See Shell: every method does the same."""

    def __init__(self, api: Any, container_id: str, limits: Limits, freezer: Freezer, *, why: str) -> None:
        """Look for bash. `why` says what the image lacks. Raises ChannelLost."""
        self._api = api
        self._container = container_id
        self._limits = limits
        self._freezer = freezer
        self._lost = ""
        self._cwd, self._state = _FIRST
        self._began: list[int] = []
        self._bash = self._small("command -v bash").strip() != b""
        kept = "variables and functions" if self._bash else "exported variables only (no bash)"
        self.fallback = (
            f"{why}: commands go through docker exec; slower, {kept} are kept from one to the next, "
            "and a time-out ends every process of the sandbox"
        )
        self._untold = [self.fallback]

    def run(self, command: str, *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """See `Shell.run`."""
        text = command.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            raise ValueError("a command can't contain a NUL byte")
        place = self._lay_down(stdin)
        # Where a bomb has left no room, the shell says nothing and leaves.
        result, saved = self._shell(text, place, timeout_s, most=int(0.9 * self._limits.pids))
        if not saved and not result.timed_out:
            self.kill_all()
            self._untold = [*result.notes, "every process was ended and the shell starts afresh: it couldn't start"]
            self._began.pop()
            result, saved = self._shell(text, place, timeout_s, most=self._limits.pids)
        if not saved and not result.timed_out:
            raise WorkspaceError("the sandbox can't run a command now", cause="no shell can be started")
        kept = self._take_state(saved)
        if not kept and not result.timed_out and (result.exit_code or 0) > _BY_SIGNAL:
            result = result.model_copy(update={"signal": (result.exit_code or 0) - _BY_SIGNAL, "exit_code": None})
        return result.model_copy(update={"cwd": one_line(os.fsdecode(self._cwd))})

    def exec(self, argv: Sequence[str], *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """See `Shell.exec`."""
        if not argv or any("\0" in argument for argument in argv):
            raise ValueError("a program and its arguments can't be empty or contain a NUL byte")
        start = 'cd /workspace || exit 126; echo 500 >/proc/self/oom_score_adj; exec 2>&1; exec "$@"'
        return self._command(["sh", "-c", start, "sh", *argv], stdin, timeout_s)[0]

    def background(self) -> tuple[BackgroundProcess, ...]:
        """See `Shell.background`."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return tuple(
            BackgroundProcess(
                pid=pid,
                command=one_line(command),
                seconds=max(0.0, now - start / _TICKS),
                number=sum(began <= start for began in self._began),
            )
            for pid, (_, start, command) in sorted(self._processes().items())
        )

    def stop(self, pid: int, *, grace_s: float = STOP_GRACE_S) -> bool:
        """See `Shell.stop`."""
        table = self._processes()
        if pid not in table:
            return False
        known = {pid: table[pid][1]}
        grace = time.monotonic() + grace_s
        signals = "TERM CONT"
        while time.monotonic() < grace + _HELPER_S:
            family = {each for each, start in known.items() if each in table and table[each][1] == start}
            while more := {each for each, (parent, _, _) in table.items() if parent in family} - family:
                family |= more
            if not family:
                return True
            known = {each: table[each][1] for each in family}
            if time.monotonic() > grace:
                signals = "STOP KILL"
            numbers = " ".join(map(str, family))
            self._small("".join(f"kill -{signal} {numbers} 2>/dev/null;" for signal in signals.split()))
            time.sleep(0.05)
            table = self._processes()
        raise WorkspaceError(f"process {pid} can't be ended")

    def read(self, path: str, *, limit: int, offset: int | None = None) -> bytes:
        """See `Shell.read`."""
        start, most = max(0, offset or 0), limit + (offset is None)
        data = self._files(scripts.READ, path, [str(start), str(most)], b"", most)
        if len(data) > limit:
            file_problem("too_large", f"larger than {limit} bytes", one_line(path))
        return data

    def write(self, path: str, data: bytes) -> None:
        """See `Shell.write`."""
        if len(data) > REQUEST_BYTES:
            raise ValueError(f"more than {REQUEST_BYTES} bytes")
        self._files(scripts.WRITE, path, [], data, 0)

    @contextmanager
    def held(self) -> Iterator[bytes]:
        """See `Shell.held`: all is frozen from outside."""
        with self._freezer.held(always=True):
            yield b"" if (self._cwd, self._state) == _FIRST else self._cwd + b"\0" + self._state
        if self._lost:  # Who removed it meanwhile has thawed it.
            raise self._loss(self._lost)

    def kill_all(self) -> None:
        """See `Shell.kill_all`."""
        self._end_all()
        self._cwd, self._state = _FIRST

    def reset(self, state: bytes = b"") -> None:
        """See `Shell.reset`."""
        self.kill_all()
        self._small(scripts.EMPTY, "temporary files can't be removed")
        if state:
            self._cwd, _, self._state = state.partition(b"\0")

    def sees(self, folder: Path) -> bool:
        """See `Shell.sees`."""
        status = folder.stat()
        return self._small(scripts.PLACE).split() == [b"%d" % status.st_dev, b"%d" % status.st_ino]

    def hold(self) -> None:
        """Nothing to stop: the engine's exec has no clock of ours."""

    def go_on(self) -> None:
        """As above."""

    def seen(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the text of the files of the kernel that can be read, by path."""
        words = self._small(scripts.SEE % " ".join(paths)).decode("utf-8", "replace").split("\0")[1:]
        return dict(zip(words[::2], words[1::2], strict=False))

    def close(self, reason: str) -> None:
        """Let every later call raise ChannelLost with this cause; one that waits does when its container is gone."""
        self._lost = self._lost or reason

    def _command(self, argv: list[str], stdin: bytes, timeout_s: float | None) -> tuple[CommandResult, bytes]:
        seconds = self._limits.command_seconds if timeout_s is None else timeout_s
        self._began.append(int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS))
        began = time.monotonic()
        output, saved = _Kept(self._limits.output_kb * 512), _Kept(STATE_BYTES)
        code = self._follow(argv, stdin, seconds, lambda kind, data: (saved if kind == STDERR else output).add(data))
        if code is None:
            self._end_all()
        notes, self._untold = tuple(self._untold), []
        return CommandResult(
            exit_code=code,
            signal=None if code is not None else 9,
            timed_out=code is None,
            output=output.result(),
            total_bytes=output.total,
            duration_s=time.monotonic() - began,
            cwd=WORKSPACE,
            notes=notes,
            number=len(self._began),
        ), saved.result()

    def _shell(
        self, command: bytes, stdin: bytes, timeout_s: float | None, *, most: int
    ) -> tuple[CommandResult, bytes]:
        """Run a shell from the state that was kept; return what it left from its mark on: nothing if it never began.

        It doesn't where more than `most` processes are there.
        """
        words = {b"state": self._state, b"cwd": self._cwd, b"command": command, b"stdin": stdin, b"most": b"%d" % most}
        program = b"\n".join(b"__dd_%s=%s" % (name, scripts.quoted(value)) for name, value in words.items())
        program += (scripts.BASH if self._bash else scripts.SH).encode()
        shell = ["bash", "--norc", "--noprofile"] if self._bash else ["sh"]
        clean = ["env", "-i"] if self._state else []  # Else what was unset would come back.
        result, said = self._command([*clean, *shell, "-c", scripts.BOOT, shell[0]], program, timeout_s)
        _, mark, saved = said.partition(b"R\0")  # Before it come complaints of the shell.
        return result, mark + saved

    def _take_state(self, saved: bytes) -> bool:
        cwd, state, rest = ([b"", b"", b"", *saved.split(b"\0")])[-3:]
        whole = rest == b"" and cwd.startswith(b"/") and len(state) < STATE_BYTES
        if whole:
            self._cwd, self._state = cwd, state
        return whole

    def _lay_down(self, stdin: bytes) -> bytes:
        """Put a command's standard input where it's read from; the way in carries the command itself."""
        if not stdin:
            return b""
        place = f"/tmp/.dreamdock-stdin-{len(self._began)}"  # noqa: S108  # A path inside.
        self.write(place, stdin)
        return place.encode()

    def _processes(self) -> dict[int, tuple[int, int, str]]:
        """Return number, parent, start and command line of what runs beside PID 1 and whoever asks."""
        own, *lines = self._small(scripts.LIST).decode("utf-8", "replace").split("\n")
        found = {}
        for kernel, command in zip(lines[::2], lines[1::2], strict=False):
            number, _, rest = kernel.partition(" (")
            fields = rest.rpartition(") ")[2].split()
            if len(fields) < 20 or not number.isdigit() or fields[0] in "ZX" or fields[3] in {"1", own}:  # noqa: PLR2004  # Fields of the kernel's line.
                continue
            found[int(number)] = int(fields[1]), int(fields[19]), command.strip() or rest.rpartition(") ")[0]
        return found

    def _files(self, script: str, path: str, more: list[str], stdin: bytes, most: int) -> bytes:
        name = os.fsencode(inside_path(path))
        output, errors = _Kept(most), _Kept(4096)
        argv = ["sh", "-c", script, "sh", scripts.escaped(name), *more]
        code = self._follow(argv, stdin, _HELPER_S, lambda kind, data: (errors if kind == STDERR else output).add(data))
        if code != 0:
            _raise_problem(code, one_line(errors.result().decode("utf-8", "replace").strip()), one_line(path))
        return bytes(output.head)

    def _small(self, script: str, problem: str = "") -> bytes:
        output = _Kept(1 << 20)
        code = self._follow(["sh", "-c", script], b"", _HELPER_S, lambda _, data: output.add(data))
        if code != 0 and problem:
            raise WorkspaceError("the sandbox doesn't hold still", cause=problem)
        return bytes(output.head)

    def _end_all(self) -> None:
        self._small(scripts.KILL, "a process can't be ended")

    def _follow(self, argv: list[str], stdin: bytes, seconds: float, take: Callable[[int, bytes], None]) -> int | None:
        def attempt() -> int | None:
            with Execution(self._api, self._container, argv, stdin) as execution:
                code = execution.follow(time.monotonic() + seconds, take)
            if code == _BY_SIGNAL + 9 and not self._runs():
                raise OSError("the container has ended")  # And took the program along.
            return code

        return self._engine(attempt)

    def _runs(self) -> bool:
        return not self._lost and bool(self._api.inspect_container(self._container)["State"]["Running"])

    def _engine(self, what: Callable[[], _T]) -> _T:
        """Do something with the engine; whatever it refuses ends this sandbox, since nothing else could be done."""
        if self._lost:
            raise self._loss(self._lost)
        try:
            return what()
        except (docker.errors.DockerException, requests.RequestException, OSError, KeyError) as error:
            self.close(one_line(error))
            raise self._loss(self._lost) from error

    def _loss(self, cause: str) -> ChannelLost:
        return ChannelLost("the sandbox is gone", cause=cause, hint="run the step again: its changes are undone")


def _raise_problem(code: int | None, said: str, path: str) -> NoReturn:
    file_problem("disk_full" if "No space left" in said else _KINDS.get(code or 0, "failed"), said, path)


class _Kept:
    """Head and tail of a stream, `half` bytes each."""

    def __init__(self, half: int) -> None:
        self.half = half
        self.head = bytearray()
        self.tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self.half - len(self.head)
        self.head += chunk[:room] if room > 0 else b""
        self.tail += chunk[max(room, 0) :][-self.half or len(chunk) :]
        if len(self.tail) > 2 * self.half:
            del self.tail[: -self.half or None]

    def result(self) -> bytes:
        tail = self.tail[-self.half :] if self.half else b""
        cut = self.total - len(self.head) - len(tail)
        return bytes(self.head + (b"\n[... %d bytes left out ...]\n" % cut if cut else b"") + tail)
