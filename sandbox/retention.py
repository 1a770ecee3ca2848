"""Which runs' checkpoints the store gives up: those over for long, and, where it takes too much, those over longest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sandbox.packs import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.store import Store

_SHARE = 10  # Beyond the quota one in so many runs goes at a time, one at the least.


def prune(
    store: Store,
    ended: Callable[[str], float | None],
    *,
    retention_s: float,
    quota_bytes: int,
    grace_s: float = GRACE_S,
) -> list[str]:
    """Drop runs that were over for `retention_s`, and more while the store takes over `quota_bytes`; return their ids.

    `ended` tells when a run was over (seconds, Unix; 0 for one that nobody knows any more), None while it isn't.
    Space comes back once what they wrote is older than `grace_s`: call it again, once a day or so.
    A run that isn't over is never dropped, whatever the quota. Raises WorkspaceError, DiskFull.
    """
    now = time.time()
    over = sorted(
        (when, project, run_id)
        for project in store.projects()
        for run_id in store.kept(project)
        if (when := ended(run_id)) is not None
    )
    going = [item for item in over if item[0] <= now - retention_s]
    staying = over[len(going) :]
    if sum(store.disk_bytes(project) for project in store.projects()) > quota_bytes:
        going += staying[: -(-len(staying) // _SHARE)]
    for _, project, run_id in going:
        store.drop(project, run_id)
    for project in store.projects():
        if dropped := store.dropped(project):
            store.collect(project, grace_s=grace_s)
            if dropped < now - 2 * grace_s:
                store.settled(project)
    return [run_id for _, _, run_id in going]
