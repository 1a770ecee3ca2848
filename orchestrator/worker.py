"""The worker: takes attempts from the queue, one at a time, each in a process of its own.

RQ's own worker pops and forks; what can run is fixed by `orchestrator.job`.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from contextlib import nullcontext, suppress
from importlib.metadata import version
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, Final

import redis
import structlog
from rq import Queue, Worker

from orchestrator import logs
from orchestrator.errors import DeniedError, RedisAwayError, UnavailableError
from orchestrator.horse import die_with_parent
from orchestrator.host import host_id
from orchestrator.job import SERIALIZER, AttemptJob, job_of
from orchestrator.journal import keys
from orchestrator.journal.connection import connect, denied, redis_url, unhurried
from orchestrator.journal.presence import WORKER, Beat, Presence
from orchestrator.journal.safety import dangers
from orchestrator.journal.signing import Signer
from orchestrator.models import catalog, secrets
from orchestrator.offer import kept_current, offer
from orchestrator.queue import QUEUE, dispatch
from orchestrator.runs import ATTEMPT_ID, STACK_LABEL
from orchestrator.settings import Settings, load
from orchestrator.stop import SHUTDOWN, Stop
from sandbox import images
from sandbox.errors import SandboxError
from sandbox.pool import Pool
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from types import FrameType

    from redis import Redis
    from rq.job import Job

    from orchestrator.journal.address import Address

_log = structlog.get_logger(__name__)
_RECONNECT_SECONDS: Final = 1.0
_RQ_SECONDS: Final = 25
"""How long RQ's worker is alive without a word: 15 s less it waits for a job, and 10 s more for a server that hangs."""


def run_attempt(job_id: str) -> None:
    """Carry one attempt: the queue's only entry point, in the work-horse."""
    found = ATTEMPT_ID.match(job_id)
    if found is None:
        refuse_entry(job_id)
        return
    from orchestrator import attempt  # noqa: PLC0415  # Its worker has it already; a dream worker never needs it.

    die_with_parent()
    stop = Stop()

    def shut_down(_signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=stop.set, args=(SHUTDOWN,)).start()  # A handler must not block.

    signal.signal(signal.SIGTERM, shut_down)
    settings = load()
    with connect(redis_url(settings)) as client:
        ready: dict[str, Any] = {"pool": AttemptWorker.pool, "signer": AttemptWorker.signer}
        seat = AttemptWorker.seat
        attempt.carry(
            client, settings, found[1], int(found[2]), stop, given_to=seat.name if seat is not None else "", **ready
        )


def refuse_entry(job_id: str) -> None:
    """Refuse what isn't ours: raises DeniedError, and RQ files the entry as failed."""
    raise DeniedError(
        f"queue entry {job_id!r} is not DreamDock's",
        cause="it names another function",
        hint="see who writes to this Redis",
    )


class Seat:
    """A worker's place among those that the queue gives runs to: it's free, or carries one attempt."""

    def __init__(self, client: Redis, beat: Beat, name: str) -> None:
        self._client = client
        self._beat = beat
        self.name = name

    def take(self, job_id: str) -> None:
        """Say which attempt is about to be carried."""
        self._beat.carry(job_id)

    def free(self) -> None:
        """Say that nothing is carried any more, and see who is next; where Redis is away, beats and keepers do it."""
        self._beat.rest()
        with suppress(UnavailableError):
            dispatch(self._client)


