"""Runs the host's git so that nothing but our own arguments decides what it does.

No configuration of the machine or the user is read, nothing is asked, nothing is executed on a repository's behalf.
The one exception is a call with `as_user`: the user's own remote needs their credential helpers and proxies.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.errors import DiskFull, RevisionNotFound, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# Command-line configuration wins over every file. Transports that run a program (ext::, remote helpers) stay refused.
_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.protectHFS=false",  # Linux only: names that trouble other systems are file names here.
    "core.protectNTFS=false",
    "core.quotePath=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
    "protocol.git.allow=always",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
# What of the user's own git environment a fetch from their remote keeps: how to connect and to log in.
_USERS = ("GIT_SSL_", "GIT_SSH", "GIT_HTTP_", "GIT_CONFIG_")
_SAID = 400  # Characters of git's own words that are worth passing on.


@dataclass(frozen=True)
class GitResult:
    """What one git command answered: exit code, standard output, standard error."""

    code: int
    out: bytes
    err: bytes


class GitFailed(WorkspaceError):  # noqa: N818  # States what is so; the root carries the suffix.
    """A git command failed. `cause` is what git said, with control characters made visible."""


class Killer:
    """Ends a git command that another thread waits for; whatever is begun after that ends at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """End what is under way with all that it has started."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    @contextmanager
    def over(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Have `kill` end this process while the block runs."""
        with self._lock:
            self._process = process
        if self._killed:
            self.kill()
        try:
            yield
        finally:
            with self._lock:
                self._process = None


@dataclass(frozen=True)
class Bounds:
    """What holds one git command, and all that it starts, back.

    `killer` can end it; none of its files may have more than `most_bytes`; `niceness` lowers its priority.
    """

    killer: Killer = field(default_factory=Killer)
    most_bytes: int | None = None
    niceness: int = 0

    def put_on(self, pid: int) -> None:
        """Bound a process that was just started: what it will start has the same bounds."""
        with suppress(ProcessLookupError):  # It's over already.
            if self.most_bytes is not None:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.most_bytes, self.most_bytes))
            if self.niceness:
                os.setpriority(os.PRIO_PROCESS, pid, min(os.getpriority(os.PRIO_PROCESS, pid) + self.niceness, 19))


def printable(text: bytes | str) -> str:
    """Text that can be shown or stored as JSON: unprintable characters and undecodable bytes come out as escapes."""
    value = text if isinstance(text, str) else os.fsdecode(text)
    if value.isprintable():
        return value
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in value)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  # The range in which surrogateescape keeps undecodable bytes.
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii") if char != "\\" else "\\\\"


def checked_revision(rev: str) -> str:
    """Return the revision as given; refuse one that git could take for an option or that can't be a name."""
    if not rev or rev.startswith("-") or not rev.isprintable():
        raise RevisionNotFound(f"{printable(rev)!r} is no revision", hint="name a branch, a tag or a commit")
    return rev


def git(
    *args: str | Path,
    git_dir: Path | None = None,
    work_tree: Path | None = None,
    index: Path | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    as_user: bool = False,
    timeout_s: float = 600,
    check: bool = True,
    bounds: Bounds | None = None,
) -> GitResult:
    """Run one git command with a closed environment.

    Raises GitFailed on a non-zero exit (unless `check` is off) and after `timeout_s` seconds, DiskFull for a full disk.
    """
    command: list[str] = ["git", "--no-pager"]
    for setting in _CONFIG:
        command += ["-c", setting]
    command += [str(arg) for arg in args]
    environment = _environment(as_user=as_user) | dict(env or {})
    for name, path in (("GIT_DIR", git_dir), ("GIT_WORK_TREE", work_tree), ("GIT_INDEX_FILE", index)):
        if path is not None:
            environment[name] = str(path)
    result = _run(command, environment, cwd=cwd, stdin=stdin, timeout_s=timeout_s, bounds=bounds or Bounds())
    if check and result.code != 0:
        raise failure(_verb(args), result)
    return result


def _verb(args: Sequence[str | Path]) -> str | Path:
    return _verb(args[2:]) if args[0] == "-c" else args[0]


def said(words: bytes) -> str:
    """Return the end of what git said in one line that can be shown."""
    text = words.decode("utf-8", "replace").strip()
    return " ".join(printable(line) for line in text[-_SAID:].splitlines())


def failure(verb: str | Path, result: GitResult) -> WorkspaceError:
    """Return the error for a git command that failed."""
    cause = said(result.err)
    if b"No space left on device" in result.err or b"Disk quota exceeded" in result.err:
        return DiskFull("the disk is full", cause=cause, hint="free some space, then try again")
    return GitFailed(f"git {verb} failed", cause=cause)


def _environment(*, as_user: bool) -> dict[str, str]:
    ours = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_DEFAULT_REF_FORMAT": "files",  # The store's refs are written and listed as such.
        "LC_ALL": "C",
    }
    if as_user:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_USERS)
        }
        ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        return inherited | ours | {"GIT_SSH_COMMAND": ssh, "GIT_ASKPASS": "true", "SSH_ASKPASS": "true"}
    closed = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}
    return {"PATH": os.environ.get("PATH", os.defpath)} | ours | closed


def _run(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: Path | None,
    stdin: bytes,
    timeout_s: float,
    bounds: Bounds,
) -> GitResult:
    pipe = subprocess.PIPE
    try:
        # A session of its own, so that helpers which git started can be ended with it.
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, umask=0o022
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise WorkspaceError(f"no such directory: {printable(str(cwd))}") from error
        raise WorkspaceError("git isn't installed", hint="apt install git") from error
    try:
        bounds.put_on(process.pid)
        with bounds.killer.over(process):
            out, err = process.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise GitFailed("git took too long", cause=f"no end after {timeout_s:g} s") from error
        raise
    return GitResult(process.returncode, out, err)
