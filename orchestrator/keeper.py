"""The keeper: puts in line what fell out of it, clears up after dead attempts, enqueues dreams. Any number may run."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator import answering, logs
from orchestrator.catchup import catch_up, look_again
from orchestrator.errors import DreamdockError, HeadMovedError, JournalError, NotFoundError, UnavailableError
from orchestrator.host import host_id
from orchestrator.journal import archive, deadlines, index, signing
from orchestrator.journal.connection import Scripts, connect, ping, primary, redis_url
from orchestrator.journal.handover import hand_over
from orchestrator.journal.presence import EXPIRE_SECONDS, Beat, Presence
from orchestrator.journal.safety import dangers
from orchestrator.journal.writer import Writer
from orchestrator.queue import adopt, dispatch, nudges, publish, repair
from orchestrator.runs import FENCE_LABEL, STACK_LABEL, State, attempt_id
from orchestrator.schedule import Schedule
from orchestrator.standing import workers
from orchestrator.upkeep import Daily, give_up, trim
from sandbox.container import leftovers
from sandbox.errors import SandboxError
from sandbox.policy import RUN_LABEL
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from orchestrator.settings import Settings

_log = structlog.get_logger(__name__)
_EVERY_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 5.0
_TIDY_SECONDS: Final = 60.0
_MOST: Final = 100_000


def serve(settings: Settings) -> None:
    """Tick each second until SIGTERM or SIGINT; while Redis is away, wait for it."""
    logs.configure(())  # It reads no key.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    name, host = f"{platform.node()}-{os.getpid()}", platform.node()
    told: dict[str, Any] = {"pid": os.getpid(), "version": version("dreamdock"), "host_id": host_id(settings)}
    presence = Presence(kind="keeper", name=name, host=host, **told)
    # A thread of its own: what takes minutes on a large project mustn't delay a run whose worker died.
    threading.Thread(target=_tidy_until, args=(settings, ended), name="tidy", daemon=True).start()
    # And one for the queue: an engine that hangs must hold up what is on this host alone.
    threading.Thread(target=_dispatch_until, args=(settings, ended), name="dispatch", daemon=True).start()
    with connect(redis_url(settings)) as client, Beat(client, presence):
        keeper = Keeper(client, settings)
        with suppress(UnavailableError):  # The first tick says that.
            for danger in dangers(client):
                _log.warning(danger)
        while not ended.wait(_EVERY_SECONDS):
            try:
                keeper.tick()
            except UnavailableError as error:
                _log.warning("Redis doesn't answer; waiting for it", why=error.cause)
                while not ended.wait(_EVERY_SECONDS) and not ping(redis_url(settings)):
                    pass
                keeper = Keeper(client, settings)
            except (DreamdockError, SandboxError) as error:
                _log.error("a tick failed", why=error.message, cause=error.cause)


def tidy(settings: Settings) -> None:
    """Give up what is cached beyond the quota, put small packs together, remove what killed imports left."""
    store = Store(settings.state_dir / "repos")
    for kind, names in trim(settings).items():
        for name in names:
            _log.info("gave up what was cached", kind=kind, name=name)
    for name in store.sweep():
        _log.info("removed half an import", folder=name)
    for project in store.projects():
        try:
            if store.consolidate(project):
                _log.info("put packs together", project=project)
        except SandboxError as error:  # One that is damaged, or full: the others still get their turn.
            _log.error("packs can't be put together", project=project, why=error.message, cause=error.cause)
    if (used := store.measure()) > settings.store_gb * 10**9:
        _log.warning("the store takes more than store_gb: no new run is taken", bytes=used)


def prune_daily(client: Redis, settings: Settings) -> None:
    """Give up the checkpoints of runs that were over for long; once a day, whoever of this folder's keepers does it."""
    daily = Daily(settings.state_dir / "pruned")
    if not daily.due():
        return
    daily.done()  # Also where it fails: it's told, and tried again tomorrow.
    gone = give_up(client, settings)
    look_again(settings)
    _log.info("pruned", runs=gone.runs, freed_bytes=gone.freed_bytes, store_bytes=gone.store_bytes)


def _archive(client: Redis, settings: Settings) -> None:
    """Put together the journals of runs that are over, and give up those that were over for long."""
    archive.tidy(client, archive_days=settings.archive_days)
    for run_id in archive.expire(client, keep_days=settings.journal_days):
        signing.forget(settings.state_dir, run_id)
        _log.info("gave up a journal", run=run_id)


def _tidy_until(settings: Settings, ended: threading.Event) -> None:
    """Do once a minute what isn't urgent, each whatever became of the others: a remote may be away for long."""
    acts: tuple[Callable[[Redis], object], ...] = (
        lambda _: tidy(settings),
        lambda client: _archive(client, settings),
        lambda client: prune_daily(client, settings),
        lambda client: catch_up(client, settings),
        Schedule(settings.dream.days).tick,
    )
    while not ended.wait(_TIDY_SECONDS):
        with connect(redis_url(settings)) as client:
            for act in acts:
                try:
                    act(client)
                except UnavailableError:
                    continue  # The next time; nothing is pruned of which nobody says that it's over.
                except (DreamdockError, SandboxError, OSError) as error:
                    _log.error("tidying failed", why=str(error), cause=getattr(error, "cause", ""))


def _dispatch_until(settings: Settings, ended: threading.Event) -> None:
    """Dispatch as soon as somebody is put in line, and each second."""
    published, told = False, ""
    while not ended.is_set():
        try:
            with connect(redis_url(settings)) as client:
                if not published:
                    _publish(client, settings)
                    published = True
                with nudges(client) as wait:
                    while not ended.is_set():
                        dispatch(client)
                        told = ""
                        wait(_EVERY_SECONDS)
        except Exception as error:  # noqa: BLE001  # Without this thread nothing moves any more, for anybody.
            if (why := str(error)) != told:
                _log.error("the queue can't be dispatched", why=why, cause=getattr(error, "cause", ""))
            told = why
            ended.wait(_EVERY_SECONDS)


