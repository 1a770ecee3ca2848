"""What the supervisor says of itself and its children, in one file of the runtime directory."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.stack.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def worker_names(number: int) -> list[str]:
    """Return what the workers of this machine are called."""
    return [f"worker-{count}" for count in range(1, number + 1)]


@dataclass(frozen=True)
class Status:
    """The supervisor and its children by name; a child that is being restarted is missing."""

    supervisor: Identity
    children: Mapping[str, Identity]
    ready: bool
    """All children were started once."""

    @staticmethod
    def path(runtime_dir: Path) -> Path:
        """Return where it is written."""
        return runtime_dir / "supervisor.json"

    @classmethod
    def read(cls, runtime_dir: Path) -> Status | None:
        """Return what the file said when it was written; None where there is none, or it can't be read."""
        try:
            value = json.loads(cls.path(runtime_dir).read_text())
            supervisor = Identity.parse(value["supervisor"])
            children = {str(name): Identity.parse(child) for name, child in value["children"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if supervisor is None:
            return None
        known = {name: child for name, child in children.items() if child is not None}
        return cls(supervisor=supervisor, children=known, ready=value.get("ready") is True)

    @staticmethod
    def hold(runtime_dir: Path) -> int | None:
        """Take the lock that a supervisor holds for life, and return its descriptor; None where another has it."""
        descriptor = os.open(runtime_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @classmethod
    def is_held(cls, runtime_dir: Path) -> bool:
        """Whether a supervisor lives, whatever the file says."""
        try:
            descriptor = cls.hold(runtime_dir)
        except OSError:  # No folder, or root's file: the status file is all that there is to go by.
            return False
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def write(self, runtime_dir: Path) -> None:
        """Replace the file as a whole."""
        children = {name: child.dump() for name, child in self.children.items()}
        value = {"supervisor": self.supervisor.dump(), "children": children, "ready": self.ready}
        path = self.path(runtime_dir)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(value))
        fresh.replace(path)
