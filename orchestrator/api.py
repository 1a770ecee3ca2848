"""The one door: everything that people and programs can do with runs. Returns values, prints nothing."""

from __future__ import annotations

import getpass
import os
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator import events as e
from orchestrator.audit import Audit, audited
from orchestrator.costs import costs
from orchestrator.delivery.patch import Applied, apply_patch
from orchestrator.errors import ConfigError, HeadMovedError, NotFoundError, UsageError
from orchestrator.export import cassette
from orchestrator.journal import connection, index, stream
from orchestrator.journal.live import Said
from orchestrator.journal.presence import Presence, alive
from orchestrator.journal.stream import Writer
from orchestrator.journal.verify import verify
from orchestrator.models import catalog, secrets
from orchestrator.queue import dispatch, queued
from orchestrator.resolve import resolve
from orchestrator.runs import Outcome, RunSpec, RunView, State, attempt_id, new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from redis import Redis

    from orchestrator.costs import Costs
    from orchestrator.events import Event
    from orchestrator.models.cassette import Match
    from orchestrator.requests import RunRequest
    from orchestrator.settings import Settings
    from sandbox.store import Store


class Listed(NamedTuple):
    """A run in a list. `place` is its place in the queue, from 1, while it waits there."""

    view: RunView
    place: int | None


def connect(settings: Settings) -> Door:
    """Return the door to the runs that these settings point at; nothing is sent yet."""
    return Door(connection.connect(connection.redis_url(settings)), settings)


