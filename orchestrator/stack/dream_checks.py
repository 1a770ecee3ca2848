"""What `dreamdock doctor` tells of the dreams of the queue: who takes them, and how the last ones went."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.journal import index, presence
from orchestrator.journal.connection import connect, redis_url
from orchestrator.queue import DREAM_QUEUE
from orchestrator.schedule import DreamState, last_dreams
from orchestrator.stack.check import HostCheck

if TYPE_CHECKING:
    from orchestrator.settings import Settings


def dreams(settings: Settings) -> HostCheck:
    """Tell of the last weekly dream that failed, else of the last; wrong too where nobody takes what is enqueued."""
    with connect(redis_url(settings)) as client:
        last, now = last_dreams(client), index.now_ms(client)
        alive = presence.alive(client, DREAM_QUEUE)
    workers = ", ".join(f"{one.host}:{one.pid}" for one in alive) or "no worker for dreams is alive"
    failed = {project: one for project, one in last.items() if one.state is DreamState.FAILED}
    if failed:
        project, one = max(failed.items(), key=lambda row: row[1].changed)
        found = f"{workers}; the last one of {project} failed {_ago(now - one.changed)} ago: {one.why}"
        return HostCheck("dreams", ok=False, found=found, remedy=f"dreamdock dream --project {project}")
    waiting = sum(one.state is DreamState.QUEUED for one in last.values())
    if waiting and not alive:
        found = f"{workers}, and dreams are enqueued: {waiting}"
        return HostCheck("dreams", ok=False, found=found, remedy="dreamdock up")
    done = [one for one in last.values() if one.state is DreamState.DONE]
    last_one = _ago(now - max((one.changed for one in done), default=now))
    told = f"the last weekly one was {last_one} ago" if done else "no weekly one yet"
    off = "" if settings.dream.days else "off (dream.days is 0); "
    return HostCheck("dreams", ok=True, found=f"{off}{workers}; {told}")


def _ago(ms: int) -> str:
    """Return a time in whole seconds, or days and hours."""
    return str(timedelta(seconds=max(ms, 0) // 1000))
