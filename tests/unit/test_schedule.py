"""When projects are dreamed of: once per period, however many keepers; caught up, and tried again after a crash."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from rq import Queue

from orchestrator import events as e
from orchestrator.dream.report import Report, at
from orchestrator.dreaming import TooLong, carry
from orchestrator.errors import DeniedError, DreamdockError, UnavailableError
from orchestrator.job import SERIALIZER, DreamJob
from orchestrator.journal import keys
from orchestrator.journal.connection import connect
from orchestrator.journal.dreams import all_seen, held, note
from orchestrator.journal.index import now_ms, projects
from orchestrator.journal.writer import Writer, create
from orchestrator.queue import DREAM_ENTRY_POINT, DREAM_QUEUE, call
from orchestrator.runs import DREAM_ID, Outcome, RunSpec, new_run_id
from orchestrator.schedule import DreamState, LastDream, Schedule, began, ended, last_dreams
from orchestrator.settings import Settings
from orchestrator.stop import SHUTDOWN, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

pytestmark = pytest.mark.needs_redis
PROJECT, OTHER = "0123456789ab", "ba9876543210"
WEEK_MS = 7 * 86_400_000
PATIENCE = 0.05


@pytest.fixture
def run(client: Redis, spec: RunSpec) -> Callable[..., str]:
    """Have a run of a project that ended so many days ago."""

    def run(project: str = PROJECT, days_ago: float = 7) -> str:
        run_id, repo = new_run_id(), spec.repo.model_copy(update={"project": project})
        create(client, run_id, "ann", [e.Submitted(spec=spec.model_copy(update={"repo": repo}))])
        Writer(client, run_id, who="ann").append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")
        client.zadd(keys.FINISHED, {run_id: now_ms(client) - int(days_ago * 86_400_000)})
        return run_id

    return run


@pytest.fixture
def other_client(redis_server: str) -> Iterator[Redis]:
    with connect(redis_server) as client:
        yield client


def queued(client: Redis) -> list[str]:
    found: Any = client.lrange(keys.RQ_DREAMS, 0, -1)
    return [raw.decode() for raw in found]


def pop(client: Redis) -> str:
    """Take a job as RQ's worker does, which is then killed."""
    found: Any = client.lpop(keys.RQ_DREAMS)
    client.rpush(f"{keys.RQ_DREAMS}:intermediate", found)
    return str(found.decode())


def last(client: Redis, project: str = PROJECT) -> LastDream:
    return last_dreams(client)[project]


def keep_ticking(client: Redis, schedule: Schedule) -> None:
    """Miss what is missing, wait, and look again."""
    schedule.tick(client)
    time.sleep(2 * PATIENCE)
    schedule.tick(client)


def test_keepers_that_tick_at_once_enqueue_one_dream_in_rqs_own_form(
    client: Redis, other_client: Redis, run: Callable[..., str]
) -> None:
    run(), run(), run(OTHER)
    keepers = [(Schedule(7), client), (Schedule(7), other_client)] * 4
    with ThreadPoolExecutor(len(keepers)) as pool:
        for ticked in [pool.submit(schedule.tick, whose) for schedule, whose in keepers]:
            ticked.result()
    assert sorted(DREAM_ID.sub(r"\1", name) for name in queued(client)) == [PROJECT, OTHER]
    queue = Queue(DREAM_QUEUE, connection=client, job_class=DreamJob, serializer=SERIALIZER)
    for job in queue.jobs:
        assert (job.func_name, job.args) == (DREAM_ENTRY_POINT, [job.id])
        assert job.get_status() == "queued"
    assert client.smembers("rq:queues") == {keys.RQ_DREAMS.encode()}


def test_keepers_whose_settings_differ_enqueue_one_dream(
    client: Redis, other_client: Redis, run: Callable[..., str]
) -> None:
    run(days_ago=14)
    for _ in range(2):
        Schedule(7).tick(client)
        Schedule(5).tick(other_client)
    assert len(queued(client)) == 1
    job = pop(client)
    assert began(client, job, "h")
    ended(client, job, DreamState.DONE)
    Schedule(7).tick(client), Schedule(6).tick(other_client)
    assert queued(client) == []


