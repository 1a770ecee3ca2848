"""What an attempt needs of its host before it begins: an engine that answers, some room, and nobody before it."""

from __future__ import annotations

import hashlib
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.runs import FENCE_LABEL, STACK_LABEL
from sandbox import engine
from sandbox.container import leftovers
from sandbox.errors import WorkspaceError
from sandbox.policy import RUN_LABEL

if TYPE_CHECKING:
    from orchestrator.settings import Settings
    from orchestrator.stop import Stop

SPARE_BYTES: Final = 64 * 1024**2
"""With less room on a disk of the state folder's no attempt begins: its first checkpoint might not be kept."""
_EVERY_SECONDS: Final = 1.0
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_log = structlog.get_logger(__name__)


def host_id(settings: Settings) -> str:
    """Return what tells this host, and this state folder on it, from others of the same name: 8 hex digits."""
    return hashlib.sha256(f"{_BOOT.read_text().strip()}\0{settings.state_dir.resolve()}".encode()).hexdigest()[:8]


def wait_until_fit(settings: Settings, stop: Stop) -> None:
    """Wait until this host can carry an attempt. Raises Stopped."""
    told = ""
    while lack := lacking(settings.state_dir):
        if lack != told:
            _log.warning("an attempt waits", why=lack)
        told = lack
        stop.check()
        time.sleep(_EVERY_SECONDS)


def lacking(state_dir: Path) -> str:
    """Return what this host lacks to carry an attempt; empty for nothing."""
    if not engine.answers():
        return "the container engine doesn't answer"
    folders = [folder for folder in (state_dir / "repos", state_dir / "workspaces") if folder.is_dir()]
    return "the disk is full" if any(shutil.disk_usage(folder).free < SPARE_BYTES for folder in folders) else ""


def end_former(settings: Settings, run_id: str, fence: int) -> None:
    """Remove this host's containers of a run's other attempts: the owner of one may only be stopped, and come back.

    Raises EngineUnavailable.
    """
    for left in leftovers():
        label = left.labels.get
        if (label(STACK_LABEL), label(RUN_LABEL)) == (settings.stack_id, run_id) and label(FENCE_LABEL) != str(fence):
            with suppress(WorkspaceError):  # The container is gone; for the rest a keeper comes by.
                left.remove()
            _log.info("removed a container of a former attempt", run=run_id, container=left.id)
