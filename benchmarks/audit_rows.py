"""The audit's figure: the whole command, its start included, over a signed run of 1,000 steps of 4 KB each."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.cli import BARE, QUIET_SECONDS, command, seconds
from benchmarks.journals import begun
from benchmarks.report import Row, row
from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.journal.connection import connect, redis_url
from orchestrator.journal.signing import Signer
from orchestrator.runs import Outcome
from sandbox.store import Store

if TYPE_CHECKING:
    from benchmarks.stack import Stack
    from orchestrator.journal.writer import Writer
    from sandbox.objects import Objects
    from sandbox.spec import Base

STEPS: Final = 1000
OUTPUT: Final = "drwxr-xr-x 2 job job 4096 Nov 25 15:04 src\n" * 93  # About 4 KB.
VERIFY_SECONDS: Final = 1.0
_ROUNDS: Final = 11


def measure(stack: Stack, *, brief: bool) -> list[Row]:
    """Return the row. The run stays in the stack's Redis, and its checkpoints' commits in the store."""
    state = stack.settings.state_dir
    with tempfile.TemporaryDirectory(prefix="ddb-") as name, connect(redis_url(stack.settings)) as client:
        store = Store(state / "repos")
        base = _base(Path(name), store)
        objects = store.objects(base.project)
        writer = begun(client, base, signer=Signer.load(state))
        for number in range(1, (100 if brief else STEPS) + 1):
            _step(writer, objects, base, number)
        objects.flush()
        writer.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    argv = (*command(), "audit", writer.view.id, "--verify")
    seconds(argv, stack.environ)  # Byte code is written, files are in memory.
    audits, bare = [], []
    for _ in range(2 if brief else _ROUNDS):
        bare.append(seconds(BARE, os.environ))
        audits.append(seconds(argv, stack.environ))
    what = "audit --verify of 1,000 steps"
    return [row(what, audits, bare, unit="s", target=VERIFY_SECONDS, quiet=QUIET_SECONDS)]


def _base(source: Path, store: Store) -> Base:
    commit = ("-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b", "--allow-empty")
    for arguments in (("init", "-q"), commit):
        subprocess.run(["git", "-C", source, *arguments], check=True)
    return store.import_commit(source)


def _step(writer: Writer, objects: Objects, base: Base, number: int) -> None:
    """Append a step as the agent does, and put its checkpoint's commit into the store."""
    call = ToolCall(id=f"c{number}", name="bash", arguments={"command": "ls -l src"})
    result = ToolResult(call_id=call.id, name="bash", content=OUTPUT)
    writer.append(e.Replied(step=number, reply=Reply(text="I look.", calls=(call,), cost_usd=0.0)))
    writer.append(e.CallStarted(step=number, call=call))
    text = f"tree {base.tree}\nparent {base.commit}\nauthor b <b> 0 +0000\ncommitter b <b> 0 +0000\n\n{writer.head}\n"
    commit = objects.put(b"commit", text.encode())
    writer.append(
        e.CallFinished(step=number, result=result, exit_code=0, total_bytes=len(OUTPUT)),
        e.Checkpointed(step=number, commit=commit, tree=base.tree),
    )