def test_a_week_is_dreamed_of_once_it_is_over_and_weeks_of_downtime_are_one_dream(
    client: Redis, run: Callable[..., str]
) -> None:
    now = now_ms(client)
    since_ms = (now + int(PROJECT, 16) % WEEK_MS) % WEEK_MS
    run(days_ago=since_ms / 2 / 86_400_000)  # In this week.
    Schedule(7).tick(client)
    assert queued(client) == []
    for weeks in range(1, 6):
        run(days_ago=7 * weeks)
    schedule = Schedule(7)
    schedule.tick(client)
    assert len(queued(client)) == 1
    job = pop(client)
    assert began(client, job, "h")
    note(client, PROJECT, now)
    ended(client, job, DreamState.DONE)
    client.hset(keys.DREAMS, PROJECT, last(client).model_copy(update={"at": now - WEEK_MS}).model_dump_json())
    schedule.tick(client)
    assert queued(client) == [], "everything was looked at"
    assert last(client).state is DreamState.DONE


def test_days_of_0_enqueue_nothing(client: Redis, run: Callable[..., str]) -> None:
    run(days_ago=100)
    Schedule(0).tick(client)
    assert queued(client) == []


def test_projects_have_weeks_that_begin_at_other_times(client: Redis, run: Callable[..., str]) -> None:
    for number in range(8):
        run(f"{number * 75_000_000:012x}", days_ago=3.5)
    Schedule(7).tick(client)
    assert 1 <= len(queued(client)) <= 7, "some weeks began since, and some didn't"


@pytest.mark.parametrize("begun", [True, False])
def test_a_dream_whose_worker_was_killed_is_enqueued_again_twice_and_then_given_up(
    client: Redis, run: Callable[..., str], begun: bool
) -> None:
    run()
    schedule = Schedule(7, patience_seconds=PATIENCE)
    schedule.tick(client)
    for tries in (1, 2, 3):
        assert len(queued(client)) == 1
        assert last(client).tries == tries
        job = pop(client)
        if begun:
            assert began(client, job, "h")
        keep_ticking(client, schedule)
    assert queued(client) == []
    assert client.llen(f"{keys.RQ_DREAMS}:intermediate") == 1  # The last one; RQ itself clears it up.
    assert (last(client).state, last(client).why) == (DreamState.FAILED, "its worker died each time")
    assert not began(client, job, "h"), "what was given up and comes late doesn't begin"
    keep_ticking(client, schedule)
    assert queued(client) == []


def test_nothing_is_enqueued_again_while_somebody_has_the_library_or_it_waits(
    client: Redis, run: Callable[..., str]
) -> None:
    run()
    schedule = Schedule(7, patience_seconds=PATIENCE)
    schedule.tick(client)
    keep_ticking(client, schedule)
    assert (len(queued(client)), last(client).tries) == (1, 1)
    job = pop(client)
    with held(client, PROJECT):
        assert began(client, job, "h")
        keep_ticking(client, schedule)
        assert queued(client) == []
    keep_ticking(client, schedule)
    assert queued(client) == [job]


def dreams(client: Redis, run: Callable[..., str]) -> str:
    """Return the job of a dream that is enqueued, and popped."""
    run()
    Schedule(7).tick(client)
    return pop(client)


