"""Takes a mounted workspace back to another tree: a fresh layer in place of the old one, which is never edited.

The container stays; it sees the new mount where the old one was. What is ignored survives, `.git` is the base's again.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.objects import disk_error
from sandbox.survivors import Survivors

if TYPE_CHECKING:
    from sandbox.ignores import Ignores
    from sandbox.objects import Objects
    from sandbox.workspace import Workspace

GONE = "every process was ended; /tmp, /run and /dev/shm are empty; .git holds the base commit alone"
"""What a rewind takes away beside the files, for people and models."""

FULL = "the run's disk was too full to keep what is ignored, and HOME: both are empty"
"""What a rewind takes away as well where the disk is full."""

_NAMED = 10


@dataclass(frozen=True)
class Rewound:
    """Where the sandbox is now: a checkpoint's commit and tree. `notes` say in words what else is gone."""

    commit: str
    tree: str
    notes: tuple[str, ...]


def rewind(workspace: Workspace, objects: Objects, ignores: Ignores, tree: str) -> tuple[str, ...]:
    """Put a workspace in which nothing runs at `tree`, and return what is gone beside, in words.

    Where its disk is too full to hold two layers at once, what is ignored goes too.
    Raises WorkspaceError (also where something is left that uses it) and DiskFull: then it can only be removed.
    """
    try:
        workspace.unmount()
        try:
            new = workspace.make_next(objects, tree)
            lost = Survivors(objects, ignores, workspace, new, tree).move()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            workspace.start_over(objects, tree)
            return (GONE, FULL)
        workspace.take_next(new)
    except OSError as error:
        raise disk_error(error, "rewinding the workspace") from error
    if not lost:
        return (GONE,)
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return (GONE, f"ignored, but the step has something else there: {', '.join(lost[:_NAMED])}{more}")
