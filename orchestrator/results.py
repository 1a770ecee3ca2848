"""What runs start from and what they made, as files: from the journal, this host's store and the checkpoint remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.delivery.patch import Applied, apply_patch
from orchestrator.errors import NotFoundError, PrunedError, UnavailableError
from orchestrator.holdings import Holdings
from orchestrator.journal import index, stream
from orchestrator.timeline import Timeline
from sandbox.errors import RemoteUnavailable, RevisionNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec, RunView
    from orchestrator.settings import Settings
    from orchestrator.timeline import Moment
    from sandbox.spec import Base


class Results:
    """Reads on whichever host, under the caller's own rights."""

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._holdings = Holdings(settings)
        self._store = self._holdings.store

    def prepare(self, run_id: str, spec: RunSpec, *begun: e.Body) -> RunSpec:
        """Have what a run starts from kept for as long as the run, and on the remote; return what it requires then.

        A host without the project keeps nothing. Raises PrunedError for a fork of what was given up, UnavailableError.
        """
        forked = next((body for body in begun if isinstance(body, e.Forked)), None)
        if forked is not None:
            self._have(index.record(self._client, forked.run).view, [forked.commit])
        store, project = self._store, spec.repo.project
        if project not in store.projects():
            return spec
        try:
            if forked is None:
                store.keep(project, run_id, spec.repo.commit)
            else:
                store.keep(project, run_id, forked.commit, [forked.shell] if forked.shell else [])
        except RevisionNotFound as error:
            raise (error if forked is None else self._pruned(forked.run)) from error
        self._push(run_id, spec, forked=forked is not None)
        requires = spec.requires.model_copy(update={"store": self._holdings.needed})
        return spec.model_copy(update={"requires": requires})

    def _push(self, run_id: str, spec: RunSpec, *, forked: bool) -> None:
        remote, project = self._holdings.remote, spec.repo.project
        if remote is None:
            return
        try:
            if forked:
                remote.push_run(project, run_id, overwrite=lambda there: not there)
            else:
                remote.push_base(project, spec.repo.commit)
        except RemoteUnavailable as error:
            self._store.drop(project, run_id)
            cause = f"{error.message}: {error.cause}"
            raise UnavailableError("nothing was queued", cause=cause, hint=error.hint) from error

    def require_kept(self, run_id: str) -> None:
        """Raise PrunedError where a run's checkpoints were given up. Raises RemoteUnavailable."""
        view = index.record(self._client, run_id).view
        project, remote = view.spec.repo.project, self._holdings.remote
        known = project in self._store.projects()
        if known and run_id in self._store.kept(project):
            return
        if remote is not None and (not view.checkpoint or run_id in remote.where(project)):
            return
        if known or remote is not None:  # Else another host has them, or had.
            raise self._pruned(run_id)

    def diff(self, run_id: str, *, old: int | None = None, new: int | None = None) -> bytes:
        """Return a patch in git's format, from the base or the moment `old` to where the run is or the moment `new`.

        Raises NotFoundError for a moment that the run hasn't been at, PrunedError, RemoteUnavailable.
        """
        journal = list(stream.read(self._client, run_id))
        last = journal[-1].body if journal else None
        if old is new is None and isinstance(last, e.Finished) and last.patch:
            return stream.blob(self._client, run_id, last.patch)
        self.require_kept(run_id)
        timeline, view = Timeline(journal, run_id), index.record(self._client, run_id).view
        self._have(view, [view.spec.repo.commit])
        before = view.spec.repo.tree if old is None else self._tree(view, timeline, timeline.at(old))
        after = self._tree(view, timeline, timeline.now if new is None else timeline.at(new))
        return self._store.diff(view.spec.repo.project, before, after)

    def apply(self, run_id: str, repo: Path, *, allow_elsewhere: bool = False) -> Applied:
        """Put the run's patch onto the working tree of `repo`, whole or not at all. See `delivery.patch`."""
        view, patch = index.record(self._client, run_id).view, self.diff(run_id)
        base, own = view.spec.repo, self._store.project_of(repo)
        if own != base.project:
            cause = "it has no commits, or is no git repository" if own is None else "its history begins elsewhere"
            hint = f"dreamdock apply {run_id} --repo PATH"
            raise NotFoundError(f"{repo} isn't the repository of this run", cause=cause, hint=hint)
        self.require_kept(run_id)
        if not self._holdings.has(base.project, base.commit):
            if self._holdings.remote is None:
                self._store.import_commit(repo, base.commit)
            self._have(view, [base.commit])
        tree = self._store.compose(base.project, base.tree, [patch])
        files = self._store.changed(base.project, base.tree, tree)
        return apply_patch(repo, patch, files, allow_elsewhere=allow_elsewhere)

    def commits(self, run_id: str, repo: Base, wanted: Sequence[str]) -> Mapping[str, bytes]:
        """Return those of a run's commits that can be had, as git's own objects; see `Holdings.commits`."""
        return self._holdings.commits(run_id, repo, wanted)

    def _tree(self, view: RunView, timeline: Timeline, moment: Moment) -> str:
        """Return a moment's tree, made from the journal's patches: the store of this host may not have it."""
        steps = [step for step in timeline.line(moment) if step.files]
        if not all(step.patch for step in steps):  # One was too large for the journal.
            self._have(view, [moment.commit])
            return moment.tree
        self._have(view, [timeline.begin.commit])
        patches = [stream.blob(self._client, view.id, step.patch) for step in steps]
        return self._store.compose(view.spec.repo.project, timeline.begin.tree, patches)

    def _have(self, view: RunView, commits: Sequence[str]) -> None:
        """Have commits of a run in this host's store, where a remote has them. Raises NotFoundError."""
        repo, remote = view.spec.repo, self._holdings.remote
        if remote is None or self._holdings.bring(view.id, repo, commits).issuperset(commits):
            return
        cause = f"{remote.shown} doesn't have it, or not yet"
        hint = f"dreamdock show {view.id} says how far it is"
        raise NotFoundError("a checkpoint isn't on this host", cause=cause, hint=hint)

    def _pruned(self, run_id: str) -> PrunedError:
        cause = f"they are kept for {self._settings.retention_days:g} days after a run's end (retention_days)"
        hint = f"what a finished run changed is in its journal: dreamdock diff {run_id} | git apply"
        return PrunedError(f"the checkpoints of run {run_id} were given up", cause=cause, hint=hint)
