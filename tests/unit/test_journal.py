from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolResult, Usage
from orchestrator.errors import FencedError, HeadMovedError, JournalError, NotFoundError
from orchestrator.journal import index, keys
from orchestrator.journal.fold import fold
from orchestrator.journal.lease import Lease, claim
from orchestrator.journal.packing import line
from orchestrator.journal.presence import Beat, Presence, alive
from orchestrator.journal.stream import blob, follow, read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import Outcome, RunSpec, State, new_run_id
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis


def owned(client: Redis, run_id: str, *, seconds: float = 30.0, **more: Any) -> Writer:
    fence = claim(client, run_id, 1, lease_seconds=seconds)
    assert isinstance(fence, int), fence
    writer = Writer(client, run_id, who="w1", fence=fence, lease_seconds=seconds, **more)
    writer.append(e.Claimed(attempt=1, fence=fence, worker="w1", host="h"))
    return writer


def step(number: int, reply: Reply) -> list[e.Body]:
    result = ToolResult(call_id="c1", name="bash", content="ok")
    return [
        e.Replied(step=number, reply=reply),
        e.CallStarted(step=number, call=reply.calls[0]),
        e.CallFinished(step=number, result=result, exit_code=0),
        e.Checkpointed(step=number, commit="c" * 40, tree=f"{number}" * 40),
    ]


def test_a_new_run_is_listed_and_pending(client: Redis, run_id: str, spec: RunSpec) -> None:
    assert index.newest(client, live=True, limit=5) == [run_id] == index.pending(client)
    view = index.record(client, run_id).view
    assert (view.spec, view.who, view.state, view.attempt) == (spec, "ann", State.QUEUED, 1)


def test_the_view_in_the_record_is_the_fold_of_the_journal(client: Redis, run_id: str, reply: Reply) -> None:
    writer = owned(client, run_id)
    writer.append(e.SandboxReady(image="i", image_id="x", container="c", tree="t", policy={}))
    for number in (1, 2):
        for body in step(number, reply):
            writer.append(body)
    folded = fold(run_id, read(client, run_id))
    assert folded == writer.view == index.record(client, run_id).view
    assert (folded.step, folded.tree, folded.cost_usd, folded.state) == (2, "2" * 40, 0.5, State.RUNNING)
    assert folded.usage == Usage(input_tokens=200, output_tokens=20)


def test_a_reply_of_unknown_price_makes_the_cost_unknown(client: Redis, run_id: str, reply: Reply) -> None:
    writer = owned(client, run_id)
    writer.append(e.Replied(step=1, reply=reply.model_copy(update={"cost_usd": None})))
    writer.append(e.Replied(step=2, reply=reply))
    assert writer.view.cost_usd is None


def test_one_line_of_what_a_run_is_doing_names_the_command(client: Redis, run_id: str, reply: Reply) -> None:
    writer = owned(client, run_id)
    writer.append(e.CallStarted(step=1, call=reply.calls[0]))
    assert writer.view.doing == "bash: pytest -q"


def test_an_illegal_transition_is_refused_and_not_written(client: Redis, run_id: str) -> None:
    writer = owned(client, run_id)
    writer.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    with pytest.raises(JournalError) as caught:
        writer.append(e.Claimed(attempt=1, fence=9, worker="w", host="h"))
    assert "from done to starting" in caught.value.cause
    assert index.newest(client, live=True, limit=5) == []


def test_an_open_append_by_another_process_is_taken_in(client: Redis, run_id: str, reply: Reply) -> None:
    worker = owned(client, run_id)
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    worker.append(*step(1, reply))
    assert worker.view.cancel_requested
    assert worker.view.step == 1
    assert [event.seq for event in worker.events] == list(range(1, 9))
    assert verify(client, run_id).ok


def test_a_second_claim_waits_for_the_lease_and_fences_the_first(client: Redis, run_id: str, reply: Reply) -> None:
    first = owned(client, run_id, seconds=0.2)
    assert claim(client, run_id, 1, lease_seconds=5) == "LEASED"
    time.sleep(0.25)
    keeper = Writer(client, run_id, who="keeper")
    keeper.append(e.AttemptLost(attempt=1, reason="lease ran out"), e.Dispatched(attempt=2), operation="requeue")
    assert claim(client, run_id, 1, lease_seconds=5) == "STALE"
    assert isinstance(claim(client, run_id, 2, lease_seconds=5), int)
    with pytest.raises(FencedError):
        first.append(*step(1, reply))
    assert [event.body.type for event in read(client, run_id)][-2:] == ["attempt_lost", "dispatched"]


def test_nobody_else_ends_a_run_whose_lease_is_alive(client: Redis, run_id: str) -> None:
    owned(client, run_id)
    with pytest.raises(HeadMovedError):
        Writer(client, run_id, who="ann").append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")
    assert index.record(client, run_id).view.state is State.STARTING


def test_a_done_run_cannot_be_claimed(client: Redis, run_id: str) -> None:
    Writer(client, run_id, who="ann").append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")
    assert claim(client, run_id, 1, lease_seconds=5) == "DONE"
    assert claim(client, "0" * 12, 1, lease_seconds=5) == "UNKNOWN"


