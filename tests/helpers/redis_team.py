"""A real Redis with a team's rules, as `dreamdock up --print-acl` prints them."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redis_server import RedisServer

from orchestrator.journal.acl import ROLES
from orchestrator.journal.connection import connect
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD: Final = "correct horse"  # noqa: S105  # A test's.


class Team:
    """The server, and a way to it for each role; its administrator comes by the plain address."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.url = server.url
        self._folder = folder
        self._file = folder / "password"
        self._file.touch(0o600)
        self._file.write_text(PASSWORD + "\n")
        with connect(self.url) as admin:
            for role in ROLES:
                rules = role.line.split()[1:]
                admin.execute_command("ACL", "SETUSER", *rules, f">{PASSWORD}")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.

    def settings(self, role: str) -> Settings:
        """Return the settings of somebody with this role."""
        places = {"state_dir": self._folder / "state", "runtime_dir": self._folder / "run"}
        return Settings(redis_url=self.address(role), redis_password_file=self._file, **places)

    def environ(self, role: str) -> dict[str, str]:
        """Return them as the variables of a process."""
        settings = self.settings(role)
        return {
            "DREAMDOCK_REDIS_URL": str(settings.redis_url),
            "DREAMDOCK_REDIS_PASSWORD_FILE": str(self._file),
            "DREAMDOCK_STATE_DIR": str(settings.state_dir),
            "DREAMDOCK_RUNTIME_DIR": str(settings.runtime_dir),
        }

    def address(self, role: str) -> str:
        """Return the address of somebody with this role."""
        return self.url.replace("unix://", f"unix://{role}@")


@contextmanager
def redis_team() -> Iterator[Team]:
    """Yield a server with a team's rules."""
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    with RedisServer(folder) as server:
        yield Team(server, folder)
    shutil.rmtree(folder)
