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
# ruff: noqa: PTH103, PTH105, PTH108, PTH118, PTH120, PTH123, PTH208  # Importing pathlib takes a tenth of its start.
import contextlib
import ctypes
import fcntl
import json
import os
import select
import shlex
import signal
import stat
import struct
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROTOCOL = 1
LENGTHS = struct.Struct(">II")
WORKSPACE = "/workspace"
PIPE_BYTES = 1 << 20
STATE_BYTES = 4 << 20  # Longest declarations that are carried from one command to the next.
PATH_BYTES = 4096
BACKGROUND_PIPES = 64  # Outputs of ended commands that are drained on, so that what they left behind doesn't break.
KILL_SECONDS = 5.0
AHEAD = 2
PR_SET_DUMPABLE = 4
F_SETPIPE_SZ = 1031
FIONREAD = 0x541B
GO, COMMAND, STATE, SAVED, SCRIPT = 200, 201, 202, 203, 204
NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
PIDS_FILES = ("/sys/fs/cgroup/pids.current", "/sys/fs/cgroup/pids/pids.current")
OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

# What a shell does before its command: be the first to go when memory runs out, wait for the last state and take it
# over, wait for the command and enter its directory; then mark with `R` that it begins. A command's own EXIT trap may
# replace ours, hence the second way to save, in SHELL. Functions of the job may have the names of builtins.
PRELUDE = r"""
echo 500 >/proc/self/oom_score_adj
IFS= read -r -u 200 __dd_go
unset HOME SHELL PATH
. /proc/self/fd/202 2>/dev/null
builtin unset ${!__dd_@}
builtin hash -r
IFS= builtin read -r -u 200 __dd_go
[[ $__dd_go == data ]] || exec </dev/null
IFS= builtin read -r -d '' -u 201 __dd_cwd
IFS= builtin read -r -d '' -u 201 __dd_command
exec 200<&- 201<&- 202<&- 204<&-
__dd_old=$OLDPWD
builtin cd -- "$__dd_cwd" 2>/dev/null || {
    builtin cd /workspace
    builtin echo "dreamdock: $__dd_cwd is gone, this is /workspace"
}
OLDPWD=$__dd_old
__dd_save='[[ ${__dd_saved-} ]] || { builtin set +eux; __dd_saved=1; builtin unset __dd_command
builtin printf "%s\0" "$PWD"; builtin declare -p; builtin umask -p; builtin declare -f; builtin declare -Fx
builtin printf "\0"; }'
builtin trap '{ builtin eval "$__dd_save"; } 2>/dev/null >&203' EXIT
builtin printf 'R\0' >&203
"""
# One line, parsed before the command is: its open quotes can't reach beyond it, and messages name its own line numbers.
SHELL = (
    '. /proc/self/fd/204; builtin eval "$__dd_command"; '
    '{ __dd_status=$?; } 2>/dev/null; { builtin eval "$__dd_save"; } 2>/dev/null >&203; builtin exit $__dd_status'
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


class Kept:
    """Head and tail of an output, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self.half = limit // 2
        self.head = bytearray()
        self.tail = bytearray()
        self.total = 0

    def add(self, chunk: memoryview) -> None:
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
        self.stdin, self.output, self.go, self.command, self.state, self.saved = -1, -1, -1, -1, -1, -1


class Process:
    """One line of the process table."""

    def __init__(self, text: str) -> None:
        fields = text[text.rindex(")") + 2 :].split()  # The name before it may hold anything.
        self.state, self.parent, self.threads, self.start = fields[0], int(fields[1]), int(fields[17]), fields[19]


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


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _text(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return (file.read(4096) or b"").decode("utf-8", "replace")


def _readable(paths: Iterable[str]) -> str:
    return next((path for path in paths if os.access(path, os.R_OK)), "")


class Runner:
    """Answers requests one after the other, reaps, and drains whatever was left running."""

    def __init__(self, requests: int, answers: int, pids_limit: int) -> None:
        self.requests, self.answers, self.pids_limit = requests, answers, pids_limit
        self.inbox = bytearray()
        self.poll = select.epoll()
        self.handlers: dict[int, Callable[[], object]] = {}
        self.children: dict[int, Child] = {}
        self.scratch = bytearray(PIPE_BYTES)
        self.bash = _readable(("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"))
        self.pids_file, self.oom_file = _readable(PIDS_FILES), _readable(OOM_FILES)
        self.ooms = self.count_ooms()
        self.environment = dict(os.environ)
        self.fresh_state()
        self.ahead: list[Child] = []
        self.known: dict[int, str] = {}
        self.held: list[int] | None = None
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
        self.answer({"id": 0, "protocol": PROTOCOL, "bash": self.bash, "python": sys.version.split()[0]})
        self.settle()
        operations = {
            "run": self.run,
            "exec": self.execute,
            "read": self.read,
            "write": self.write,
            "hold": self.hold,
            "resume": self.resume,
            "kill": self.kill,
        }
        while True:
            header, body = self.next_request()
            try:
                reply, data = operations[header["op"]](header, body)
            except Refused as refusal:
                reply, data = {"error": refusal.kind, "message": str(refusal)}, b""
            except Exception:  # noqa: BLE001  # Whatever happened to this request, the next one gets its answer.
                reply, data = {"error": "internal", "message": traceback.format_exc()[-2000:]}, b""
            reply["id"] = header["id"]
            self.answer(reply, data)
            if header["op"] in ("run", "exec"):
                self.settle()

    def next_request(self) -> tuple[dict[str, Any], bytes]:
        while True:
            if len(self.inbox) >= LENGTHS.size:
                head, body = LENGTHS.unpack_from(self.inbox)
                end = LENGTHS.size + head + body
                if len(self.inbox) >= end:
                    frame = bytes(self.inbox[LENGTHS.size : end])
                    del self.inbox[:end]
                    return json.loads(frame[:head]), frame[head:]
            self.step(None)

    def answer(self, header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header).encode("ascii")
        data = memoryview(LENGTHS.pack(len(text), len(body)) + text + body)
        while data:
            data = data[os.write(self.answers, data) :]

    def step(self, seconds: float | None) -> None:
        for descriptor, _event in self.poll.poll(seconds):
            handler = self.handlers.get(descriptor)
            if handler is not None:
                handler()

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
                script = os.memfd_create("script")
                theirs.append(script)
                os.write(script, PRELUDE.encode())
                child.command, child.state, child.saved = map(os.memfd_create, ("command", "state", "saved"))
                moves += [(go, GO), (child.command, COMMAND), (child.state, STATE), (child.saved, SAVED)]
                moves += [(script, SCRIPT)]
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

    def start_ahead(self) -> None:
        """Keep shells that have started: one that knows the state, and one for a caller that is in a hurry."""
        for child in [child for child in self.ahead if child.status is not None]:
            self.ahead.remove(child)
            self.release(child)
        try:
            while len(self.ahead) < AHEAD:
                self.ahead.append(self.start(None))
        except OSError:
            pass  # No room for it now; the next command makes room.

    def drop_ahead(self) -> None:
        while self.ahead:
            self.release(self.ahead.pop())

    def hand_over(self, child: Child) -> None:
        """Give a waiting shell the state that the last one left."""
        os.pwrite(child.state, self.state, 0)
        child.state = self.close(child.state)
        self.tell(child, b"state\n")

    def tell(self, child: Child, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # Something ended it while it waited: another takes its place.
            os.write(child.go, word)

    def release(self, child: Child) -> None:
        for name in ("stdin", "output", "go", "command", "state", "saved"):
            setattr(child, name, self.close(getattr(child, name)))

    # Commands.

    def run(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        size = header["command_bytes"]
        command, stdin = body[:size], body[size:]
        self.not_held()
        notes: list[str] = []
        self.make_room(notes)
        for last in (False, False, True):
            if last:
                self.start_afresh(notes)
            child = self.ahead.pop(0) if self.ahead else self.start_anyhow(None, notes)
            if child.state >= 0:
                self.hand_over(child)
            os.pwrite(child.command, self.cwd + b"\0" + command + b"\0", 0)
            self.tell(child, b"data\n" if stdin else b"none\n")
            reply, output = self.follow(child, header, stdin)
            begun = self.take_state(child, notes)
            self.leave(child)
            if begun or reply["timed_out"]:
                break  # Otherwise something ended the shell before it came to the command.
        if not begun:
            self.start_afresh(notes)
        self.brief_next()
        return dict(reply, cwd=os.fsdecode(self.cwd), notes=notes + self.memory_notes(reply)), output

    def execute(self, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        self.not_held()
        notes: list[str] = []
        self.make_room(notes)
        child = self.start_anyhow(header["argv"], notes)
        reply, output = self.follow(child, header, body)
        self.leave(child)
        return dict(reply, cwd=WORKSPACE, notes=notes + self.memory_notes(reply)), output

    def follow(self, child: Child, header: dict[str, Any], stdin: bytes) -> tuple[dict[str, Any], bytes]:
        """Feed, drain and wait until the process itself ends; what it leaves running doesn't matter here."""
        began = time.monotonic()
        deadline = began + header["timeout_s"]
        kept = Kept(header["keep_bytes"])
        self.watch(child.output, select.EPOLLIN, lambda: self.drain(child, kept))
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
            "duration": time.monotonic() - began,
        }
        return reply, kept.result()

    def drain(self, child: Child, kept: Kept | None, most: int = PIPE_BYTES) -> int:
        view = memoryview(self.scratch)[: min(most, PIPE_BYTES)]
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
        parts: list[Any] = os.pread(child.saved, size, 0).split(b"\0")
        begun, cwd, state, complete = (parts + [None] * 4)[:4]
        if complete is not None and cwd.startswith(b"/") and len(cwd) <= PATH_BYTES:
            self.cwd, self.state = cwd, state
        return bool(begun == b"R")

    def brief_next(self) -> None:
        """Let the next shell take over the state while the answer is on its way."""
        if self.ahead and self.ahead[0].state >= 0:
            self.hand_over(self.ahead[0])

    def settle(self) -> None:
        """After the answer: start shells ahead, and learn what was left running."""
        self.start_ahead()
        self.brief_next()
        self.known = {}
        if not self.pids_file or self.count_tasks() > 1 + len(self.ahead):
            self.known = {pid: process.start for pid, process in processes().items() if pid not in self.children}

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
        before, self.ooms = self.ooms, self.count_ooms()
        told = reply["exit"] != 0 and self.ooms > before
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
        left = [pid for pid, process in processes().items() if process.state not in "ZX"]
        if left:
            raise Refused("busy", f"{len(left)} processes can't be ended")
        return {}, b""

    def not_held(self) -> None:
        if self.held is not None:
            raise Refused("held", "every process is held")

    def hold(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Stop every process, and answer when none of their threads runs any more."""
        self.not_held()
        self.held = [pid for pid, process in processes().items() if process.state == "T"]
        until = time.monotonic() + KILL_SECONDS
        while True:
            send_signal(-1, signal.SIGSTOP)
            if all(halted(pid) for pid in processes()):
                return {}, b""
            if time.monotonic() > until:
                self.resume({}, b"")
                raise Refused("busy", "a process can't be stopped")
            self.step(0.0002)

    def resume(self, _header: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], bytes]:
        """Continue what `hold` stopped."""
        stopped, self.held = self.held, None
        if stopped is not None:
            for pid in [pid for pid in processes() if pid not in stopped] if stopped else [-1]:
                send_signal(pid, signal.SIGCONT)
        return {}, b""

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
    Runner(requests, answers, pids_limit).serve()


if __name__ == "__main__":
    main()
