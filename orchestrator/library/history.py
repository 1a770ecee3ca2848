"""Which commits of the library changed a page, and who wrote them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from sandbox.git import git, printable

if TYPE_CHECKING:
    from orchestrator.library.shelf import Shelf

_FORMAT: Final = "--format=%H%x1f%at%x1f%an%x1f%s"
_FIELDS: Final = 4


class Written(NamedTuple):
    """A commit that changed a page: its id, when (UTC), by whom, and what it says it did."""

    commit: str
    at: datetime
    who: str
    message: str


def history(shelf: Shelf, path: str) -> list[Written]:
    """Return the commits that changed a page, the newest first."""
    head = shelf.head()
    if not head:
        return []
    # `rev-list` and not `log`: what a repository's configuration says of logs isn't asked.
    told = git("rev-list", _FORMAT, head, "--", path, git_dir=shelf.git_dir).out.decode(errors="replace")
    rows = [line.split("\x1f", _FIELDS - 1) for line in told.split("\n")]
    return [
        Written(row[0], datetime.fromtimestamp(int(row[1]), UTC), printable(row[2]), printable(row[3]))
        for row in rows
        if len(row) == _FIELDS
    ]
