"""A room's upper layer: what a run changes, and beside it what the overlay works in; made before it's mounted.

Whoever mounts it gets the two as `disk/layer`: this process, or the engine by `volume`.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from sandbox.mounts import spread, volume_options
from sandbox.objects import disk_error
from sandbox.slot import disk

if TYPE_CHECKING:
    from pathlib import Path


def make_upper(room: Path, uid: int) -> Path:
    """Make an empty upper layer of the job's, beside the one in use; return its directory. Raises OSError."""
    layer = disk(room) / f"next-{secrets.token_hex(4)}"  # Where ext4 puts a directory is decided by its name.
    spread(disk(room))
    layer.mkdir()
    (layer / "work").mkdir()
    upper = layer / "upper"
    _give(upper, uid, 0o755)
    return upper


def make_home(upper: Path, uid: int) -> None:
    """Give an upper layer an empty HOME. Raises OSError."""
    reserved = upper / ".dreamdock"
    _give(reserved, uid, 0o755)
    _give(reserved / "home", uid, 0o700)


def take(upper: Path, room: Path) -> None:
    """Let an upper layer be the room's; nothing may be there yet. Raises OSError."""
    upper.parent.rename(disk(room) / "layer")


def lay(room: Path, uid: int) -> None:
    """Give a room the upper layer of who has changed nothing yet. Raises WorkspaceError, DiskFull."""
    try:
        upper = make_upper(room, uid)
        make_home(upper, uid)
        take(upper, room)
    except OSError as error:
        raise disk_error(error, "making the workspace") from error


def upper_of(room: Path) -> Path:
    """Return where a room's upper layer is."""
    return disk(room) / "layer" / "upper"


def volume(room: Path, lower: str) -> str:
    """Return the options by which the engine mounts a room's upper layer over `lower`.

    `lower` is the directories below, top first, relative to the root of all workspaces. Raises WorkspaceError.
    """
    layer = f"open/{room.name}/disk/layer"
    return volume_options(room.parent.parent, lower=lower, upper=f"{layer}/upper", work=f"{layer}/work")


def _give(folder: Path, uid: int, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, uid, uid)
