"""A worker's death on purpose: the demo shows that its run goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.stack.packages import Rights
from orchestrator.stack.status import Status

if TYPE_CHECKING:
    from orchestrator.settings import Settings


def kill_worker(settings: Settings, horse: int) -> str:
    """Kill the worker whose work-horse has this pid, with SIGKILL. Returns its name and pid.

    Empty where it isn't one that `up` started on this machine, or may not be killed from here: then nothing is done.
    """
    status, rights = Status.read(settings.runtime_dir), Rights.probe()
    if status is None or rights.as_root is None or not status.supervisor.is_alive():
        return ""
    parent = _parent(horse)
    for name, child in status.children.items():
        if child.pid == parent and name.startswith("worker-"):
            child.kill(signal.SIGKILL, as_root=rights.as_root)
            return f"{name}, pid {parent}"
    return ""


def _parent(pid: int) -> int:
    """Return a process's parent; 0 where there is no such process."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        )
    except OSError:
        return 0