def test_a_run_that_is_over_stays_as_it_ended(client: Redis, run_id: str) -> None:
    late = Writer(client, run_id, who="ann")
    worker = owned(client, run_id)
    worker.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    with pytest.raises(HeadMovedError, match="is over"):
        late.append(e.CancelRequested(), e.Finished(outcome=Outcome.CANCELLED), operation="finish")
    with pytest.raises(HeadMovedError, match="is over"):
        late.append(e.CancelRequested())
    view = index.record(client, run_id).view
    assert (view.outcome, view.cancel_requested) == (Outcome.SUCCEEDED, False)
    assert verify(client, run_id).ok


def test_a_lease_is_renewed_while_held_and_its_loss_stops_the_attempt(client: Redis, run_id: str) -> None:
    writer = owned(client, run_id, seconds=1.0)
    stop = Stop()
    fence = writer.events[-1].fence
    with Lease(client, run_id, fence, lease_seconds=1.0, stop=stop):
        time.sleep(1.3)
        assert claim(client, run_id, 1, lease_seconds=5) == "LEASED"
        client.hincrby(keys.record(run_id), "fence", 1)
        deadline = time.monotonic() + 3
        while not stop.is_set and time.monotonic() < deadline:
            time.sleep(0.05)
    assert stop.reason == "lease lost"


def test_follow_yields_events_as_they_come(client: Redis, run_id: str) -> None:
    stream = follow(client, run_id)
    assert [next(stream).body.type for _ in range(2)] == ["submitted", "dispatched"]  # type: ignore[union-attr]  # Not None here.
    assert next(stream) is None
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    event = next(stream)
    assert event is not None
    assert event.body.type == "cancel_requested"


def test_blobs_come_back_whole_and_a_changed_one_is_refused(client: Redis, run_id: str) -> None:
    data = bytes(range(256)) * 1000
    writer = owned(client, run_id)
    name = writer.blob(data)
    writer.append(e.Prompted(text="x"))
    assert blob(client, run_id, name) == data
    packed = client.hget(keys.blobs(run_id), name)
    client.hset(keys.blobs(run_id), name, packed[:-5])  # type: ignore[index]  # It was just stored.
    with pytest.raises(JournalError, match="missing or altered"):
        blob(client, run_id, name)


def test_secrets_never_get_into_the_journal(client: Redis, run_id: str) -> None:
    secret = "sk-not-a-real-key-0123456789"  # noqa: S105  # It is a made-up one.
    writer = owned(client, run_id, secrets=[secret])
    result = ToolResult(call_id="c", name="bash", content=f"leaked {secret}!")
    name = writer.blob(f"+key = {secret}\n".encode())
    (event,) = writer.append(e.CallFinished(step=1, result=result))
    assert blob(client, run_id, name) == b"+key = [redacted]\n"
    assert isinstance(event.body, e.CallFinished)
    assert event.body.result.content == "leaked [redacted]!"
    everything = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert secret.encode() not in everything
    assert verify(client, run_id).ok


def test_unknown_runs_are_not_found(client: Redis) -> None:
    for call in (
        lambda: Writer(client, "x" * 12, who="a"),
        lambda: index.record(client, "x"),
        lambda: verify(client, "x"),
    ):
        with pytest.raises(NotFoundError, match="there is no run"):
            call()


@pytest.mark.parametrize("damage", ["alter", "drop", "cut", "insert"])
def test_verify_names_the_first_event_that_is_not_as_written(client: Redis, run_id: str, damage: str) -> None:
    owned(client, run_id)
    stream = keys.stream(run_id)
    whole = client.xrange(stream)
    fields = dict(whole[1][1])
    if damage == "alter":
        client.delete(stream)
        for number, (entry, old) in enumerate(whole):
            altered = {b"e": line(old).data.replace(b"ann", b"bob"), b"h": old[b"h"]}
            client.xadd(stream, altered if number == 1 else old, id=entry)
    elif damage == "drop":
        client.xdel(stream, whole[1][0])
    elif damage == "cut":
        client.xdel(stream, whole[2][0])
    else:
        client.xadd(stream, fields, id="4-0")
    found = verify(client, run_id)
    assert not found.ok
    assert found.broken_at == {"alter": 2, "drop": 2, "cut": 3, "insert": 4}[damage]


def test_an_event_of_a_newer_version_is_an_error_that_says_so(client: Redis, run_id: str) -> None:
    client.xadd(
        keys.stream(run_id), {"e": '{"seq":3,"at":"2026-01-01T00:00:00Z","who":"x","body":{"type":"sung"}}', "h": "0"}
    )
    with pytest.raises(JournalError, match="can't be read"):
        list(read(client, run_id))


def test_a_run_that_cannot_be_read_stops_no_other(client: Redis, run_id: str, spec: RunSpec) -> None:
    other = new_run_id()
    create(client, other, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    client.hset(keys.record(run_id), "view", "{garb")
    assert index.record(client, run_id).view.state is State.QUEUED, "the journal is the truth"
    client.delete(keys.stream(run_id))
    assert [record.view.id for record in index.records(client, [run_id, other])] == [other]
    client.hset(keys.record(run_id), "state", "garbled")
    gone = new_run_id()
    assert index.tenures(client, [gone, run_id, other]) == [index.Tenure(other, State.QUEUED, 1, 0, 0)]
    with pytest.raises(JournalError, match="can't be read"):
        index.record(client, run_id)


def test_living_processes_are_known_until_they_leave(client: Redis) -> None:
    presence = Presence(kind="worker", name="w1", host="h", pid=1, version="0")
    with Beat(client, presence):
        deadline = time.monotonic() + 3
        while not (found := alive(client, "worker")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert found == [presence]
    assert alive(client, "worker") == []
