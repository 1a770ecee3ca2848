"""The dream: from the journals of runs that ended to entries of the library, and one commit with its report.

Everything up to the commit is made in memory, so a dream that is killed leaves the library as it was; the commit is
one that the library makes whole or not at all. Nobody else dreams of the same project meanwhile, on any host; what
people write into the library meanwhile is merged, and stays.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from orchestrator.dream.batch import Batch, Phase
from orchestrator.dream.collect import collect, newest
from orchestrator.dream.pipeline import Pipeline, Progress
from orchestrator.dream.report import Report, at, ms, named, render, rfc
from orchestrator.dream.reports import last_until
from orchestrator.dream.verifier import verifier
from orchestrator.errors import DreamdockError, LimitError, UnavailableError, UsageError
from orchestrator.holdings import Holdings
from orchestrator.journal import dreams, index
from orchestrator.library.opened import open_library
from orchestrator.library.page import PageError
from orchestrator.library.sharing import brought, later, pushed
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from redis import Redis

    from orchestrator.dream.verifier import Verifier
    from orchestrator.library.entry import Entry
    from orchestrator.settings import Settings

_READING: Final = 0.5
"""Share of a dream's time after which no more journals are read: those that are left are for the next one."""
_VERIFYING: Final = 0.8
"""Share of a dream's time after which nothing more is verified."""


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

    def dream(
        self,
        *,
        since: datetime | None = None,
        dry_run: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Report:
        """Go through the project's library, with what ended since the last dream or since `since`.

        A dry run writes nothing at all, to the library or elsewhere. Raises UnavailableError where somebody else dreams
        of the project, RedisAwayError, LibraryError, LimitError for one that takes too long, Stopped; the library is as
        it was then.
        """
        with ExitStack() as stack:
            lock = None if dry_run else stack.enter_context(dreams.held(self._client, self._project))
            return _Dream(self._client, self._settings, self._project, stop=self._stop, lock=lock, tell=progress).carry(
                since
            )


class _Dream:
    """One dream under way. Without a lock it's a dry run."""

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        project: str,
        *,
        stop: Stop,
        lock: dreams.Held | None,
        tell: Callable[[Progress], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._project = project
        self._stop = stop
        self._lock = lock
        self._progress = tell
        self._shelf = open_library(settings).shelf
        self._begun = time.monotonic()

    def carry(self, since: datetime | None) -> Report:
        """Dream; see `Dreamer.dream`."""
        away = brought(self._shelf, self._settings.library.remote) if self._lock is not None else ""
        head = self._shelf.head()
        until = index.now_ms(self._client)
        watermark = self._watermark(until)
        if since is not None and since > at(until):
            raise UsageError(f"{rfc(since)} is yet to come", cause=f"by Redis's clock it's {rfc(at(until))}")
        begin = watermark if since is None else ms(since)
        since = at(begin) if begin else None
        report = Report(project=self._project, since=since, until=at(until), dry_run=self._lock is None)
        self._tell(Progress(Phase.COLLECT))
        repo, refused = self._repository()
        if refused:
            return report.model_copy(update={"refused": refused})
        collected = collect(
            self._client,
            self._project,
            begin,
            until,
            counted_ms=watermark,
            with_steps=self._settings.dream.model is not None and self._lock is not None,
            tell=lambda done, of: self._tell(Progress(Phase.COLLECT, done, of)),
            enough=lambda: self._share > _READING,
        )
        before, unread = self._entries(head)
        now = at(collected.until_ms)
        pipeline = Pipeline(
            self._settings, self._project, self._shelf, repo, self._stop, rehearsed=self._lock is None, tell=self._tell
        )
        batch = pipeline.entries(Batch(before), collected, now, set_aside=unread)
        found = pipeline.skills(collected, now, head)
        left = [f"{collected.left} runs that ended later are for the next dream"] if collected.left else []
        if begin > watermark:
            left.append("what ended before then, and no dream has looked at, was left out, as --since asked")
        report = report.model_copy(
            update={
                "until": now,
                "runs": len(collected.lessons),
                "left": collected.left,
                "skipped": tuple(collected.skipped),
                "changes": named(batch.changes, batch.entries),
                "skills": found.skills,
                "notes": (*filter(None, [later(away)]), *unread.values(), *batch.notes, *found.notes, *left),
            }
        )
        changed = [entry for name, entry in batch.entries.items() if before.get(name) != entry]
        return self._written(report, head, changed, found.files, away=bool(away))

    def _written(
        self, report: Report, head: str, changed: list[Entry], files: dict[str, bytes], *, away: bool
    ) -> Report:
        """Write what is new as one commit on `head`, push it, and note in Redis that all of it is known."""
        if self._lock is None:
            return report
        self._tell(Progress(Phase.COMMIT))
        if not self._lock.owns():
            cause = "it lost its right to the library meanwhile: Redis was away, or this process stood still"
            raise UnavailableError("the dream wrote nothing", cause=cause, hint="dreamdock dream")
        if not changed and not files:
            dreams.note(self._client, self._project, ms(report.until))
            return report
        told = {report.path: render(report).encode()}
        message = f"Dream of {report.project}: {report.words}\n\nDreamdock-Dream: {report.path}"
        commit = self._shelf.put(*changed, message=message, since=head, files=files | told)
        with suppress(DreamdockError):  # The report says it as well; without the note keepers ask for one dream more.
            dreams.note(self._client, self._project, ms(report.until))
        left_here = "" if away else later(pushed(self._shelf, self._settings.library.remote))
        return report.model_copy(update={"commit": commit, "notes": (*report.notes, *filter(None, [left_here]))})

    @property
    def _share(self) -> float:
        """How much of its time is over, from 0 to 1."""
        return (time.monotonic() - self._begun) / self._settings.dream.seconds

    def _tell(self, progress: Progress) -> None:
        """Say how far it is, and end here where that was asked for, or the time is up."""
        self._stop.check()
        if self._share > 1:
            cause = f"it was at {progress.phase} after {self._settings.dream.seconds} s"
            hint = "give it longer: [dream] seconds in the settings"
            raise LimitError("the dream took too long, and wrote nothing", cause=cause, hint=hint)
        self._progress(progress)

    def _watermark(self, now_ms: int) -> int:
        """Return until when the project's runs were looked at, ms of Redis's clock; 0 for never.

        What is yet to come was noted while that clock was wrong, and doesn't count.
        """
        last = last_until(self._shelf, self._project, at(now_ms))
        seen = dreams.seen(self._client, self._project)
        return max(ms(last) if last else 0, seen if seen <= now_ms else 0)

    def _repository(self) -> tuple[Verifier | None, str]:
        """Return what entries are verified against, and why nothing can be said of the project here (empty: it can).

        One without a run that is known any more has nothing to be verified against, and nothing new.
        """
        runs = newest(self._client, self._project)
        seconds = self._settings.dream.seconds * _VERIFYING
        repo = verifier(self._settings, Holdings(self._settings), runs, seconds=seconds)
        if runs and repo is None:
            return (
                None,
                f"this host has no commit of the repository {self._project}: nothing can be seen to hold or not",
            )
        return repo, ""

    def _entries(self, head: str) -> tuple[dict[str, Entry], dict[str, str]]:
        """Return the project's entries at a commit by their ids, and what is said of pages that are none, by theirs."""
        folder = f"repo/{self._project}/"
        pages = {path: what for path, what in self._shelf.pages(head).items() if path.startswith(folder)}
        read = list(self._shelf.read(pages))
        unread = {
            PurePosixPath(one.file).stem: f"a page is left as it is: {one.message}"
            for one in read
            if isinstance(one, PageError)
        }
        return {one.id: one for one in read if not isinstance(one, PageError)}, unread
