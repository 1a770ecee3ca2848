"""The half of the door that changes nothing: what people and programs can learn of runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from orchestrator import events as e
from orchestrator import standing
from orchestrator.errors import DreamdockError, NotFoundError, UsageError
from orchestrator.journal import connection, index, stream
from orchestrator.journal.live import Said
from orchestrator.models import catalog, is_scripted, secrets
from orchestrator.runs import RunView, State
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from redis import Redis

    from orchestrator.agent.context import Context
    from orchestrator.costs import Costs
    from orchestrator.diagnostics.story import Story
    from orchestrator.events import Event
    from orchestrator.models.cassette import Match
    from orchestrator.settings import Settings
    from orchestrator.standing import Waiting
    from sandbox.store import Store


class Listed(NamedTuple):
    """A run in a list. `waiting` is its place in the queue, and why it waits there, while it does."""

    view: RunView
    waiting: Waiting | None


class Listing(NamedTuple):
    """Runs, newest first, and the ids of those whose records and journals tell nothing: not as they were written."""

    runs: list[Listed]
    damaged: list[str]


class Inside(NamedTuple):
    """What a run's agent has in view, and how that was kept in shape: all rebuilds and summaries, undone ones too."""

    context: Context
    rebuilt: list[e.Rebuilt]
    condensed: list[e.Condensed]


class Reader:
    """The runs of one Redis, to be looked at."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    @property
    def _store(self) -> Store:
        from sandbox.store import Store  # noqa: PLC0415  # pygit2 takes 40 ms that `ps` doesn't pay.

        return Store(self._settings.state_dir / "repos")

    def runs(self, *, include_done: bool, limit: int = 50) -> Listing:
        """Return up to `limit` runs, newest first."""
        found, damaged = index.page(self._client, live=not include_done, limit=limit)
        views = [record.view for record in found]
        waits = standing.waiting(self._client, [view.id for view in views if view.state is State.QUEUED])
        return Listing([Listed(view, waits.get(view.id)) for view in views], damaged)

    def find(self, ref: str, repo: Path) -> str:
        """Return the id that a reference means: a unique prefix, or `@`.

        `@` is the latest run of the repository at `repo`, `@-` the one before.

        Raises NotFoundError, or UsageError for an ambiguous prefix.
        """
        if ref in {"@", "@-"}:
            return self._latest(int(ref == "@-"), repo)
        found = index.matching(self._client, ref) if ref else []
        if not found:
            raise NotFoundError(f"there is no run {ref}", hint="dreamdock ps -a")
        if len(found) > 1:
            raise UsageError(f"{ref} is ambiguous", cause=f"it may be {', '.join(found[:5])}", hint="type more of it")
        return found[0]

    def show(self, run_id: str) -> Listed:
        """Return one run. Raises NotFoundError."""
        view = index.record(self._client, run_id).view
        waits = standing.waiting(self._client, [run_id] if view.state is State.QUEUED else [])
        return Listed(view, waits.get(run_id))

    def events(
        self, run_id: str, *, after: int = 0, follow: bool = False, away: Callable[[], None] | None = None
    ) -> Iterator[Event]:
        """Yield the run's events behind number `after`; with `follow`, as they come, as `listen` does."""
        if follow:
            return (item for item in self.listen(run_id, after=after, away=away) if not isinstance(item, Said))
        return stream.read(self._client, run_id, after=after)

    def listen(self, run_id: str, *, after: int = 0, away: Callable[[], None] | None = None) -> Iterator[Event | Said]:
        """Yield the run's events as they come, and between them what its model is just saying.

        It ends when the run is done, or parked because its attempts kept dying; one that was paused is waited for.
        So is, with `away`, a Redis that is away for a while: `away` is called, and then it goes on where it was.
        """

        def behind() -> list[Event]:
            return list(stream.read(self._client, run_id, after=after))

        for item in stream.listen(self._client, run_id, after=after, away=away):
            if item is None:
                record = connection.patiently(lambda: index.record(self._client, run_id), away)
                if record.view.state is State.DONE:
                    yield from connection.patiently(behind, away)
                    return
                continue
            yield item
            if isinstance(item, Said):
                continue
            after = item.seq
            if _is_last_word(item.body) and not connection.patiently(behind, away):
                return  # Else it was taken up again.

    def costs(self, run_id: str) -> Costs:
        """Return what each reply of a run cost, and what they would have cost with other families."""
        from orchestrator.costs import costs  # noqa: PLC0415  # `ps` doesn't need it.

        model = index.record(self._client, run_id).view.spec.model
        return costs(model, stream.read(self._client, run_id), catalog(self._settings.families))

    def timeline(self, run_id: str) -> Timeline:
        """Return the moments that a run has been at."""
        return Timeline(stream.read(self._client, run_id), run_id)

    def inside(self, run_id: str) -> Inside:
        """Return what the run's agent has in view: its working memory, its context, and how that was kept in shape.

        Raises NotFoundError, JournalError for events that no agent writes in that order.
        """
        from orchestrator.agent.context import Projection  # noqa: PLC0415  # `ps` doesn't need it.

        events = list(stream.read(self._client, run_id))
        try:
            context = Projection().follow(events)
        except LookupError as error:
            raise stream.damaged(run_id, f"its events don't fit together: {error!r}") from error
        return Inside(
            context,
            [event.body for event in events if isinstance(event.body, e.Rebuilt)],
            [event.body for event in events if isinstance(event.body, e.Condensed)],
        )

    def stories(self, run_id: str) -> tuple[Story, ...]:
        """Return what became of each error and warning that the run's commands showed, in its committed steps."""
        from orchestrator.diagnosed import stories  # noqa: PLC0415  # `ps` doesn't need it.

        return stories(stream.read(self._client, run_id))

    def prompt_limit(self, run_id: str, refused: Mapping[str, int]) -> int:
        """Return how many tokens the run's model takes, as this machine's settings say; 0 where they don't.

        `refused` are the tokens that models take which refused more, by name.
        """
        spec = index.record(self._client, run_id).view.spec
        if is_scripted(spec.model):
            return 0
        known = catalog(self._settings.families)
        try:
            said = known.choose(spec.model, base_url=spec.base_url).data.room.prompt
        except DreamdockError:
            said = 0  # The workers have a family that this machine doesn't know.
        return min(filter(None, (said, refused.get(spec.model, 0))), default=0)

    def cassette(self, run_id: str, *, match: Match) -> str:
        """Return a run's replies as a cassette; see `orchestrator.export`."""
        from orchestrator.export import cassette  # noqa: PLC0415  # `ps` doesn't need it.

        known = secrets(catalog(self._settings.families), os.environ)
        return cassette(list(stream.read(self._client, run_id)), match, known=known)

    def _latest(self, back: int, repo: Path) -> str:
        project = self._store.project_of(repo)
        if project is None:
            cause = f"{repo} is in no git repository with a commit"
            raise NotFoundError("@ means the latest run of a repository", cause=cause, hint="dreamdock ps -a")
        found = index.records(self._client, index.newest(self._client, live=False, limit=1000))
        mine = [record.view.id for record in found if record.view.spec.repo.project == project]
        if len(mine) <= back:
            raise NotFoundError("there is no such run of this repository", hint='dreamdock ps -a, or dreamdock run "…"')
        return mine[back]


def _is_last_word(body: e.Body) -> bool:
    """Whether nothing follows, unless a person takes the run up again."""
    return isinstance(body, e.Finished) or (isinstance(body, e.Parked) and body.why == "lost")