def _publish(client: Redis, settings: Settings) -> None:
    before = publish(client, settings.queue)
    if before is not None:
        _log.warning("the queue's settings differ from those of another keeper; these count now", others=before)


class Keeper:
    """Looks after all runs of one Redis, and the containers of this host.

    For one lease after it has begun it judges nobody: Redis may have been away, and those that own runs come back.
    """

    def __init__(self, client: Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._idle_since: dict[str, float] = {}
        self._swept = 0.0
        self._mended = -_TIDY_SECONDS
        self._unanswerable: set[str] = set()
        self._scripts = Scripts(client)
        self._primary = ""
        self._judges_from = time.monotonic() + settings.lease_seconds
        self._misses_from = time.monotonic() + max(settings.lease_seconds, EXPIRE_SECONDS)

    def tick(self) -> None:
        """Put in line what stands in none, hand over what nobody carries, remove what dead attempts left."""
        if adopted := adopt(self._client):
            _log.info("put in line", runs=adopted)
        if (told := primary(self._client)) != self._primary:  # It may know less of leases than the one before.
            self._primary, self._judges_from = told, time.monotonic() + self._settings.lease_seconds
        if time.monotonic() < self._judges_from:
            return
        self._scripts.confirm()  # Where no replica answers, nobody can renew a lease.
        self._repair()
        self._expire()
        if time.monotonic() > self._misses_from and (back := repair(self._client)):
            _log.info("put back in line what dead workers had", runs=back)
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self._sweep()
            self._swept = time.monotonic()

    def _repair(self) -> None:
        """Hand over runs whose lease ran out at once, and those that nobody has after one lease.

        Between a worker's end and what it says of it a run is nobody's for a moment; only one that stays so was lost.
        """
        client, now = self._client, time.monotonic()
        pending = {*index.pending(client)}
        live = index.tenures(
            client, [run for run in index.newest(client, live=True, limit=_MOST) if run not in pending]
        )
        given = {worker.attempt for worker in workers(client)}
        clock = index.now_ms(client)
        self._mend([run_id for run_id, state, *_ in live if state is State.WAITING])
        idle: dict[str, float] = {}
        for run_id, state, attempt, _, lease_until in live:
            if state is State.WAITING:
                continue  # Until somebody resumes it, or its deadline comes.
            if lease_until > clock or (not lease_until and attempt_id(run_id, attempt) in given):
                continue
            idle[run_id] = self._idle_since.get(run_id, now)
            if lease_until or now - idle[run_id] > self._settings.lease_seconds:
                del idle[run_id]
                self._hand_over(run_id, attempt)
        self._idle_since = idle

    def _mend(self, waiting: list[str]) -> None:
        """Once a minute put those into the list of deadlines that wait for a person and lack there."""
        if time.monotonic() - self._mended > _TIDY_SECONDS:
            self._mended = time.monotonic()
            if mended := deadlines.mend(self._client, waiting):
                _log.warning("mended the list of deadlines", entries=mended)

    def _expire(self) -> None:
        """Answer for whoever didn't in time: the first keeper that looks does; late, where none was there."""
        for run_id in deadlines.due(self._client):
            if run_id in self._unanswerable:
                continue
            try:
                if answering.expire(self._client, run_id):
                    _log.info("nobody answered in time", run=run_id)
                else:  # It was answered, or the list says something else than its record.
                    deadlines.mend(self._client, [run_id])
            except HeadMovedError:
                continue  # Somebody was quicker, or it's tried again.
            except NotFoundError:
                deadlines.mend(self._client, [run_id])
            except JournalError as error:  # As above; said once.
                self._unanswerable.add(run_id)
                _log.error("a run can't get its default", run=run_id, why=error.message, cause=error.cause)

    def _hand_over(self, run_id: str, attempt: int) -> None:
        try:
            journal = Writer(self._client, run_id, who="keeper")
            if journal.view.attempt != attempt:
                return  # Somebody else was quicker.
            hand_over(journal, "its worker died, or lost its lease")
        except HeadMovedError:
            return  # As above.
        except (JournalError, NotFoundError) as error:  # Damaged, or a newer version's: it mustn't stop the others.
            _log.error("a run can't be handed over", run=run_id, why=error.message, cause=error.cause)
            return
        _log.info("handed over", run=run_id, attempt=journal.view.attempt, state=journal.view.label)

    def _sweep(self) -> None:
        """Remove this host's containers and mounts of runs whose fence is dead."""
        self._sweep_containers()
        for name in Workspace.sweep(self._settings.state_dir / "workspaces"):
            _log.info("removed a workspace", workspace=name)

    def _sweep_containers(self) -> None:
        """Remove the containers of dead fences. The next attempt of a run on the same host does so itself, at once.

        The containers are listed before the leases are read: a container can't be younger than its lease.
        """
        found = [left for left in leftovers() if left.labels.get(STACK_LABEL) == self._settings.stack_id]
        if not found:
            return
        live = index.tenures(self._client, index.newest(self._client, live=True, limit=_MOST))
        clock = index.now_ms(self._client)
        owned = {(tenure.run_id, str(tenure.fence)) for tenure in live if tenure.lease_until > clock}
        for left in found:
            if (left.labels.get(RUN_LABEL, ""), left.labels.get(FENCE_LABEL, "")) not in owned:
                left.remove()
                _log.info("removed a container", container=left.id, labels=left.labels)