def test_a_dream_is_carried_once_and_told(client: Redis, run: Callable[..., str]) -> None:
    job, asked = dreams(client, run), list[Any]()
    settings = Settings()

    def dream(*args: object) -> Report:
        asked.append(args)
        return Report(project=PROJECT, until=at(now_ms(client)))

    carry(client, settings, job, dream)
    assert asked == [(client, settings, PROJECT)]
    assert (last(client).state, last(client).why) == (DreamState.DONE, "nothing to change")
    assert last(client).host
    with pytest.raises(DeniedError):
        carry(client, settings, job, dream)
    with pytest.raises(DeniedError):
        carry(client, settings, f"dream-{OTHER}-1", dream)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "state", "why", "tries"),
    [
        (
            DreamdockError("the library is damaged", cause="no HEAD"),
            DreamState.FAILED,
            "the library is damaged: no HEAD",
            1,
        ),
        (UnavailableError("somebody else dreams"), DreamState.AGAIN, "somebody else dreams", 1),
        (Stopped(SHUTDOWN), DreamState.AGAIN, "the worker was shut down", 0),
        (TooLong(), DreamState.FAILED, "it took longer than 3600 s (dream.seconds)", 1),
    ],
)
def test_why_a_dream_failed_is_told_and_what_may_be_tried_again_is(
    client: Redis, run: Callable[..., str], error: BaseException, state: DreamState, why: str, tries: int
) -> None:
    job = dreams(client, run)

    def fail(*_: object) -> Report:
        raise error

    carry(client, Settings(), job, fail)
    assert (last(client).state, last(client).why, last(client).tries) == (state, why, tries)
    keep_ticking(client, Schedule(7, patience_seconds=PATIENCE))
    assert bool(queued(client)) == (state is DreamState.AGAIN)


def test_a_mistake_of_ours_is_told_too_and_is_raised(client: Redis, run: Callable[..., str]) -> None:
    job = dreams(client, run)

    def fail(*_: object) -> Report:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        carry(client, Settings(), job, fail)
    assert last(client).why == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("job_id", "function"),
    [
        ("dream-0123456789ab-1", "os.system"),
        ("dream-0123456789ab-1", "orchestrator.worker.run_attempt"),
        ("dream-0123456789ab-01", DREAM_ENTRY_POINT),
        ("dream-0123456789AB-1", DREAM_ENTRY_POINT),
        ("dream-0123456789ab-1-1", DREAM_ENTRY_POINT),
        ("aaaaaaaaaaaa-a1", "orchestrator.worker.run_attempt"),
        ("evil", DREAM_ENTRY_POINT),
    ],
)
def test_what_is_no_dream_of_ours_is_refused(client: Redis, job_id: str, function: str) -> None:
    client.hset(f"rq:job:{job_id}", mapping={"data": call(function, job_id), "status": "queued", "origin": DREAM_QUEUE})
    job = DreamJob.fetch(job_id, connection=client, serializer=SERIALIZER)
    assert job.func_name == "orchestrator.worker.refuse_entry"
    with pytest.raises(DeniedError):
        job.func(*job.args)


@pytest.mark.parametrize(
    "row",
    ["garbage", "[]", "{}", '{"job": [], "state": "queued"}', '{"job": "x", "state": {}, "at": "never", "tries": []}'],
)
def test_what_somebody_else_wrote_in_its_place_stops_nothing(client: Redis, run: Callable[..., str], row: str) -> None:
    run()
    client.hset(keys.DREAMS, PROJECT, row)
    client.hset(keys.DREAMS, b"\xff", json.dumps({"job": "y"}))
    client.zadd(keys.FINISHED, {"../x": 1, new_run_id(): 5})
    Schedule(7).tick(client)
    assert len(queued(client)) == 1
    assert last(client).state is DreamState.QUEUED


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"repo": {"project": ["x"]}}', '{"repo": {"project": 7}}'])
def test_a_damaged_record_is_of_no_project_and_holds_up_no_other(
    client: Redis, run: Callable[..., str], text: str
) -> None:
    damaged, whole = run(OTHER), run()
    client.hset(keys.record(damaged), "spec", text)
    assert projects(client, [damaged, whole, new_run_id()]) == {whole: PROJECT}
    Schedule(7).tick(client)
    assert list(last_dreams(client)) == [PROJECT]


def test_what_was_looked_at_is_read_for_all_projects_at_once(client: Redis) -> None:
    note(client, PROJECT, 7)
    client.hset(keys.DREAMT, OTHER, "never")
    assert all_seen(client) == {PROJECT: 7}
