"""What a host has of runs: its own store, and the checkpoint remote behind it, where there is one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sandbox.errors import SandboxError
from sandbox.remote import Remote
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from orchestrator.settings import Settings
    from sandbox.spec import Base

REMOTE: Final = "remote"
"""What stands for a store where a checkpoint remote has what runs need."""


class Holdings:
    """The store of this host; what isn't in it comes from the remote."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.state_dir / "repos")
        url = settings.checkpoint_remote
        self.remote = Remote(url, self.store, most_bytes=round(settings.store_gb * 10**9)) if url else None

    @property
    def needed(self) -> str:
        """What a worker must read to carry a run that is submitted here; see `Requires.store`."""
        return self.store.id if self.remote is None else REMOTE

    @property
    def offered(self) -> tuple[str, ...]:
        """What a worker of this host reads; see `Offer.stores`."""
        return (self.store.id,) if self.remote is None else (self.store.id, REMOTE)

    def has(self, project: str, commit: str) -> bool:
        """Whether the store itself has a commit."""
        return project in self.store.projects() and self.store.objects(project).is_commit(commit)

    def bring(self, run_id: str, repo: Base, commits: Collection[str]) -> set[str]:
        """Return those of a run's commits that the store has in full; what it lacks is fetched first.

        Raises RemoteUnavailable, WorkspaceError.
        """
        found = self.store.leads_to(repo.project, run_id, commits)
        if self.remote is None or found.issuperset(commits):
            return found
        self.remote.fetch_run(repo.project, run_id, repo.commit)
        return self.store.leads_to(repo.project, run_id, commits)

    def commits(self, run_id: str, repo: Base, wanted: Sequence[str]) -> Mapping[str, bytes]:
        """Return those of a run's commits that can be had, as git's own objects; what can't be is left out."""
        with suppress(SandboxError):  # What the store itself has counts.
            self.bring(run_id, repo, wanted)
        try:
            return self.store.commits(repo.project, wanted)
        except SandboxError:
            return {}
