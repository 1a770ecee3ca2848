"""What a run may look up: its repository's entries, its team's and its user's; whatever is wrong, the run goes on."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from orchestrator.errors import DreamdockError
from orchestrator.library.opened import open_library, scopes
from orchestrator.library.sharing import pull
from orchestrator.library.skills import approved

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from orchestrator.library.recall import Recalled
    from orchestrator.library.skill import Skill
    from orchestrator.settings import Settings

_PULL_S: Final = 10.0
"""How long a run waits for the library's remote."""
_WAIT_S: Final = 5.0
"""How long it waits for another process that writes to the library, or to its index."""
_log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """What fits, best first; the library's commit; and what was wrong, empty where all was well."""

    entries: tuple[Recalled, ...] = ()
    head: str = ""
    failure: str = ""


class Lookup:
    """Looks things up for one attempt, in any of its threads."""

    def __init__(self, settings: Settings, user: str, project: str) -> None:
        """Take whose run it is, and on which repository; nothing is read yet."""
        self._settings = settings
        self._scopes = scopes(settings, user, project)
        self._project = project
        self._lock = threading.Lock()
        self._pulled = False
        self._away = ""  # Why that failed, until it's told.

    def recall(self, question: str, *, budget: int, now: datetime, known: Collection[str] = ()) -> Found:
        """Return what fits in `budget` tokens, as `told` tells it to who knows some already; see `Library.recall`.

        The library's remote is pulled from before, once; where that fails, what is here is looked through.
        """
        self._pull()
        with self._lock:
            away, self._away = self._away, ""
        try:
            library = open_library(self._settings, wait_s=_WAIT_S)
            if not library.shelf.head():
                return Found(failure=away)  # Most have none: not even an index is made for it.
            with closing(library.index):  # One thread uses an object.
                found = library.recall(self._scopes, question, budget=budget, now=now, known=known)
                return Found(tuple(found), library.shelf.head(), away)
        except Exception as error:  # noqa: BLE001  # Whatever its files hold: a run goes on without it.
            return Found(failure=_told("long-term memory can't be read", error))

    def skills(self) -> tuple[Skill, ...]:
        """Return the skills that may be told; none where the library can't be read, which `recall` says."""
        self._pull()
        try:
            return tuple(approved(open_library(self._settings, wait_s=_WAIT_S).shelf, self._project))
        except Exception as error:  # noqa: BLE001  # As above.
            _told("skills can't be read", error)
            return ()

    def _pull(self) -> None:
        """Bring what the remote has, the first time."""
        remote = self._settings.library.remote
        with self._lock:
            if self._pulled or not remote:
                return
            self._pulled = True
            try:
                pull(open_library(self._settings, wait_s=_WAIT_S).shelf, remote, timeout_s=_PULL_S)
            except Exception as error:  # noqa: BLE001  # As above.
                self._away = _told("long-term memory isn't up to date", error)


def _told(what: str, error: Exception) -> str:
    """Log what went wrong, and return it in a line."""
    why = f"{type(error).__name__}: {error}"
    if isinstance(error, DreamdockError):
        why = error.words
    _log.warning(what, why=why)
    return f"{what}: {' '.join(why.split())}"
