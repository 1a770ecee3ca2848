"""PID 1 of a sandbox: runs commands for the worker that holds the other end of the container's streams.

One file, standard library only, Python 3.8 or later; it arrives in the container's command line.

Frames, both ways: two lengths (4 bytes each, big-endian), a header in JSON, a body in bytes. The worker sends a request
and gets one answer with the same id. Nothing inside can write to the channel or read from it: this process isn't
dumpable, its descriptors are never inherited, and what commands print arrives through pipes that are read here as data.

Every command has a bash of its own, started ahead while nobody waits. Working directory, variables and functions go
from one to the next as declarations; a shell that dies without leaving any changes nothing.
"""

from __future__ import annotations

# ruff: noqa: D102, D103  # A program, not an API.
# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH118, PTH120, PTH123, PTH208  # Importing pathlib takes a tenth of its start.
import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import re
import select
import shlex
import signal
import socket
import stat
import struct
import sys
import time

TYPE_CHECKING = False  # Importing typing takes 1 MB in every sandbox.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

PROTOCOL = 1
LENGTHS = struct.Struct(">II")
WORKSPACE = "/workspace"
PIPE_BYTES = 1 << 20
STATE_BYTES = 4 << 20  # Longest declarations that are carried from one command to the next.
PATH_BYTES = 4096
BACKGROUND_PIPES = 64  # Outputs of ended commands that are drained on, so that what they left behind doesn't break.
SPOOL = (".dreamdock", "output")  # In the workspace: where whole outputs lie. No part of checkpoints.
SPOOL_BYTES = 256 << 20  # Longest part of one output that is kept there.
SPOOLED_BYTES = 512 << 20  # Longest that all of them may be together: the oldest go.
LISTED = 1000  # Processes in one list, at most.
LINE_BYTES = 400  # Longest command line in it.
KILL_SECONDS = 5.0
HURRY_SECONDS = 0.001  # How soon after an answer the next request may come, before there is time for anything else.
VFORK_SECONDS = 0.02  # How long all may take to stop before those in the middle of a vfork are let through.
ENDING_SECONDS = 1.0  # How long the kernel may take for a shell that has said that it's done.
AHEAD = 2
PR_SET_DUMPABLE = 4
F_SETPIPE_SZ = 1031
FIONREAD = 0x541B
GO, COMMAND, STATE, SAVED, SCRIPT, DONE = 200, 201, 202, 203, 204, 205
NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
PIDS_FILES = ("/sys/fs/cgroup/pids.current", "/sys/fs/cgroup/pids/pids.current")
OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

# What a shell does before its command: be the first to go when memory runs out, wait for the last state, take it over
# and enter its directory; wait for the command, and mark with `R` that it begins. A command's own EXIT trap may
# replace ours, hence the second way to save, in SHELL. Functions of the job may have the names of builtins. Where the
# trap is still ours it is the last that happens, and tells the exit code: the kernel takes its time to end a process.
PRELUDE = r"""
echo 500 >/proc/self/oom_score_adj
IFS= read -r -u 200 __dd_go
unset HOME SHELL PATH
. /proc/self/fd/202 2>/dev/null
builtin unset ${!__dd_@}
builtin hash -r
__dd_save='[[ ${__dd_saved-} ]] || {
builtin trap - DEBUG ERR RETURN; builtin set +eux; __dd_saved=1; builtin unset __dd_command
builtin printf "\0%s\0" "$PWD"; builtin declare -p; builtin umask -p; builtin printf "\0"
builtin declare -f; builtin declare -Fx; builtin printf "\0"; }'
builtin trap '{
    [[ ${__dd_saved-} ]] && builtin echo "$__dd_status" >&205 || builtin eval "$__dd_save"
} 2>/dev/null >&203' EXIT
exec 202<&- 204<&- 206<&0 </dev/null
IFS= builtin read -r -d '' -u 201 __dd_cwd
__dd_old=$OLDPWD
builtin cd -- "$__dd_cwd" 2>/dev/null
IFS= builtin read -r -u 200 __dd_go
[[ $__dd_go == data ]] && exec <&206
IFS= builtin read -r -d '' -u 201 __dd_command
exec 200<&- 201<&- 206<&-
[[ . -ef $__dd_cwd ]] || builtin cd -- "$__dd_cwd" 2>/dev/null || {
    builtin cd /workspace
    builtin echo "dreamdock: $__dd_cwd is gone, this is /workspace"
}
OLDPWD=$__dd_old
builtin printf 'R\0' >&203
"""
# One line, parsed before the command is: its open quotes can't reach beyond it, and messages name its own line numbers.
SHELL = (
    '. /proc/self/fd/204; builtin eval "$__dd_command"; '
    '{ __dd_status=$?; } 2>/dev/null; { builtin eval "$__dd_save"; } 2>/dev/null >&203; builtin exit $__dd_status'
)
# What every shell has of its own, in the words of `declare -p`: carrying it along would only take time.
OWN = re.compile(
    rb"^declare -[-aAir]+ (?:_|__dd_\w+|BASH|BASHOPTS|BASHPID|BASH_(?:ARGC|ARGV|ARGV0|CMDS|COMMAND|EXECUTION_STRING"
    rb"|LINENO|SOURCE|SUBSHELL|VERSINFO|VERSION)|COMP_WORDBREAKS|DIRSTACK|EPOCHREALTIME|EPOCHSECONDS|E?UID|FUNCNAME"
    rb"|GROUPS|HISTCMD|HOSTTYPE|LINENO|MACHTYPE|OSTYPE|PIPESTATUS|PPID|S?RANDOM|SECONDS|SHELLOPTS)(?:=[\"($].*)?\n",
    re.MULTILINE,
)
SPARSE = {
    "HOME": "/",
    "SHELL": "/bin/bash",
    "PATH": "/bin",
    "PWD": "/",
}  # Spares bash looking them up; PRELUDE unsets them.
EXEC = 'echo 500 >/proc/self/oom_score_adj; cd /workspace || exit 126; exec -- "$@"'