class Door:
    """The runs of one Redis."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._who = f"{getpass.getuser()}@{platform.node()}"

    @property
    def _store(self) -> Store:
        from sandbox.store import Store  # noqa: PLC0415  # pygit2 takes 40 ms that `ps` doesn't pay.

        return Store(self._settings.state_dir / "repos")

    def resolve(self, request: RunRequest) -> RunSpec:
        """Resolve a request to a specification; its base commit is in the store afterwards."""
        return resolve(request, self._settings, self._store, os.environ)

    def policy(self, spec: RunSpec) -> dict[str, Any]:
        """Return what the run's sandbox would be sealed with, printable."""
        from sandbox.policy import describe  # noqa: PLC0415  # Only --dry-run asks.
        from sandbox.spec import SandboxSpec  # noqa: PLC0415  # As above.

        return describe(SandboxSpec(image=spec.image or "dreamdock/base", limits=spec.sandbox))

    def submit(self, spec: RunSpec) -> RunView:
        """Queue a run. Raises ConfigError where its model needs a key that no living worker has."""
        if variable := self.missing_key(spec.model):
            hint = f"export {variable}=…; dreamdock down; dreamdock up"
            cause = f"{variable} isn't set where the workers run"
            raise ConfigError(f"no worker has a key for {spec.model}", cause=cause, hint=hint)
        run_id = new_run_id()
        view = stream.create(self._client, run_id, self._who, [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        dispatch(self._client, run_id, 1)
        return view

    def missing_key(self, model: str) -> str:
        """Return the variable of the key that a model needs and no living worker has; empty where all is well."""
        family, workers = model.partition("/")[0], self.workers()
        known = not workers or any(family in worker.models for worker in workers)
        return "" if known else catalog(self._settings.families).key_variable(model)

    def runs(self, *, include_done: bool, limit: int = 50) -> list[Listed]:
        """Return up to `limit` runs, newest first."""
        places = {job_id: number for number, job_id in enumerate(queued(self._client), start=1)}
        found = index.records(self._client, index.newest(self._client, live=not include_done, limit=limit))
        return [Listed(record.view, places.get(attempt_id(record.view.id, record.attempt))) for record in found]

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
        record = index.record(self._client, run_id)
        waiting = queued(self._client)
        job_id = attempt_id(run_id, record.attempt)
        return Listed(record.view, waiting.index(job_id) + 1 if job_id in waiting else None)

    def events(self, run_id: str, *, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """Yield the run's events behind number `after`; with `follow`, as they come, until it is done."""
        if follow:
            return (item for item in self.listen(run_id, after=after) if not isinstance(item, Said))
        return stream.read(self._client, run_id, after=after)

    def listen(self, run_id: str, *, after: int = 0) -> Iterator[Event | Said]:
        """Yield the run's events as they come, until it is done, and between them what its model is just saying."""
        for item in stream.listen(self._client, run_id, after=after):
            if item is None:
                if index.record(self._client, run_id).view.state is State.DONE:
                    yield from stream.read(self._client, run_id, after=after)
                    return
                continue
            yield item
            if isinstance(item, Said):
                continue
            after = item.seq
            if isinstance(item.body, e.Finished):
                return

    def costs(self, run_id: str) -> Costs:
        """Return what each reply of a run cost, and what they would have cost with other families."""
        model = index.record(self._client, run_id).view.spec.model
        return costs(model, stream.read(self._client, run_id), catalog(self._settings.families))

    def cancel(self, run_id: str) -> RunView:
        """Ask for a run's end. One that nobody carries ends at once; else its worker ends it within 2 seconds.

        Raises UsageError for a run that is done.
        """
        journal = Writer(self._client, run_id, who=self._who)
        asked = () if journal.view.cancel_requested else (e.CancelRequested(),)
        try:
            if journal.view.state is not State.DONE:
                self._cancel(journal, asked)
                return journal.view
        except HeadMovedError:
            journal = Writer(self._client, run_id, who=self._who)  # It ended meanwhile.
        raise UsageError(f"run {run_id} is over", cause=journal.view.label, hint=f"dreamdock show {run_id}")

    def _cancel(self, journal: Writer, asked: Sequence[e.CancelRequested]) -> None:
        """End a run that nobody carries; ask whoever carries it. Raises HeadMovedError for one that is over."""
        try:
            journal.append(*asked, e.Finished(outcome=Outcome.CANCELLED, reason="cancelled"), operation="finish")
        except HeadMovedError:
            if asked:
                journal.append(*asked)

    def diff(self, run_id: str) -> bytes:
        """Return the run's patch, from its base to its last committed step; git's format."""
        journal = [event.body for event in stream.read(self._client, run_id)]
        if journal and isinstance(journal[-1], e.Finished) and journal[-1].patch:
            return stream.blob(self._client, run_id, journal[-1].patch)
        view = index.record(self._client, run_id).view
        repo, tree = view.spec.repo, view.tree
        steps = [body for body in journal if isinstance(body, e.Checkpointed) and body.files]
        if all(step.patch for step in steps):  # Else one was too large for the journal: this host may have the tree.
            patches = [stream.blob(self._client, run_id, step.patch) for step in steps]
            tree = self._store.compose(repo.project, repo.tree, patches)
        return self._store.diff(repo.project, repo.tree, tree)

    def apply(self, run_id: str, repo: Path, *, allow_elsewhere: bool = False) -> Applied:
        """Put the run's patch onto the working tree of `repo`, whole or not at all. See `delivery.patch`."""
        base, patch = index.record(self._client, run_id).view.spec.repo, self.diff(run_id)
        own = self._store.project_of(repo)
        if own != base.project:
            cause = "it has no commits, or is no git repository" if own is None else "its history begins elsewhere"
            hint = f"dreamdock apply {run_id} --repo PATH"
            raise NotFoundError(f"{repo} isn't the repository of this run", cause=cause, hint=hint)
        tree = self._store.compose(base.project, base.tree, [patch])
        files = self._store.changed(base.project, base.tree, tree)
        return apply_patch(repo, patch, files, allow_elsewhere=allow_elsewhere)

    def audit(self, run_id: str) -> Audit:
        """Return what the run did, and whether its journal is as it was written."""
        entries = tuple(audited(stream.read(self._client, run_id)))
        return Audit(entries, verify(self._client, run_id))

    def cassette(self, run_id: str, *, match: Match) -> str:
        """Return a run's replies as a cassette; see `orchestrator.export`."""
        known = secrets(catalog(self._settings.families), os.environ)
        return cassette(list(stream.read(self._client, run_id)), match, known=known)

    def workers(self) -> list[Presence]:
        """Return the living workers."""
        return alive(self._client, "worker")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

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
