"""RQ's worker as ours: what it hears, and when."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import redis
from rq import Queue

from orchestrator.job import SERIALIZER, job_of
from orchestrator.journal import keys
from orchestrator.queue import QUEUE
from orchestrator.worker import AttemptWorker, begin_again

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def connection(redis_server: str) -> Iterator[redis.Redis]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with redis.Redis.from_url(redis_server) as connection:
        connection.flushall()
        yield connection
    AttemptWorker.asked_to_stop = False
    for number, handler in before.items():
        signal.signal(number, handler)


def worker(connection: redis.Redis, name: str) -> AttemptWorker:
    job = job_of(QUEUE, name)
    queue = Queue(job.queue_name, connection=connection, job_class=job, serializer=SERIALIZER)
    return AttemptWorker([queue], name=name, connection=connection, job_class=job, serializer=SERIALIZER)


def test_what_was_popped_before_an_outage_is_put_back_and_what_is_nobodys_is_not(connection: redis.Redis) -> None:
    queue = f"{keys.RQ_QUEUE}w"
    connection.rpush(f"{queue}:intermediate", "../x", "aaaaaaaaaaaa-a1")
    connection.hset(keys.BUSY, "w", "aaaaaaaaaaaa-a1")
    for _ in range(2):
        begin_again(connection, "w")
        assert connection.lrange(queue, 0, -1) == [b"aaaaaaaaaaaa-a1"]
    assert not connection.exists(f"{queue}:intermediate")


@pytest.mark.timeout(20)  # Else it would wait for a job for minutes.
def test_a_request_to_stop_that_comes_between_two_workers_is_heard_by_the_next(connection: redis.Redis) -> None:
    before, after = worker(connection, "before"), worker(connection, "after")
    before.outlast()  # Redis went away under it.
    signal.signal(signal.SIGTERM, before.request_stop)
    signal.raise_signal(signal.SIGTERM)
    assert after.work(logging_level="WARNING", with_scheduler=False) is False
