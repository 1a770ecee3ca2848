"""What the state folder takes, and what of it goes by itself: checkpoints of old runs, caches beyond their quota."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from orchestrator.errors import DeniedError, JournalError, LimitError, NotFoundError
from orchestrator.journal import index, signing
from orchestrator.runs import State
from sandbox.cache import evict
from sandbox.retention import prune
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    from orchestrator.settings import Settings

DAY: Final = 24 * 3600.0
_CACHES: Final = ("pristine", "layers")
_GB: Final = 10**9
_log = structlog.get_logger(__name__)


class Pruned(NamedTuple):
    """What went, or would go: runs' checkpoints, checkouts, what set-up made; and how much that is.

    `store_bytes` is what repositories and checkpoints take then; what was written within a day comes free later.
    """

    runs: tuple[str, ...]
    checkouts: tuple[str, ...]
    layers: tuple[str, ...]
    freed_bytes: int
    store_bytes: int
    dry_run: bool


def give_up(client: Redis, settings: Settings, *, days: float | None = None, dry_run: bool = False) -> Pruned:
    """Give up the checkpoints of runs that were over for `days` (the setting's, where none is named), and trim caches.

    A run that isn't over loses nothing, whatever is asked. Raises DeniedError for who may not write to the state,
    RedisAwayError, and the store's errors.
    """
    store = Store(settings.state_dir / "repos")
    heads = settings.state_dir / "signer" / "heads"
    for folder in (settings.state_dir, store.root, settings.state_dir / "workspaces", heads):
        if _is_closed(folder):
            hint = "sudo dreamdock prune"
            raise DeniedError("this account may not clear up", cause=f"{folder} belongs to another one", hint=hint)
    retention_s = (settings.retention_days if days is None else days) * DAY
    before = store.measure()
    runs = prune(store, _ended(client), retention_s=retention_s, dry_run=dry_run)
    after = before if dry_run else store.measure()
    if not dry_run:
        forget_heads(client, settings, retention_s=retention_s)
    gone = trim(settings, dry_run=dry_run)
    freed = before - after + sum(sum(found.values()) for found in gone.values())
    checkouts, layers = (tuple(gone[kind]) for kind in _CACHES)
    return Pruned(tuple(runs), checkouts, layers, max(freed, 0), after, dry_run)


def forget_heads(client: Redis, settings: Settings, *, retention_s: float) -> list[str]:
    """Give up the signed heads of runs that are gone, the last one signed `retention_s` seconds ago; return their ids.

    Not before: whoever takes a run out of Redis for a moment, to put it back shorter, would have no witness against
    him. Raises RedisAwayError, OSError.
    """
    until = time.time() - retention_s
    old = [run_id for run_id, at in signing.signed_until(settings.state_dir).items() if at <= until]
    gone = index.gone(client, old)
    for run_id in gone:
        signing.forget(settings.state_dir, run_id)
    return gone


def _is_closed(folder: Path) -> bool:
    try:
        folder.stat()
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    return not os.access(folder, os.W_OK | os.X_OK)


def trim(settings: Settings, *, dry_run: bool = False) -> dict[str, dict[str, int]]:
    """Remove what is cached beyond the quota, least recently used first; return names and bytes of each kind."""
    cached, quota = settings.state_dir / "workspaces", round(settings.cache_gb * _GB)
    return {kind: evict(cached / kind, quota, dry_run=dry_run) for kind in _CACHES}


def require_room(settings: Settings) -> None:
    """Raise LimitError where the store took more than its quota when it was last measured: no new run is taken then."""
    used = Store(settings.state_dir / "repos").measured()
    if used > settings.store_gb * _GB:
        cause = f"it takes {used / _GB:.1f} GB of {settings.store_gb:g} (store_gb)"
        hint = "dreamdock prune --days 7, or give it more in the settings"
        raise LimitError("the store of repositories and checkpoints is full", cause=cause, hint=hint)


def _ended(client: Redis) -> Callable[[str], float | None]:
    def ended(run_id: str) -> float | None:
        try:
            view = index.record(client, run_id).view
        except NotFoundError:
            return 0.0
        except JournalError:  # Damaged: somebody will want to look into it.
            return None
        done = view.state is State.DONE and view.ended_at is not None
        return view.ended_at.timestamp() if done and view.ended_at else None

    return ended


class Daily:
    """Something that is due once a day, however often its process is started anew; a file's time remembers it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def due(self) -> bool:
        """Whether a day has passed."""
        try:
            return time.time() - self._path.stat().st_mtime >= DAY
        except FileNotFoundError:
            return True

    def done(self) -> None:
        """Start the next day."""
        self._path.touch()
