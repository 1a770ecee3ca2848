"""Heeds what people ask of a run while its attempt is busy: to cancel, or to pause at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.errors import ConfigError, DeniedError, RedisAwayError
from orchestrator.journal.connection import connect
from orchestrator.journal.stream import follow
from orchestrator.stop import CANCELLED, PAUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from orchestrator.journal.address import Address
    from orchestrator.journal.writer import Writer
    from orchestrator.stop import Stop

_RETRY_SECONDS: Final = 0.2


@contextmanager
def watched(address: Address, journal: Writer, stop: Stop) -> Iterator[None]:
    """Set the stop as soon as somebody asks to cancel, or to pause at once, while the block runs."""
    ended = threading.Event()
    run_id, after = journal.view.id, len(journal.events)
    if journal.view.cancel_requested:
        stop.set(CANCELLED)

    def watch() -> None:
        while not ended.is_set():
            try:
                with connect(address) as client:  # One of its own: it blocks, and the attempt's is closed under it.
                    if reason := _asked(client, run_id, after, ended):
                        stop.set(reason)
                        return
            except (RedisAwayError, ConfigError, DeniedError):  # Also a password file that is being replaced.
                ended.wait(_RETRY_SECONDS)  # The lease judges how long Redis may be away.

    thread = threading.Thread(target=watch, name=f"watch-{run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _asked(client: Redis, run_id: str, after: int, ended: threading.Event) -> str:
    """Wait for a request behind event `after` that ends the attempt at once; empty once `ended` is set."""
    for event in follow(client, run_id, after=after):
        if ended.is_set():
            break
        match event.body if event is not None else None:
            case e.CancelRequested():
                return CANCELLED
            case e.PauseRequested(now=True):
                return PAUSED
            case _:
                continue
    return ""
