"""What the sandbox's tests share: plain git repositories, and the types of their fixtures."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.spec import Base
    from sandbox.workspace import Workspace

UID = 64001  # No account has it.


class Repo:
    """A git repository of the test's, made with plain git as a user would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    @property
    def project(self) -> str:
        """The project id that the store has to come to."""
        return self.git("rev-list", "--max-parents=0", "HEAD")[:12]

    def git(self, *args: str, stdin: bytes = b"") -> str:
        """Run git in the repository and return what it prints."""
        closed = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        names = {f"GIT_{role}_{key}": "u" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        argv = ["git", "-c", "protocol.file.allow=always", "-c", "core.protectNTFS=false", "-C", str(self.path), *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, env=closed | names)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, files: Mapping[Any, str | bytes]) -> None:
        """Write files by name (text or bytes), making their directories."""
        for name, content in files.items():
            path = self.path / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(content))

    def commit(self, files: Mapping[Any, str | bytes] | None = None) -> str:
        """Commit everything there is, `files` included, and return the commit."""
        self.write(files or {})
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "step")
        return self.git("rev-parse", "HEAD")


class NewRepo(Protocol):
    """Makes an empty repository by name."""

    def __call__(self, name: str) -> Repo:
        """Return it."""


class Opener(Protocol):
    """Mounts a workspace, removed at the test's end."""

    def __call__(self, base: Base, name: str = "w", tree: str | None = None) -> Workspace:
        """Return it."""


class SmallDisk(Protocol):
    """Makes a small file system, unmounted at the test's end."""

    def __call__(self, size: str) -> Path:
        """Return where it is mounted; `size` is mount's: 2m, 64k."""