class Refused(Exception):  # noqa: N818  # An answer, not a fault.
    """A request that can't be done; `kind` is what the worker tells apart."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Spool:
    """The whole of a long output, in a file of the job's own: what is done to it there is its business."""

    def __init__(self, name: str) -> None:
        self.name, self.size, self.file, self.failed = name, 0, -1, False

    def write(self, data: memoryview) -> None:
        """Append, up to the bound. An output that can't be kept whole is none, and its command isn't to blame."""
        data = data[: SPOOL_BYTES - self.size]
        try:
            if self.file < 0 and not self.failed:
                self.open()
            while data and not self.failed:
                count = os.write(self.file, data)
                self.size, data = self.size + count, data[count:]
        except OSError:
            self.failed = True
            self.close()
            remove_output(self.name)

    def open(self) -> None:
        place = open_place()
        try:
            with contextlib.suppress(FileNotFoundError):  # Of a sandbox before, or a trap: a link, a pipe.
                os.unlink(self.name, dir_fd=place)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self.file = os.open(self.name, flags, 0o644, dir_fd=place)
        finally:
            os.close(place)

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
        self.file = -1

    def path(self) -> str:
        return "/".join((WORKSPACE, *SPOOL, self.name)) if self.size and not self.failed else ""


def open_place() -> int:
    """Open the directory of whole outputs, made where it's missing. No link on the way is followed."""
    place = os.open(WORKSPACE, os.O_RDONLY | os.O_DIRECTORY)
    for name in SPOOL:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=place)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
        finally:
            os.close(place)
        place = inner
    return place


def remove_output(name: str) -> None:
    with contextlib.suppress(OSError):
        place = open_place()
        try:
            os.unlink(name, dir_fd=place)
        finally:
            os.close(place)


class Kept:
    """Head and tail of an output, in bounded memory; all of it goes to `spool` once it's longer than `most`."""

    def __init__(self, limit: int, most: int, spool: Spool) -> None:
        self.half = limit // 2
        self.most = min(most, self.half)  # Until then the head holds everything.
        self.spool = spool
        self.head = bytearray()
        self.tail = bytearray()
        self.total = 0

    def add(self, chunk: memoryview) -> None:
        if self.total + len(chunk) > self.most:
            if self.total <= self.most:
                self.spool.write(memoryview(bytes(self.head)))
            self.spool.write(chunk)
        self.total += len(chunk)
        room = self.half - len(self.head)
        if room > 0:
            self.head += chunk[:room]
            chunk = chunk[room:]
        self.tail += chunk[-self.half :]
        if len(self.tail) > 2 * self.half:
            del self.tail[: -self.half]

    def result(self) -> bytes:
        tail = self.tail[-self.half :]
        cut = self.total - len(self.head) - len(tail)
        mark = b"\n[... %d bytes left out ...]\n" % cut if cut else b""
        return bytes(self.head + mark + tail)


class Child:
    """A process that was started here, and our ends of its pipes (-1: none or closed)."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None
        self.told = 0.0  # When it said that it was done, on the monotonic clock.
        self.stdin, self.output, self.go, self.command, self.state, self.saved, self.done = -1, -1, -1, -1, -1, -1, -1


class Process:
    """One line of the process table."""

    def __init__(self, text: str) -> None:
        fields = text[text.rindex(")") + 2 :].split()  # The name before it may hold anything.
        self.state, self.parent, self.session = fields[0], int(fields[1]), int(fields[3])
        self.threads, self.start = int(fields[17]), fields[19]


def processes() -> dict[int, Process]:
    """Every process but this one."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                table[int(name)] = Process(_text(f"/proc/{name}/stat"))
            except (OSError, ValueError):
                continue  # It ended meanwhile.
    return table


