"""Journals of runs that never ran: what an agent would write that works on ten files of the sample, 4 KB a step."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Final

from benchmarks import sample
from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult, Usage
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import RunSpec, new_run_id
from sandbox.spec import Base, FileChange

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.journal.signing import Signer

STEP_BYTES: Final = 4096
_TEST_RUNS: Final = 4
"""One step in so many runs the tests, one changes a file, the others read."""
_SAID: Final = 260
_FENCE_SECONDS: Final = 3600.0


class Steps:
    """Makes steps, each different, and the same ones in every go."""

    def __init__(self) -> None:
        self._random = random.Random(7)  # noqa: S311  # It has to be the same again, not secret.
        self._files = sample.sources()
        self._prose = " ".join(sample.prose())

    def step(self, number: int) -> tuple[list[e.Body], bytes]:
        """Return a step's events, about 4 KB of them, and its patch; the last event is to name that."""
        name = self._random.choice(list(self._files))
        lines = self._files[name]
        first = self._random.randrange(max(1, len(lines) - 40))
        tests = number % _TEST_RUNS == 0
        command = "python3 -m pytest -q tests" if tests else f"sed -n '{first + 1},$p' src/{name} | head -60"
        call = ToolCall(id=f"call_{_id('call', number)[:24]}", name="bash", arguments={"command": command})
        reply = Reply(
            model="mimo/mimo-v2.5-pro",
            text=self._say(_SAID // 3),
            reasoning=self._say(_SAID),
            calls=(call,),
            usage=Usage(input_tokens=9000 + 300 * number, output_tokens=self._random.randrange(100, 900)),
            cost_usd=round(self._random.random() / 50, 6),
        )
        patch = self._patch(name, first, number) if number % _TEST_RUNS == 1 else b""
        changes = (FileChange(path=f"src/{name}", status="M", added=1, removed=0),) if patch else ()
        bodies: list[e.Body] = [
            e.Replied(step=number, reply=reply),
            e.CallStarted(step=number, call=call),
            e.CallFinished(step=number, result=ToolResult(call_id=call.id, name="bash", content=""), exit_code=0),
            e.Checkpointed(
                step=number, commit=_id("c", number), tree=_id("t", number), files=changes, shell=_id("s", number)
            ),
        ]
        room = STEP_BYTES - sum(len(body.model_dump_json()) + 90 for body in bodies)
        output = self._tests(first, lines) if tests else "\n".join(lines[first:])
        content = (output + "\n[exit code 0]")[-room:] if tests else output[: room - 20] + "\n[exit code 0]"
        result = ToolResult(call_id=call.id, name="bash", content=content)
        took = round(self._random.random(), 6)
        bodies[2] = e.CallFinished(
            step=number, result=result, exit_code=0, duration_s=took, total_bytes=len(result.content)
        )
        return bodies, patch

    def _say(self, length: int) -> str:
        start = self._random.randrange(len(self._prose) - length)
        return self._prose[start : start + length]

    def _tests(self, first: int, lines: list[str]) -> str:
        dots = [f"tests/test_{name}: {'.' * self._random.randrange(5, 40)}" for name in self._files]
        source = [f"    {line}" for line in lines[first : first + 25]]
        passed, seconds = self._random.randrange(100, 300), self._random.random()
        return "\n".join([*dots, "=" * 30 + " FAILURES", *source, f"1 failed, {passed} passed in {seconds:.2f}s"])

    def _patch(self, name: str, first: int, number: int) -> bytes:
        lines = self._files[name][first : first + 6]
        head = f"--- a/src/{name}\n+++ b/src/{name}\n@@ -{first},6 +{first},7 @@\n"
        return (head + "\n".join(f" {line}" for line in lines) + f"\n+    changed = {number}\n").encode()


def begun(client: Redis, base: Base | None = None, *, signer: Signer | None = None) -> Writer:
    """Record and claim a run; return its writer."""
    base = base or Base(project="p" * 12, commit="c" * 40, tree="t" * 40, name="small", source="/nowhere")
    run_id = new_run_id()
    spec = RunSpec(task="mend it", repo=base, model="mimo/mimo-v2.5-pro", image="")
    create(client, run_id, "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    fence = claim(client, run_id, 1, lease_seconds=_FENCE_SECONDS)
    if not isinstance(fence, int):
        raise TypeError(fence)
    writer = Writer(client, run_id, who="bench:1", fence=fence, lease_seconds=_FENCE_SECONDS, signer=signer)
    writer.append(e.Claimed(attempt=1, fence=fence, worker="bench:1", host="bench"))
    writer.append(e.SandboxReady(image="i", image_id="i", container="c", tree=base.tree, policy={}))
    return writer


def _id(what: str, number: int) -> str:
    return hashlib.sha1(f"{what}{number}".encode(), usedforsecurity=False).hexdigest()
