"""Which runs' checkpoints the store gives up: those of runs that were over for long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sandbox.errors import WorkspaceError
from sandbox.objects import disk_error
from sandbox.packs import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.store import Store


def prune(
    store: Store,
    ended: Callable[[str], float | None],
    *,
    retention_s: float,
    grace_s: float = GRACE_S,
    dry_run: bool = False,
) -> list[str]:
    """Give up the checkpoints of runs that were over for `retention_s` seconds; return their ids.

    `ended` tells when a run was over (seconds, Unix), None while it isn't, 0 for one that nobody knows any more: then
    its last checkpoint counts, so that a journal that is merely elsewhere loses nothing at once.
    Space comes back once what was written is older than `grace_s`: call it again, once a day or so. `dry_run` only
    tells. Raises WorkspaceError, DiskFull, after each other project has had its turn.
    """
    over: list[str] = []
    failed: WorkspaceError | None = None
    for project in store.projects():
        try:
            for run_id, last in sorted(store.kept(project).items()):
                when = ended(run_id)  # Asked just before: a run may be taken up again at any time.
                if when is not None and (when or last) <= time.time() - retention_s:
                    over.append(run_id)
                    if not dry_run:
                        store.drop(project, run_id)
            if not dry_run:
                _collect(store, project, grace_s)
        except WorkspaceError as error:
            failed = failed or error
        except OSError as error:
            failed = failed or disk_error(error, f"clearing up {project}")
    if failed is not None:
        raise failed
    return over


def _collect(store: Store, project: str, grace_s: float) -> None:
    if dropped := store.dropped(project):
        store.collect(project, grace_s=grace_s)
        if dropped < time.time() - 2 * grace_s:
            store.settled(project)
