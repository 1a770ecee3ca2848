"""The library of these settings, and what of it whoever works on a repository may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.library.entry import Scope, Where
from orchestrator.library.index import Index
from orchestrator.library.recall import Library
from orchestrator.library.shelf import WAIT_S, Shelf

if TYPE_CHECKING:
    from orchestrator.settings import Settings


def open_library(settings: Settings, *, person: str = "", wait_s: float = WAIT_S) -> Library:
    """Return the library; nothing is made or read yet.

    `person` is whose name changes of its files go by; others that write are waited for `wait_s` seconds.
    """
    index = Index(settings.state_dir / "library.index", wait_s=wait_s)
    return Library(Shelf(settings.library_dir, person=person, wait_s=wait_s), index)


def scopes(settings: Settings, user: str, project: str = "") -> tuple[Where, ...]:
    """Return what a user may see at work on a repository: its scope, the user's team's and the user's own.

    `project` is the repository's id, empty for none. A name that can't be a scope's id has no scope.
    """
    asked = [(Scope.REPO, project), (Scope.TEAM, settings.queue.of(user).team), (Scope.USER, user)]
    found = []
    for scope, scope_id in asked:
        try:
            found.append(Where(scope=scope, scope_id=scope_id))
        except ValueError:
            continue
    return tuple(found)
