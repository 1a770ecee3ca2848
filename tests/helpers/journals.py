"""A signed journal in a real Redis, and what somebody who may write to that Redis can do to it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.journal import keys
from orchestrator.journal.lease import claim
from orchestrator.journal.signing import Signer
from orchestrator.journal.stream import Entry, chain, entries, genesis
from orchestrator.journal.writer import Writer
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from redis import Redis

PATCH = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


class Carried(NamedTuple):
    """A run that was carried to its end by a worker with a key of its own, and its checkpoints' commits."""

    run: str
    signer: Signer
    commits: dict[str, bytes]


def carried(client: Redis, run_id: str, state_dir: Path, *, steps: int = 3, over: bool = True) -> Carried:
    """Carry a queued run with a real, signing writer; its commits are git's own objects, as the store has them."""
    signer, commits = Signer.load(state_dir), dict[str, bytes]()
    fence = claim(client, run_id, 1, lease_seconds=60)
    assert isinstance(fence, int), fence
    writer = Writer(client, run_id, who="w1", fence=fence, lease_seconds=60, signer=signer)
    writer.append(e.Claimed(attempt=1, fence=fence, worker="w1", host="h"))
    for number in range(1, steps + 1):
        step(writer, number, commits)
    if over:
        writer.append(e.Finished(outcome=Outcome.SUCCEEDED, patch=writer.blob(PATCH)), operation="finish")
    return Carried(run_id, signer, commits)


def step(writer: Writer, number: int, commits: dict[str, bytes]) -> None:
    """Append one step of three events, and its checkpoint."""
    call = ToolCall(id=f"c{number}", name="bash", arguments={"command": f"echo {number}"})
    writer.append(e.Replied(step=number, reply=Reply(calls=(call,), cost_usd=0.0)))
    writer.append(e.CallStarted(step=number, call=call))
    result = ToolResult(call_id=call.id, name="bash", content=f"{number}\n[exit code 0]")
    writer.append(e.CallFinished(step=number, result=result, exit_code=0))
    tree = f"{number:040x}"
    raw = f"tree {tree}\nauthor D <d@localhost> 0 +0000\ncommitter D <d@localhost> 0 +0000\n\n{writer.head}\n".encode()
    oid = hashlib.sha1(b"commit %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
    commits[oid] = raw
    writer.append(e.Checkpointed(step=number, commit=oid, tree=tree, patch=writer.blob(PATCH + b"+%d\n" % number)))


def stored(client: Redis, run_id: str) -> list[Entry]:
    """Return a journal's entries."""
    return list(entries(client, run_id))


def rewrite(client: Redis, run_id: str, changed: Sequence[Entry], *, record: bool = False) -> None:
    """Put entries in place of a journal, and with `record` make the run's record agree."""
    client.delete(keys.stream(run_id))
    for entry in changed:
        signed = {"s": entry.signature} if entry.signature else {}
        fields = {"e": entry.data, "h": entry.hash, **signed}
        client.xadd(keys.stream(run_id), fields, id=f"{entry.seq}-{entry.minor}")  # type: ignore[arg-type]  # redis-py's own type is too narrow.
    if record:
        client.hset(keys.record(run_id), mapping={"head": changed[-1].hash, "seq": len(changed)})


def numbered(changed: Sequence[Entry]) -> list[Entry]:
    """Give entries consecutive numbers in the stream; what they say of themselves stays."""
    return [entry._replace(seq=number, minor=0) for number, entry in enumerate(changed, start=1)]


def rechained(run_id: str, changed: Sequence[Entry]) -> list[Entry]:
    """Compute every hash anew, as a forger does who knows how; signatures stay what they were."""
    head, result = genesis(run_id), []
    for number, entry in enumerate(changed, start=1):
        seq, rest = entry.data.split(b",", 1)
        data = b'{"seq":%d,' % number + rest if seq.startswith(b'{"seq":') else entry.data
        head = chain(head, data)
        result.append(entry._replace(seq=number, minor=0, data=data, hash=head))
    return result