def halted(pid: int) -> bool:
    """Whether no thread of the process runs."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = _text(f"/proc/{pid}/task/{thread}/stat")
            if text[text.rindex(")") + 2] not in "TtZX":
                return False
    except OSError:
        return True
    return True


def family(table: dict[int, Process], known: dict[int, str]) -> set[int]:
    """Return the known processes that still live, and their descendants."""
    found = {pid for pid, process in table.items() if known.get(pid) == process.start}
    while True:
        more = {pid for pid, process in table.items() if process.parent in found} - found
        if not more:
            return found
        found |= more


def command_line(pid: int) -> str:
    """Return what a process calls itself: anything."""
    with contextlib.suppress(OSError):
        words = _text(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ")[:LINE_BYTES]
        return words or f"[{_text(f'/proc/{pid}/comm').strip()}]"
    return ""


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return (file.read(4096) or b"").decode("utf-8", "replace")


def _whole(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _readable(paths: Iterable[str]) -> str:
    return next((path for path in paths if os.access(path, os.R_OK)), "")


class Runner:
    """Answers requests one after the other, reaps, and drains whatever was left running."""

    def __init__(self, requests: int, answers: int, pids_limit: int, shown: Iterable[str] = ()) -> None:
        self.requests, self.answers, self.pids_limit = requests, answers, pids_limit
        self.seen = {path: _whole(path) for path in shown if os.access(path, os.R_OK)}
        self.inbox = bytearray()
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[], object]] = {}
        self.children: dict[int, Child] = {}
        self.scratch = memoryview(mmap.mmap(-1, PIPE_BYTES))  # Takes memory only once it's used.
        self.bash = _readable(("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"))
        self.pids_file, self.oom_file = _readable(PIDS_FILES), _readable(OOM_FILES)
        self.ooms = self.count_ooms()
        self.environment = dict(os.environ)
        self.fresh_state()
        self.ahead: list[Child] = []
        self.script = os.memfd_create("script", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(self.script, PRELUDE.encode())
        fcntl.fcntl(self.script, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        self.known: dict[int, str] = {}
        self.number = 0
        self.sessions: dict[int, int] = {}
        self.origins: dict[int, tuple[str, int]] = {}
        self.spooled: list[Spool] = []
        self.held: list[int] | None = None
        self.unsettled = False
        self.background: list[int] = []
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        self.wake = wake_read
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # The kernel drops what PID 1 doesn't handle.
        self.watch(wake_read, select.EPOLLIN, self.on_child)
        self.watch(requests, select.EPOLLIN, self.on_request)

    # The loop.

    def serve(self) -> None:
        hello = {"id": 0, "protocol": PROTOCOL, "bash": self.bash, "python": sys.version.split()[0], "seen": self.seen}
        self.answer(hello | self.offer_line())
        self.start_ahead(AHEAD)
        operations = {
            "run": self.run,
            "exec": self.execute,
            "read": self.read,
            "write": self.write,
            "hold": self.hold,
            "resume": self.resume,
            "kill": self.kill,
            "list": self.list_background,
            "stop": self.stop,
            "reset": self.reset,
            "place": self.place,
        }
        while True:
            header, body = self.next_request()
            try:
                reply, data = operations[header["op"]](header, body)
            except Refused as refusal:
                reply, data = {"error": refusal.kind, "message": str(refusal)}, b""
            except Exception:  # noqa: BLE001  # Whatever happened to this request, the next one gets its answer.
                import traceback  # noqa: PLC0415  # As with typing.

                reply, data = {"error": "internal", "message": traceback.format_exc()[-2000:]}, b""
            reply["id"] = header["id"]
            self.answer(reply, data)
            if header["op"] in ("run", "exec", "place"):
                self.start_ahead(1)
                self.brief_next()
                self.unsettled = True

    def offer_line(self) -> dict[str, Any]:
        """Offer the worker an end of a socket pair, to take out of this process: the way through the engine is long."""
        ours, theirs = socket.socketpair()

        def taken() -> None:
            self.close(self.requests)
            self.close(self.answers)
            self.close(theirs.detach())
            self.requests = self.answers = ours.detach()
            self.handlers[self.requests] = self.on_request
            self.on_request()

        self.watch(ours.fileno(), select.EPOLLIN, taken)
        return {"line": theirs.fileno(), "inode": os.fstat(theirs.fileno()).st_ino}

    def next_request(self) -> tuple[dict[str, Any], bytes]:
        while True:
            if len(self.inbox) >= LENGTHS.size:
                head, body = LENGTHS.unpack_from(self.inbox)
                end = LENGTHS.size + head + body
                if len(self.inbox) >= end:
                    frame = bytes(self.inbox[LENGTHS.size : end])
                    del self.inbox[:end]
                    return json.loads(frame[:head]), frame[head:]
            restless = self.unsettled and (self.held is None or len(self.ahead) < AHEAD)
            if not self.step(HURRY_SECONDS if restless else None):
                self.settle()

    def answer(self, header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header).encode("ascii")
        data = memoryview(LENGTHS.pack(len(text), len(body)) + text + body)
        while data:
            data = data[os.write(self.answers, data) :]

    def step(self, seconds: float | None) -> bool:
        """Wait for something to happen and handle it; whether anything did."""
        found = self.poll.poll(seconds)
        for descriptor, _event in found:
            handler = self.handlers.get(descriptor)
            if handler is not None:
                handler()
        return bool(found)

    def watch(self, descriptor: int, events: int, handler: Callable[[], object]) -> None:
        self.handlers[descriptor] = handler
        self.poll.register(descriptor, events)

    def close(self, descriptor: int) -> int:
        """Close what is open and return -1, to be stored in its place."""
        if descriptor >= 0:
            if self.handlers.pop(descriptor, None) is not None:
                self.poll.unregister(descriptor)
            os.close(descriptor)
        return -1

    def on_request(self) -> None:
        data = os.read(self.requests, PIPE_BYTES)
        if not data:
            os._exit(0)  # The worker is gone; the kernel ends everything else with PID 1.
        self.inbox += data

    def on_child(self) -> None:
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is not None:
                child.status = status

    # Starting processes.

    def fresh_state(self) -> None:
        self.cwd = os.fsencode(WORKSPACE)
        self.state = b"".join(
            os.fsencode(f"declare -x {name}={shlex.quote(value)}\n")
            for name, value in self.environment.items()
            if NAMES.issuperset(name) and not name[:1].isdigit()
        )
        self.first = self.cwd, self.state

    def start(self, argv: list[str] | None) -> Child:
        """Start a program, or for None a shell that waits for its command."""
        child = Child()
        theirs: list[int] = []
        try:
            stdin, child.stdin = os.pipe()
            theirs.append(stdin)
            child.output, output = os.pipe()
            theirs.append(output)
            moves = [(stdin, 0), (output, 1), (output, 2)]
            if argv is None:
                go, child.go = os.pipe()
                theirs.append(go)
                child.done, done = os.pipe()
                theirs.append(done)
                child.command, child.state, child.saved = map(os.memfd_create, ("command", "state", "saved"))
                moves += [(go, GO), (child.command, COMMAND), (child.state, STATE), (child.saved, SAVED)]
                moves += [(self.script, SCRIPT), (done, DONE)]
            with contextlib.suppress(OSError):  # The user's share of pipe memory may be used up: slower, not wrong.
                fcntl.fcntl(child.output, F_SETPIPE_SZ, PIPE_BYTES)
            os.set_blocking(child.stdin, False)
            program = [SHELL, "bash"] if argv is None else [EXEC, "bash", *argv]
            child.pid = os.posix_spawn(
                self.bash,
                [self.bash, "--norc", "--noprofile", "-c", *program],
                SPARSE if argv is None else self.environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, ours, number) for ours, number in moves],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD),
            )
        except OSError:
            self.release(child)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.children[child.pid] = child
        return child

    def start_anyhow(self, argv: list[str] | None, notes: list[str]) -> Child:
        """Start, and where the limits leave no room for it, end everything else first."""
        try:
            return self.start(argv)
        except OSError:
            self.kill_all()
            notes.append("every process was ended: there was no room for another")
            return self.start(argv)

    def start_ahead(self, count: int) -> None:
        """Keep shells that have started: one that knows the state, and one for a caller that is in a hurry."""
        for child in [child for child in self.ahead if child.status is not None]:
            self.ahead.remove(child)
            self.release(child)
        try:
            while len(self.ahead) < count:
                self.ahead.append(self.start(None))
        except OSError:
            pass  # No room for it now; the next command makes room.

    def drop_ahead(self) -> None:
        while self.ahead:
            self.release(self.ahead.pop())

    def hand_over(self, child: Child) -> None:
        """Give a waiting shell the state that the last one left."""
        os.pwrite(child.state, self.state, 0)
        os.pwrite(child.command, self.cwd + b"\0", 0)
        child.state = self.close(child.state)
        self.tell(child, b"state\n")

    def tell(self, child: Child, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # Something ended it while it waited: another takes its place.
            os.write(child.go, word)

    def release(self, child: Child) -> None:
        for name in ("stdin", "output", "go", "command", "state", "saved", "done"):
            setattr(child, name, self.close(getattr(child, name)))

    # Commands.

    def run(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        size = header["command_bytes"]
        command, stdin = body[:size], body[size:]
        self.not_held()
        notes: list[str] = []
        self.learn()
        self.number += 1
        self.make_room(notes)
        for last in (False, False, True):
            if last:
                self.start_afresh(notes)
            child = self.ahead.pop(0) if self.ahead else self.start_anyhow(None, notes)
            if child.state >= 0:
                self.hand_over(child)
            self.sessions[child.pid] = self.number
            os.pwrite(child.command, command + b"\0", len(self.cwd) + 1)
            self.tell(child, b"data\n" if stdin else b"none\n")
            reply, output = self.follow(child, header, stdin)
            begun = self.take_state(child, notes)
            self.leave(child)
            if begun or reply["timed_out"]:
                break  # Otherwise something ended the shell before it came to the command.
        if not begun:
            self.start_afresh(notes)
        return dict(reply, cwd=os.fsdecode(self.cwd), notes=notes + self.memory_notes(reply)), output

    def execute(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        self.not_held()
        notes: list[str] = []
        self.learn()
        self.make_room(notes)
        child = self.start_anyhow(header["argv"], notes)
        self.number += 1
        self.sessions[child.pid] = self.number
        reply, output = self.follow(child, header, body)
        self.leave(child)
        return dict(reply, cwd=WORKSPACE, notes=notes + self.memory_notes(reply)), output

    def follow(self, child: Child, header: dict[str, Any], stdin: bytes) -> tuple[dict[str, Any], bytes]:
        """Feed, drain and wait until the process itself ends; what it leaves running doesn't matter here."""
        began = time.monotonic()
        deadline = began + header["timeout_s"]
        spool = Spool(str(self.number))
        kept = Kept(header["keep_bytes"], header["whole_over"], spool)
        self.watch(child.output, select.EPOLLIN, lambda: self.drain(child, kept))
        self.watch_end(child)
        self.feed(child, stdin)
        timed_out = False
        while child.status is None:
            left = deadline - time.monotonic()
            if left <= 0:
                timed_out = True
                self.kill_command()
                break
            self.step(left)
        if child.output >= 0:
            waiting = struct.unpack("i", fcntl.ioctl(child.output, FIONREAD, b"\0" * 4))[0]
            while waiting > 0 and child.output >= 0:
                waiting -= self.drain(child, kept, waiting)
        status = child.status
        ended = status is not None and not os.WIFSIGNALED(status)
        reply = {
            "exit": os.WEXITSTATUS(status) if ended else None,  # type: ignore[arg-type]  # `ended` says it's there.
            "signal": None if ended else os.WTERMSIG(status) if status is not None else int(signal.SIGKILL),
            "timed_out": timed_out,
            "total": kept.total,
            "whole": self.keep_spool(spool),
            "whole_bytes": spool.size,
            "number": self.number,
            "duration": time.monotonic() - began,
        }
        return reply, kept.result()

    def watch_end(self, child: Child) -> None:
        """Take the exit code that a shell tells when all of its work is done."""

        def told() -> None:
            word = os.read(child.done, 16)
            child.done = self.close(child.done)
            if child.status is None and word.strip().isdigit():
                child.status, child.told = (int(word) & 0xFF) << 8, time.monotonic()

        if child.done >= 0:
            self.watch(child.done, select.EPOLLIN, told)

    def keep_spool(self, spool: Spool) -> str:
        """Return where the whole output lies, if it does, and make room for the next one."""
        spool.close()
        if spool.path():
            self.spooled.append(spool)
            while sum(each.size for each in self.spooled) > SPOOLED_BYTES:
                remove_output(self.spooled.pop(0).name)
        return spool.path()

    def drain(self, child: Child, kept: Kept | None, most: int = PIPE_BYTES) -> int:
        view = self.scratch[: min(most, PIPE_BYTES)]
        count = os.readv(child.output, [view])
        if count == 0:
            child.output = self.close(child.output)
        elif kept is not None:
            kept.add(view[:count])
        return count

    def feed(self, child: Child, data: bytes) -> None:
        if not data:
            child.stdin = self.close(child.stdin)
            return
        rest = memoryview(data)

        def more() -> None:
            nonlocal rest
            try:
                rest = rest[os.write(child.stdin, rest) :]
            except BlockingIOError:
                return
            except BrokenPipeError:
                rest = rest[:0]
            if not rest:
                child.stdin = self.close(child.stdin)

        self.watch(child.stdin, select.EPOLLOUT, more)

    def leave(self, child: Child) -> None:
        """Forget an ended command, but for the output of what it left running."""
        output, child.output = child.output, -1
        self.release(child)
        if output >= 0:
            child.output = output
            self.handlers[output] = lambda: self.forget_output(child)
            self.background.append(output)
            if len(self.background) > BACKGROUND_PIPES:
                self.close(self.background.pop(0))

    def forget_output(self, child: Child) -> None:
        output = child.output
        if self.drain(child, None) == 0 and output in self.background:
            self.background.remove(output)

    def start_afresh(self, notes: list[str]) -> None:
        self.kill_all()
        self.drop_ahead()
        self.fresh_state()
        notes.append("the shell starts afresh: it couldn't start from the state that was kept")

    def take_state(self, child: Child, notes: list[str]) -> bool:
        """Take over what the shell left; return whether the command had begun at all."""
        size = os.fstat(child.saved).st_size
        if size > STATE_BYTES:
            notes.append("the shell's variables and functions weren't kept: they are too large")
            return True
        parts = os.pread(child.saved, size, 0).split(b"\0")
        cwd, variables, functions, rest = ([b""] * 4 + parts)[-4:]  # A trap of the job's may have said more before.
        begun = parts[0] == b"R"
        if begun and rest == b"" and cwd.startswith(b"/") and len(cwd) <= PATH_BYTES:
            self.cwd, self.state = cwd, OWN.sub(b"", variables) + functions
        return begun

    def brief_next(self) -> None:
        """Let the next shell take over the state while the answer is on its way."""
        if self.ahead and self.ahead[0].state >= 0:
            self.hand_over(self.ahead[0])

    def settle(self) -> None:
        """Once nobody is in a hurry: start shells ahead, and learn what was left running.

        While all is held only shells start: until they are told the state, nothing of the job's is in them.
        """
        self.start_ahead(AHEAD)
        if self.held is None:
            self.brief_next()
            self.learn()

    def learn(self) -> None:
        """Learn what was left running, before the next command starts more."""
        self.unsettled = False
        self.ooms = self.count_ooms()
        self.known = {}
        if not self.pids_file or self.count_tasks() > 1 + len(self.children):
            self.known = {pid: process.start for pid, process in self.left_running().items()}
        else:
            self.origins = {}
            self.sessions = {pid: number for pid, number in self.sessions.items() if pid in self.children}

    # What commands left running.

    def left_running(self) -> dict[int, Process]:
        """Every process that is neither this one, nor a waiting shell, nor ended; learn whose they are."""
        late = time.monotonic() - ENDING_SECONDS  # Who isn't gone by then said it only to hide.
        ours = {pid for pid, child in self.children.items() if not child.told or child.told > late}
        table = {pid: process for pid, process in processes().items() if pid not in ours}
        before, self.origins = self.origins, {}
        for pid in sorted(table, key=lambda pid: int(table[pid].start)):  # Parents come before their children.
            process = table[pid]
            start, number = before.get(pid, ("", 0))
            if start != process.start:
                number = self.origins.get(process.parent, ("", 0))[1] or self.sessions.get(process.session, self.number)
            self.origins[pid] = process.start, number
        sessions = ours | {process.session for process in table.values()}  # One of ours may yet turn out to hide.
        self.sessions = {pid: number for pid, number in self.sessions.items() if pid in sessions}
        return {pid: process for pid, process in table.items() if process.state not in "ZX"}

    def list_background(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        now, ticks = time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
        found = self.left_running()
        lines = [
            {
                "pid": pid,
                "command": command_line(pid),
                "seconds": max(0.0, now - int(found[pid].start) / ticks),
                "number": self.origins[pid][1],
            }
            for pid in sorted(found)[:LISTED]
        ]
        return {}, json.dumps(lines).encode("ascii")

    def stop(self, header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Ask a process and its descendants to end; end those that haven't when the grace is over."""
        self.not_held()
        table = self.left_running()
        if header["pid"] not in table:
            return {"stopped": False}, b""
        now = time.monotonic()
        self.end_family({header["pid"]: table[header["pid"]].start}, now + header["grace_s"])
        return {"stopped": True}, b""

    def end_family(self, known: dict[int, str], grace: float) -> None:
        asked: set[int] = set()
        stopped: set[int] = set()
        until = grace + KILL_SECONDS
        while time.monotonic() < until:
            table = self.left_running()
            living = family(table, known)
            if not living:
                return
            known = {pid: table[pid].start for pid in living}
            if time.monotonic() < grace:
                for pid in living - asked:
                    send_signal(pid, signal.SIGTERM)
                    send_signal(pid, signal.SIGCONT)
                asked |= living
                self.step(0.01)
                continue
            new = living - stopped  # Stopped ones make no more of them.
            for pid in new or living:
                send_signal(pid, signal.SIGSTOP if new else signal.SIGKILL)
            stopped |= new
            self.step(0.001)
        raise Refused("busy", "a process can't be ended")

    # Limits.

    def count_tasks(self) -> int:
        if self.pids_file:
            return int(_text(self.pids_file))
        return 1 + sum(process.threads for process in processes().values())

    def count_ooms(self) -> int:
        words = _text(self.oom_file).split() if self.oom_file else []
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0

    def make_room(self, notes: list[str]) -> None:
        if self.count_tasks() > 0.9 * self.pids_limit:
            self.kill_all()
            notes.append(f"every process was ended: the limit of {self.pids_limit} was reached")

    def memory_notes(self, reply: dict[str, Any]) -> list[str]:
        told = reply["exit"] != 0 and self.count_ooms() > self.ooms
        return ["memory ran out and the kernel ended a process"] if told else []

    # Ending and holding.

    def kill_command(self) -> None:
        """End everything that wasn't there when the command began: whatever session, parent or environment it has.

        Stopped processes keep their places in the table: stopping in sweeps comes to an end even with a fork bomb.
        """
        until = time.monotonic() + KILL_SECONDS
        stopped: set[int] = set()
        while self.known and time.monotonic() < until:
            table = processes()
            new = set(table) - family(table, self.known) - stopped
            if not new:
                for pid in stopped:
                    send_signal(pid, signal.SIGKILL)
                self.wait_gone(stopped, until)
                return
            for pid in new:
                send_signal(pid, signal.SIGSTOP)
            stopped |= new
        self.kill_all()

    def kill_all(self) -> None:
        """End every process but this one."""
        self.wait_gone(None, time.monotonic() + KILL_SECONDS)
        self.known, self.held = {}, None

    def wait_gone(self, pids: set[int] | None, until: float) -> None:
        """Wait until these processes, or for None all that there are, have ended; all are killed on the way."""
        while time.monotonic() < until:
            if pids is None:
                send_signal(-1, signal.SIGKILL)
            table = processes()
            if all(table[pid].state in "ZX" for pid in (table if pids is None else pids & set(table))):
                break
            self.step(0.001)
        self.on_child()

    def kill(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """End all processes and forget the shell's state, so that the workspace can be replaced."""
        self.kill_all()
        self.drop_ahead()
        self.fresh_state()
        self.unsettled = False
        left = [pid for pid, process in processes().items() if process.state not in "ZX"]
        if left:
            raise Refused("busy", f"{len(left)} processes can't be ended")
        return {}, b""

    def reset(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """End all processes, empty what lies in memory, and let the next command start from a state that was told.

        No shell is started before the next request: nothing runs while the workspace is replaced.
        """
        self.kill(header, b"")
        try:
            for place in temporary_places():
                empty(place)
        except OSError as error:
            raise Refused("busy", f"temporary files can't be removed: {error.strerror}") from error
        remove_ipc()
        if body:
            cwd, _, state = body.partition(b"\0")
            if not cwd.startswith(b"/") or len(cwd) > PATH_BYTES or len(state) > STATE_BYTES or b"\0" in state:
                raise Refused("state", "no state of a shell")
            self.cwd, self.state = cwd, state
        return {}, b""

    def place(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer what is mounted at the workspace, so that the worker can tell whether it's what it mounted."""
        status = os.stat(WORKSPACE)
        return {"device": status.st_dev, "inode": status.st_ino}, b""

    def not_held(self) -> None:
        if self.held is not None:
            raise Refused("held", "every process is held")

    def hold(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Stop every process; when none of their threads runs any more, answer what the next command starts from.

        Nothing where that is what the first one does.
        """
        self.not_held()
        self.held = [pid for pid, process in processes().items() if process.state == "T"]
        until = time.monotonic() + KILL_SECONDS
        again = time.monotonic() + VFORK_SECONDS
        while True:
            send_signal(-1, signal.SIGSTOP)
            running = [pid for pid in processes() if not halted(pid)]
            now = time.monotonic()
            if not running:
                return {}, b"" if (self.cwd, self.state) == self.first else self.cwd + b"\0" + self.state
            if now > until:
                self.resume({}, b"")
                raise Refused("busy", "a process can't be stopped")
            if now > until - ENDING_SECONDS:
                for pid in running:
                    send_signal(pid, signal.SIGKILL)
            elif now > again:
                # A child that was stopped between vfork and exec keeps its parent in the kernel: let it come through.
                self.let_go()
                self.step(0.002)
                again = time.monotonic() + VFORK_SECONDS
            self.step(0.0002)

    def resume(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Continue what `hold` stopped."""
        self.let_go()
        self.held = None
        return {}, b""

    def let_go(self) -> None:
        """Continue what was stopped by us; what had stopped itself stays so."""
        if self.held is not None:
            for pid in [pid for pid in processes() if pid not in self.held] if self.held else [-1]:
                send_signal(pid, signal.SIGCONT)

    # Files, with the rights of the job.

    def read(self, header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        path = os.path.join(WORKSPACE, header["path"])
        data = bytearray()
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    kind = "is_directory" if stat.S_ISDIR(os.fstat(file).st_mode) else "not_a_file"
                    raise Refused(kind, "not a regular file")
                if header["offset"] >= 0:
                    return {}, read_page(file, header["offset"], header["limit"])
                while len(data) <= header["limit"]:
                    chunk = os.read(file, PIPE_BYTES)
                    if not chunk:
                        return {}, bytes(data)
                    data += chunk
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            raise _refusal(error) from error
        raise Refused("too_large", f"larger than {header['limit']} bytes")

    def write(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            path = os.path.realpath(os.path.join(WORKSPACE, header["path"]))
            folder = os.path.dirname(path)
            os.makedirs(folder, exist_ok=True)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                mode = stat.S_IFREG | 0o644
            if not stat.S_ISREG(mode):
                raise Refused("is_directory" if stat.S_ISDIR(mode) else "not_a_file", "not a regular file")
            part = os.path.join(folder, f".dreamdock-{os.urandom(8).hex()}")
            file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                rest = memoryview(body)
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fchmod(file, stat.S_IMODE(mode))
                os.replace(part, path)
            except OSError:
                os.unlink(part)
                raise
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            raise _refusal(error) from error
        return {}, b""


def temporary_places() -> list[str]:
    """Directories in memory that the job can write to: of tmpfs, and of message queues."""
    places = []
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields = line.split()
            path = fields[4].decode("unicode_escape")  # Spaces are written as octal numbers.
            if fields[fields.index(b"-") + 1] not in (b"tmpfs", b"mqueue") or not os.access(path, os.W_OK | os.X_OK):
                continue
            status = os.stat(path)
            # Not where something else lies on top, as the workspace does on its slot.
            seen = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}".encode()
            if stat.S_ISDIR(status.st_mode) and seen == fields[2]:
                places.append(path)
    return places


def empty(place: str) -> None:
    """Remove what is ours in a directory, nested as deep as may be: directories move up before their parent goes."""
    ours, moved = os.getuid(), 0
    prefix = f".dreamdock-{os.urandom(8).hex()}-"
    top = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = os.listdir(top)
        while names:
            name = names.pop()
            status = os.lstat(name, dir_fd=top)
            if status.st_uid != ours:
                continue
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=top)
                continue
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for below in os.listdir(inner):
                    if not stat.S_ISDIR(os.lstat(below, dir_fd=inner).st_mode):
                        os.unlink(below, dir_fd=inner)
                        continue
                    moved += 1
                    os.chmod(below, 0o700, dir_fd=inner)
                    os.rename(below, f"{prefix}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                    names.append(f"{prefix}{moved}")
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def remove_ipc() -> None:
    """Remove message queues, semaphores and shared memory that outlive their processes."""
    libc = ctypes.CDLL(None)
    for kind, removal in (("msg", (0, None)), ("sem", (0, 0)), ("shm", (0, None))):
        try:
            with open(f"/proc/sysvipc/{kind}", "rb") as table:
                lines = table.read().splitlines()[1:]
        except OSError:
            continue  # This kernel has none.
        for line in lines:
            getattr(libc, f"{kind}ctl")(int(line.split()[1]), *removal)


def read_page(file: int, offset: int, limit: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    data = bytearray()
    while len(data) < limit:
        chunk = os.read(file, min(PIPE_BYTES, limit - len(data)))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _refusal(error: Exception) -> Refused:
    kinds = {
        "FileNotFoundError": "missing",
        "IsADirectoryError": "is_directory",
        "NotADirectoryError": "missing",
        "PermissionError": "denied",
    }
    full = isinstance(error, OSError) and error.strerror == os.strerror(28)
    text = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return Refused("disk_full" if full else kinds.get(type(error).__name__, "failed"), text)


def harden() -> None:
    """Close this process to the others: no reading of its memory and descriptors, no source in the process list."""
    libc = ctypes.CDLL(None)
    fields = _text("/proc/self/stat").rpartition(")")[2].split()
    first, last = int(fields[45]), int(fields[46])
    if 0 < first < last:
        ctypes.memset(first, 0, last - first)
        ctypes.memmove(first, b"dreamdock-runner", 16)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError("prctl")


def main() -> None:
    pids_limit = int(sys.argv[1])
    os.umask(0o022)
    requests, answers = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3), fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    harden()
    Runner(requests, answers, pids_limit, sys.argv[2:]).serve()


if __name__ == "__main__":
    main()