class AttemptWorker(Worker):
    """RQ's worker with our job class; a request to stop reaches the attempt, which releases its run."""

    job_class = AttemptJob
    pool: ClassVar[Pool | None] = None
    """Where the sandboxes of this process's work-horses come from; dreams have none."""
    seat: ClassVar[Seat | None] = None
    """Its place in the queue of runs; dreams have none."""
    asked_to_stop: ClassVar = False
    """Whether this process was asked to stop, by whichever of its workers heard it."""
    max_connection_wait_time = _RECONNECT_SECONDS  # RQ's own doubles up to a minute, which nobody would wait for.
    _left_alone = False
    signer: ClassVar[Signer | None] = None
    """What they sign their journals with."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Have a pool before a work-horse asks it, also where it was killed."""
        if self.pool is not None:
            self.pool.ensure()
        super().fork_work_horse(job, queue)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Carry a job in a work-horse; once that is gone, with all that it cleared up, this worker is free again."""
        if self.seat is None:
            super().execute_job(job, queue)
            return
        self.seat.take(job.id)
        try:
            super().execute_job(job, queue)
        finally:
            if not self.horse_pid:  # Else an outage has left it alone: `outlast` waits for it.
                self.seat.free()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Pass the request on to the work-horse, and take no more jobs."""
        AttemptWorker.asked_to_stop = True
        if self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)
        if self._left_alone:
            return
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # RQ annotates only a part.

    def _install_signal_handlers(self) -> None:
        """Hear requests to stop, and take one that came before: after an outage the last worker heard it, in vain."""
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # As above.
        self._stop_requested = self._stop_requested or self.asked_to_stop

    def outlast(self) -> None:
        """Wait for the work-horse that an outage has left alone: it goes on under its lease, one at a time."""
        self._left_alone = True
        if self.horse_pid:
            with suppress(ChildProcessError):
                os.waitpid(self.horse_pid, 0)
            self._horse_pid = 0

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Ignore impatience: a second signal would kill an attempt that is just releasing its run."""


def serve(settings: Settings, *, queue: str = QUEUE) -> None:
    """Take jobs from one queue until SIGTERM or SIGINT; while Redis is away, wait for it."""
    known, address = catalog(settings.families), redis_url(settings)
    logs.configure(secrets(known, os.environ))
    host = platform.node()
    presence = Presence(
        kind=WORKER if queue == QUEUE else queue,
        name=f"{host}-{os.getpid()}-{token_hex(4)}",  # Hosts of one name, and pids of one number, are told apart.
        host=host,
        pid=os.getpid(),
        version=version("dreamdock"),
        models=tuple(known.with_key(os.environ)),
        host_id=host_id(settings),
        offer=offer(settings),
    )
    if queue == QUEUE:
        import orchestrator.attempt  # noqa: F401, PLC0415  # Models and sandbox, before the fork; a dream brings its own.

        AttemptWorker.signer = Signer.load(settings.state_dir)
        AttemptWorker.pool = _pool(settings)
    with AttemptWorker.pool or nullcontext(), connect(address) as client, Beat(client, presence) as beat:
        with suppress(RedisAwayError):  # Said when RQ's worker ends on it.
            for danger in dangers(client):
                _log.warning(danger)
        with kept_current(settings, client, beat) if queue == QUEUE else nullcontext():
            AttemptWorker.seat = Seat(client, beat, presence.name) if queue == QUEUE else None
            while not _work(address, presence.name, queue):
                _log.warning("RQ's worker has ended, as it does while Redis is away; starting the next")
                time.sleep(_RECONNECT_SECONDS)


def _pool(settings: Settings) -> Pool:
    """Return a pool that begins with what a run gets that asks for nothing else."""
    first = None
    with suppress(SandboxError):  # Without the base's recipe each run names its image; the pool learns it then.
        first = SandboxSpec(image=images.named(settings.image or images.BASE), limits=settings.sandbox)
    labels = {STACK_LABEL: settings.stack_id}
    return Pool(settings.state_dir / "workspaces", size=settings.warm, first=first, labels=labels)


def _work(address: Address, name: str, queue: str) -> bool:
    """Work until asked to stop (true), or RQ's worker ends by itself (false): Redis has gone away."""
    worker: AttemptWorker | None = None
    connection = unhurried(address)
    try:
        connection.ping()
        job = job_of(queue, name)
        if AttemptWorker.seat is not None:
            begin_again(connection, name)
            AttemptWorker.seat.free()
        worker = AttemptWorker(
            [Queue(job.queue_name, connection=connection, job_class=job, serializer=SERIALIZER)],
            name=f"{name}-{time.time_ns():x}",
            connection=connection,
            job_class=job,
            serializer=SERIALIZER,
            worker_ttl=_RQ_SECONDS,
        )
        worker.work(logging_level="WARNING", with_scheduler=False)
    except redis.exceptions.NoPermissionError as error:
        raise denied(error) from error
    except redis.RedisError:
        pass  # Away, at its beginning or in RQ's farewell, or no primary any more.
    finally:
        connection.close()
        if worker is not None:
            worker.outlast()
    return AttemptWorker.asked_to_stop


def begin_again(connection: Redis, name: str) -> None:
    """Put back onto this worker's own queue what it was given, popped before an outage and never begun.

    The answer got lost; whatever else was popped is nobody's, and may be what RQ's worker stumbled over.
    """
    queue, popped = f"{keys.RQ_QUEUE}{name}", f"{keys.RQ_QUEUE}{name}:intermediate"
    given: Any = connection.hget(keys.BUSY, name)
    if given and connection.lrem(popped, 0, given):
        connection.lpush(queue, given)
    connection.delete(popped)
