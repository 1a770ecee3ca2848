"""Redis fails over to a replica while a run is written: nothing is lost, nothing is twice, and its owner goes on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from disturbed import STEPS
from redis_group import redis_group

from orchestrator import events as e
from orchestrator.errors import RedisAwayError, UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, connect, hurried, patiently, ping
from orchestrator.journal.dreams import held
from orchestrator.journal.lease import Lease, claim
from orchestrator.journal.signing import Signer, remembered
from orchestrator.journal.stream import read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.keeper import Keeper
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import Settings
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from disturbed import Disturbed
    from redis import Redis
    from redis_group import RedisGroup

    Opened = Callable[..., AbstractContextManager[Disturbed]]

pytestmark = pytest.mark.needs_redis
LEASE_S = 6.0
PROJECT = "0123456789ab"


@pytest.fixture
def group() -> Iterator[RedisGroup]:
    with redis_group() as group:
        yield group


@pytest.fixture
def client(group: RedisGroup) -> Iterator[Redis]:
    """A client that waits for two seconds, as one of an attempt would in a hurry."""
    with connect(group.url) as patient, hurried(patient, 2.0) as client:
        yield client


@pytest.fixture
def run_id(client: Redis, spec: RunSpec) -> str:
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    return run_id


def owned(client: Redis, run_id: str, stop: Stop, signer: Signer | None = None) -> tuple[Writer, int]:
    fence = claim(client, run_id, 1, lease_seconds=LEASE_S)
    assert isinstance(fence, int), fence
    return Writer(client, run_id, who="w", fence=fence, lease_seconds=LEASE_S, stop=stop, signer=signer), fence


def said(client: Redis, run_id: str) -> list[str]:
    return [event.body.text for event in read(client, run_id) if isinstance(event.body, e.Prompted)]


class Talker:
    """Appends numbers one after the other until it is told to stop, as an attempt appends its steps."""

    def __init__(self, journal: Writer) -> None:
        self.texts = list[str]()
        self._journal = journal
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        while not self._ended.is_set():
            text = str(len(self.texts))
            self._journal.append(e.Prompted(text=text))
            self.texts.append(text)

    def went_on(self) -> None:
        """Wait until it has written more."""
        known, deadline = len(self.texts), time.monotonic() + 30
        while len(self.texts) < known + 20:
            assert time.monotonic() < deadline, "nothing is written any more"
            time.sleep(0.02)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("how", ["asked", "killed", "hung"])
def test_a_run_goes_on_over_a_fail_over_and_nothing_is_lost_or_twice(
    group: RedisGroup, client: Redis, run_id: str, how: str
) -> None:
    stop = Stop()
    journal, fence = owned(client, run_id, stop)
    before = group.primary()
    with Lease(client, run_id, fence, lease_seconds=LEASE_S, stop=stop):
        talker = Talker(journal)
        talker.went_on()
        match how:
            case "asked":
                group.fail_over()
            case "killed":
                before.stop()
            case _:
                before.hang()
        group.wait_until_moved(before)
        talker.went_on()
        if how == "hung":
            before.hang(hung=False)  # It still takes itself for the primary, until the sentinels tell it.
        talker.went_on()
        talker.end()
        assert not stop.is_set
    assert said(client, run_id) == talker.texts
    assert verify(client, run_id).ok
    assert client.hget(keys.record(run_id), "fence") == str(fence).encode()


def test_an_append_counts_only_once_a_replica_has_it(
    group: RedisGroup, client: Redis, run_id: str, tmp_path: Path
) -> None:
    stop, signer = Stop(), Signer.load(tmp_path)
    journal, fence = owned(client, run_id, stop, signer)
    group.hang_replica()
    claimed = e.Claimed(attempt=1, fence=fence, worker="w", host="h")
    writing = threading.Thread(target=journal.append, args=(claimed,))
    writing.start()
    time.sleep(0.5)  # The sentinels don't call the replica down yet.
    with group.primary().client as primary:
        assert primary.xlen(keys.stream(run_id)) == 3, "the primary has it"
    assert writing.is_alive()
    assert remembered(tmp_path, run_id) is None, "it isn't said to be signed before it's safe"
    group.replica().hang(hung=False)
    writing.join(20)
    assert not writing.is_alive()
    assert [event.body.type for event in read(client, run_id)] == ["submitted", "dispatched", "claimed"]
    known = remembered(tmp_path, run_id)
    assert known is not None
    assert known.seq == 3


def test_without_a_stop_an_append_that_no_replica_has_is_an_outage(
    group: RedisGroup, client: Redis, run_id: str
) -> None:
    journal = Writer(client, run_id, who="ann")
    journal.append(e.Steered(text="before"))
    group.hang_replica()
    with pytest.raises(RedisAwayError, match="isn't safe yet") as raised:
        journal.append(e.Steered(text="hello"))
    assert "replica" in raised.value.cause


def test_a_primary_that_is_the_last_one_left_writes_alone(group: RedisGroup, client: Redis, run_id: str) -> None:
    journal, _ = owned(client, run_id, Stop())
    group.replica().stop()
    journal.append(e.Prompted(text="0"))  # It waits until the sentinels' majority calls the replica down.
    began = time.monotonic()
    for text in "123456789":
        journal.append(e.Prompted(text=text))
    assert time.monotonic() - began < 2, "no append waits for who isn't there"
    lonely = group.replica()
    lonely.start("--replicaof", "127.0.0.1", str(group.primary().port))
    group.wait_until_whole()
    journal.append(e.Prompted(text="10"))
    assert said(client, run_id) == [str(number) for number in range(11)]
    with lonely.client as replica:
        assert replica.xlen(keys.stream(run_id)) == 13, "it's waited for again"


def test_a_primary_that_is_cut_off_with_a_minority_takes_nothing(group: RedisGroup, client: Redis, run_id: str) -> None:
    journal = Writer(client, run_id, who="ann")
    group.replica().stop()
    for sentinel in group.sentinels[1:]:
        sentinel.stop()
    time.sleep(2.5)  # The sentinel that is left calls all others down.
    with pytest.raises(RedisAwayError, match="isn't safe yet"):
        journal.append(e.Steered(text="to whoever is on the wrong side"))


def test_a_claim_that_a_fail_over_would_forget_gives_nobody_the_run(
    group: RedisGroup, client: Redis, run_id: str
) -> None:
    group.hang_replica()
    with pytest.raises(RedisAwayError):
        claim(client, run_id, 1, lease_seconds=LEASE_S)


def test_a_lease_that_no_replica_knows_of_is_not_renewed(group: RedisGroup, client: Redis, run_id: str) -> None:
    stop, held = Stop(), threading.Event()
    _, fence = owned(client, run_id, stop)
    with Lease(client, run_id, fence, lease_seconds=4.0, stop=stop), stop.holding(held.set, lambda: None):
        group.hang_replica()
        assert held.wait(4.0), "before the replica, as the primary, would give the run to somebody else"
        group.replica().hang(hung=False)
        stop.check()
    assert not stop.is_set


def test_a_keeper_judges_nobody_while_no_replica_answers(
    group: RedisGroup, client: Redis, run_id: str, tmp_path: Path
) -> None:
    settings = Settings(
        redis_url=group.url, state_dir=tmp_path / "state", runtime_dir=tmp_path / "run", lease_seconds=2
    )
    owned(client, run_id, Stop())
    keeper = Keeper(client, settings)
    keeper.tick()
    time.sleep(2.1)
    client.hset(keys.record(run_id), "lease_until", 1)  # Its owner couldn't renew it.
    group.hang_replica()
    with pytest.raises(RedisAwayError):
        keeper.tick()
    assert client.hget(keys.record(run_id), "attempt") == b"1"


def test_a_new_primary_that_does_not_know_the_scripts_is_told(client: Redis, run_id: str) -> None:
    journal, _ = owned(client, run_id, Stop())
    client.script_flush()
    journal.append(e.Prompted(text="0"))
    assert said(client, run_id) == ["0"]
    Scripts(client).confirm()


def test_sentinels_that_are_gone_or_know_no_such_service_are_told(group: RedisGroup) -> None:
    assert ping(group.url)
    with connect(group.url.replace("/runs", "/other")) as client, pytest.raises(Exception, match="no service other"):
        client.ping()
    for sentinel in group.sentinels[:2]:
        sentinel.stop()
    assert ping(group.url), "one is enough to be told where it is"
    group.sentinels[2].stop()
    assert not ping(group.url)


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_whole_stack_goes_on_over_a_fail_over(disturbed: Opened, group: RedisGroup, how: str) -> None:
    with disturbed(DREAMDOCK_REDIS_URL=group.url) as run:
        before = group.primary()
        if how == "asked":
            group.fail_over()
        else:
            before.stop()
            group.wait_until_moved(before)
            run.until(lambda: run.view.step >= STEPS - 4)  # It's alone, and comes back as a replica.
            before.start()
    assert run.final.attempt == 1, "it went on under its own fence"


@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_project_is_the_same_dreams_after_a_fail_over_and_nobody_elses(
    group: RedisGroup, client: Redis, how: str
) -> None:
    before = group.primary()
    with held(client, PROJECT, LEASE_S) as mine:
        if how == "killed":
            before.stop()
        else:
            group.fail_over()
        group.wait_until_moved(before)
        deadline = time.monotonic() + 30
        while not (ping(group.url) and mine.owns()):
            assert time.monotonic() < deadline, "the right is lost"
            time.sleep(0.05)
        with pytest.raises(UnavailableError, match="somebody else dreams"):
            patiently(lambda: held(client, PROJECT, LEASE_S).__enter__(), lambda: None)
        time.sleep(LEASE_S / 2)
        assert mine.owns(), "it's renewed at the new primary"
    with held(client, PROJECT, LEASE_S) as again:
        assert again.owns()
