"""What people do with dreams: have one now, look at those of the past, and take one back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.dream import reports
from orchestrator.dream.dreamer import Dreamer
from orchestrator.dream.undo import Reverted, revert
from orchestrator.library.opened import open_library
from orchestrator.library.sharing import brought, later, pushed

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from orchestrator.dream.pipeline import Progress
    from orchestrator.dream.report import Report
    from orchestrator.dream.reports import Dreamt, Touched
    from orchestrator.settings import Settings


class Told(NamedTuple):
    """A dream of the past, what its report says to a person, and the pages that it changed."""

    dream: Dreamt
    text: str
    pages: list[Touched]


class Dreams:
    """The dreams of one project. Only a new one asks Redis; the others are what the library tells."""

    def __init__(self, client: Redis, settings: Settings, project: str) -> None:
        self.project = project
        self._client = client
        self._settings = settings
        self._shelf = open_library(settings).shelf

    def dream(self, *, since: datetime | None, dry_run: bool, progress: Callable[[Progress], None]) -> Report:
        """Dream in this process; see `Dreamer.dream`."""
        return Dreamer(self._client, self._settings, self.project).dream(
            since=since, dry_run=dry_run, progress=progress
        )

    def listed(self) -> list[Dreamt]:
        """Return the dreams of the past, newest first. Raises LibraryError."""
        return reports.dreams(self._shelf, self.project)

    def told(self, which: str) -> Told:
        """Return one of them; see `reports.dream_of` for which. Raises NotFoundError, UsageError, LibraryError."""
        dreamt = reports.dream_of(self._shelf, self.project, which)
        return Told(dreamt, reports.text_of(self._shelf, dreamt), reports.touched(self._shelf, dreamt))

    def revert(self, which: str) -> Reverted:
        """Take one back, as a commit of this person's; see `undo.revert`. Raises as `told`."""
        url = self._settings.library.remote
        away = brought(self._shelf, url)
        dreamt = reports.dream_of(self._shelf, self.project, which)
        done = revert(self._shelf, dreamt, datetime.now(UTC), who=self._shelf.whose())
        away = away or pushed(self._shelf, url)
        return done.model_copy(update={"notes": (later(away),) if away else ()})
