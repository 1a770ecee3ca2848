"""The dream: from the journals of runs that ended to entries of the library, and one commit with its report.

Everything up to the commit is made in memory, so a dream that is killed leaves the library as it was; the commit is
one that the library makes whole or not at all. Nobody else dreams of the same project meanwhile, on any host; what
people write into the library meanwhile is merged, and stays.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.dream.batch import Batch, Phase
from orchestrator.dream.collect import collect
from orchestrator.dream.compress import compress
from orchestrator.dream.counting import count
from orchestrator.dream.deduplicate import deduplicate
from orchestrator.dream.draft import drafts
from orchestrator.dream.report import Report, at, render
from orchestrator.dream.reports import last_until
from orchestrator.dream.resolve import resolve
from orchestrator.dream.sharing import brought, handed_on
from orchestrator.errors import LimitError, UnavailableError
from orchestrator.holdings import Holdings
from orchestrator.journal import dreams, index
from orchestrator.library.opened import open_library
from orchestrator.library.page import PageError
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from redis import Redis

    from orchestrator.dream.collect import Collected
    from orchestrator.library.entry import Entry
    from orchestrator.settings import Settings

_READING: Final = 0.5
"""Share of a dream's time after which no more journals are read: those that are left are for the next one."""


class Progress(NamedTuple):
    """How far a dream is: its phase, and how much of that is done."""

    phase: Phase
    done: int = 0
    of: int = 0


def carry_dream(client: Redis, settings: Settings, project: str, *, stop: Stop | None = None) -> Report:
    """Dream of a project, for the queue. Raises what `Dreamer.dream` does, UnavailableError where it was refused."""
    report = Dreamer(client, settings, project, stop=stop).dream()
    if report.refused:
        raise UnavailableError(f"nothing was dreamt of {project}", cause=report.refused)
    return report


class Dreamer:
    """Dreams of one project, in this process."""

    def __init__(self, client: Redis, settings: Settings, project: str, *, stop: Stop | None = None) -> None:
        self._client = client
        self._settings = settings
        self._project = project
        self._stop = stop or Stop()
        self._shelf = open_library(settings).shelf
        self._tell: Callable[[Progress], None] = lambda _: None
        self._deadline = 0.0

    def dream(
        self,
        *,
        since: datetime | None = None,
        dry_run: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Go through the project's library, with what ended since the last dream or since `since`.

        A dry run writes nothing at all, to the library or elsewhere. Raises UnavailableError where somebody else dreams
        of the project, RedisAwayError, LibraryError, LimitError for one that takes too long, Stopped; the library is as
        it was then.
        """
        self._tell = progress or (lambda _: None)
        self._deadline = time.monotonic() + self._settings.dream.seconds
        with ExitStack() as stack:
            lock = None if dry_run else stack.enter_context(dreams.held(self._client, self._project))
            return self._dream(since, lock)

    def _dream(self, since: datetime | None, lock: dreams.Held | None) -> Report:
        url = self._settings.library.remote if lock is not None else None
        away = brought(self._shelf, url) if lock is not None else ""
        head = self._shelf.head()
        watermark = self._watermark()
        begin = watermark if since is None else round(since.timestamp() * 1000)
        until = index.now_ms(self._client)
        report = Report(
            project=self._project, since=at(begin) if begin else None, until=at(until), dry_run=lock is None
        )
        if refused := self._refused():
            return report.model_copy(update={"refused": refused})
        collected = self._collect(begin, until, watermark)
        before, unread = self._entries(head)
        batch = self._phases(Batch(before), collected)
        notes = [*filter(None, [away]), *unread]
        if collected.left:
            notes.append(f"{collected.left} runs that ended later are for the next dream")
        report = report.model_copy(
            update={
                "until": at(collected.until_ms),
                "runs": len(collected.lessons),
                "left": collected.left,
                "skipped": tuple(collected.skipped),
                "changes": batch.changes,
                "notes": tuple(notes),
            }
        )
        changed = [entry for name, entry in batch.entries.items() if before.get(name) != entry]
        if lock is None:
            return report
        self._at(Phase.COMMIT)
        if not changed:
            dreams.note(self._client, self._project, collected.until_ms)
            return report
        if not lock.owns():
            raise UnavailableError(
                "the dream wrote nothing", cause="it lost its right to the library meanwhile", hint="dreamdock dream"
            )
        files = {report.path: render(report).encode()}
        commit = self._shelf.put(*changed, message=_message(report), since=head, files=files)
        left_here = handed_on(self._shelf, None if away else url)
        return report.model_copy(update={"commit": commit, "notes": (*report.notes, *filter(None, [left_here]))})

    def _phases(self, batch: Batch, collected: Collected) -> Batch:
        """Return the batch as it's to be."""
        now = at(collected.until_ms)
        self._at(Phase.EXTRACT)
        found = drafts(collected.findings, self._project, now=now)
        batch = count(batch, collected.uses)
        self._at(Phase.DEDUPLICATE)
        batch = deduplicate(batch, found)
        self._at(Phase.VERIFY)
        self._at(Phase.RESOLVE)
        batch = resolve(batch, now)
        self._at(Phase.COMPRESS)
        return compress(batch, self._settings.dream.keep, now)

    def _at(self, phase: Phase, done: int = 0, of: int = 0) -> None:
        """Say how far it is, and end here where that was asked for, or the time is up."""
        self._stop.check()
        if time.monotonic() > self._deadline:
            raise LimitError(
                "the dream took too long, and wrote nothing",
                cause=f"it was at {phase} after {self._settings.dream.seconds} s",
                hint="give it longer: [dream] seconds in the settings",
            )
        self._tell(Progress(phase, done, of))

    def _watermark(self) -> int:
        """Return until when the project's runs were looked at, ms of Redis's clock; 0 for never."""
        last = last_until(self._shelf, self._project)
        return max(round(last.timestamp() * 1000) if last else 0, dreams.seen(self._client, self._project))

    def _refused(self) -> str:
        """Return why nothing can be said of this project here; empty where it can."""
        holdings = Holdings(self._settings)
        if self._project in holdings.store.projects() or holdings.remote is not None:
            return ""
        return f"this host has no repository {self._project} (any more), so nothing can be seen to hold or not"

    def _collect(self, begin: int, until: int, counted: int) -> Collected:
        over = time.monotonic() + self._settings.dream.seconds * _READING
        return collect(
            self._client,
            self._project,
            begin,
            until,
            counted_ms=counted,
            tell=lambda done, of: self._at(Phase.COLLECT, done, of),
            enough=lambda: time.monotonic() > over,
        )

    def _entries(self, head: str) -> tuple[dict[str, Entry], list[str]]:
        """Return the project's entries at a commit by their ids, and what is said of pages that are none."""
        folder = f"repo/{self._project}/"
        pages = {path: what for path, what in self._shelf.pages(head).items() if path.startswith(folder)}
        read = list(self._shelf.read(pages))
        unread = [f"a page is left as it is: {one.message}" for one in read if isinstance(one, PageError)]
        return {one.id: one for one in read if not isinstance(one, PageError)}, unread


def _message(report: Report) -> str:
    return f"Dream of {report.project}: {report.words}\n\nDreamdock-Dream: {report.path}"
