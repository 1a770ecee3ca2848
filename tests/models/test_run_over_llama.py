"""A run of a dozen steps through every layer: command, queue, worker, client, model server, sandbox, acceptance."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama
import pytest
from docker.errors import NotFound
from kit import SECRET
from tiny_model import said, write_model

from benchmarks.stack import own_stack
from orchestrator.demo import bundled, make
from orchestrator.dialogue import Usage
from orchestrator.runs import Outcome, State
from sandbox import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.stack import Stack
    from orchestrator.dialogue import Reply

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]

FLAGS = ("--price", "0")  # A model of one's own has no known price.
ENVIRON = "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | sort -u"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with own_stack({"OPENAI_COMPATIBLE_API_KEY": SECRET}) as running:
        yield running


def test_a_dozen_steps_go_through_every_layer_and_leave_no_key(stack: Stack, tmp_path: Path) -> None:
    made = make(bundled("ledger"), tmp_path)
    look: dict[str, Any] = {
        "text": "What is around me?",
        "calls": [{"name": "bash", "arguments": {"command": ENVIRON}}],
    }
    script = [look, *map(json.loads, Path(made.script).read_text().splitlines())]
    write_model(tmp_path / "tiny.gguf", [reply(number, line) for number, line in enumerate(script, start=1)])
    with llama.serve(tmp_path / "tiny.gguf", context=65536, log=tmp_path / "log", key=SECRET) as server:
        flags = ("--model", "openai-compatible/tiny", "--base-url", server.base_url, *FLAGS)
        wanted = ("--repo", made.request.repo, "--accept", str(made.request.accept), *flags)
        queued = stack("run", made.request.task, *wanted, "-d")
        assert queued.returncode == 0, queued.stderr
        run_id = queued.stdout.strip()
        inspected = watched(stack, run_id)
        asked, counted = server.asked(least=len(script)), server.counted()

    view = stack.door.show(run_id).view
    assert (view.outcome, view.attempt, view.step) == (Outcome.SUCCEEDED, 1, len(script)), stack("logs", run_id).stdout
    assert [verdict.passed for verdict in view.verdicts] == [True]
    assert b"+    share, rest = divmod(cents, len(people))" in stack.door.diff(run_id)

    bodies = [event.body for event in stack.door.events(run_id)]
    steps = list(range(1, len(script) + 1))
    for kind in ("replied", "call_started", "call_finished", "checkpointed"):
        assert [body.step for body in bodies if body.type == kind] == steps, kind
    replies: list[Reply] = [body.reply for body in bodies if body.type == "replied"]
    for step, given in enumerate(replies, start=1):
        line = script[step - 1]
        assert (given.text.strip(), given.reasoning.strip()) == (line["text"], f"Step {step}, then.")
        assert [{"name": call.name, "arguments": call.arguments} for call in given.calls] == line["calls"]

    usages = [given.usage for given in replies]
    beside: list[Usage] = [body.reply.usage for body in bodies if body.type == "condensed"]
    assert beside, "a fifth of the window that is taken for unknown ones was reached"
    assert sorted(usage.input_tokens for usage in (*usages, *beside)) == sorted(asked)
    assert usages[0].cached_tokens == 0
    for before, usage in pairwise(usages):
        least = before.input_tokens * 0.99  # A summary asked for between them has its own end in the only slot.
        assert usage.cached_tokens >= least, "each request extends the one before"
    for usage in beside:
        assert usage.cached_tokens > 0.9 * usage.input_tokens, "the condenser has the cache of the work"
    assert view.usage == sum((*usages, *beside), Usage())
    assert view.usage.input_tokens - view.usage.cached_tokens == counted["prompt_tokens_total"]
    assert view.usage.output_tokens == counted["tokens_predicted_total"]

    assert inspected, "the run's container was seen while it ran"
    assert all(seen["HostConfig"]["LogConfig"]["Type"] == "none" for seen in inspected)
    told = next(body.result.content for body in bodies if body.type == "call_finished")
    assert "PATH=" in told
    assert SECRET not in json.dumps(inspected) + told
    for command in (("show",), ("logs",), ("audit", "--verify"), ("diff",)):
        for form in ((), ("--json",)):
            done = stack(command[0], run_id, *command[1:], *form)
            assert done.returncode == 0, done.stderr
            assert SECRET not in done.stdout + done.stderr
    left = kept(stack.settings.state_dir.parent)
    assert run_id.encode() in left, "the journal's file is among them"
    assert f"tree {view.tree}".encode() in left, "and so are the checkpoints"
    assert SECRET.encode() not in left


def reply(number: int, line: dict[str, Any]) -> str:
    calls = [(call["name"], call["arguments"]) for call in line["calls"]]
    return said(line["text"], reasoning=f"Step {number}, then.", calls=calls)


def watched(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    """Return what the engine tells of each container that the run had, seen until it was over."""
    seen: dict[str, dict[str, Any]] = {}
    while stack.door.show(run_id).view.state is not State.DONE:
        for container in stack.containers(run_id):
            with suppress(NotFound):  # It went in the meantime.
                seen[container] = engine.client().api.inspect_container(container)
        time.sleep(0.05)
    return list(seen.values())


def kept(root: Path) -> bytes:
    """Return every file below `root`, and every git object there as git reads it."""
    stores = [path.parent for path in root.rglob("objects") if path.is_dir()]
    assert stores, "the checkpoints are kept there"
    left = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    for store in stores:
        command = ("git", "--git-dir", store, "cat-file", "--batch-all-objects", "--batch")
        left.append(subprocess.run(command, capture_output=True, check=True).stdout)
    return b"".join(left)
