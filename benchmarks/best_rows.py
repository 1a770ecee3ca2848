"""Best of 4 against one by one: the same four requests, forks and checks, side by side and in turn.

A real client asks a model server of this machine that takes 200 ms; forks are real sandboxes on a small repository,
whose tests are the check. The first time opens the forks, later ones rewind them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.cli import BARE, QUIET_SECONDS, own_redis, seconds
from benchmarks.report import Row, row
from orchestrator import events as e
from orchestrator.agent.around import Around
from orchestrator.agent.asker import Asker
from orchestrator.agent.budget import Budget
from orchestrator.agent.candidates import Candidates
from orchestrator.agent.choosing import by_results
from orchestrator.agent.context import Context, Projection
from orchestrator.agent.hearing import Failures
from orchestrator.agent.lanes import Lane, Point
from orchestrator.agent.trying import try_out
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.journal.connection import connect
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer, create
from orchestrator.models import catalog, open_model
from orchestrator.runs import Acceptance, RunSpec, new_run_id
from orchestrator.settings import RunLimits
from orchestrator.stop import Stop
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec
from sandbox.store import Store
from tests.fakes.fake_provider import Answer, FakeProvider, chat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from redis import Redis

    from orchestrator.models.port import Model
    from sandbox.open import Sandbox
    from sandbox.spec import Base

RATIO: Final = 0.5
CANDIDATES: Final = 4
MODEL_S: Final = 0.2
ROUNDS: Final = 5
_WITHIN_S: Final = 600.0
_CHECK: Final = "python3 -m unittest -q"
_BUG: Final = "def double(number):\n    return number + number + {}\n"
_TEST: Final = (
    "import unittest\n\nfrom calc import double\n\n\nclass Test(unittest.TestCase):\n"
    "    def test_double(self):\n        self.assertEqual(double(4), 8)\n"
)
_FAMILY: Final = {"wire": "chat", "key_optional": True, "models": {"fake": {"price": [0.0, 0.0, 0.0]}}}


class Took(NamedTuple):
    """Seconds from the request to the choice, the first time and when the forks are there."""

    first: float
    again: float


class Ground:
    """A repository with a bug, the store and the sandboxes on it, and a journal that is behind a loop."""

    def __init__(self, folder: Path, client: Redis, url: str) -> None:
        """Take a folder, a Redis and the address of the model server."""
        repo = folder / "repo"
        repo.mkdir()
        (repo / "calc.py").write_text(_BUG.format(1))
        (repo / "test_calc.py").write_text(_TEST)
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
        for arguments in (("init", "--quiet"), ("add", "-A"), (*identity, "commit", "--quiet", "-m", "base")):
            subprocess.run(["git", "-C", str(repo), *arguments], check=True)
        self.client = client
        self.store, self.root = Store(folder / "store"), folder / "workspaces"
        self.base: Base = self.store.import_commit(repo)
        self._known = catalog({"best": {**_FAMILY, "base_url": url}})

    def fork(self, tree: str, shell: str = "", /) -> AbstractContextManager[Sandbox]:
        """Open a sandbox on a tree."""
        spec = SandboxSpec(image=base_image())
        return open_sandbox(spec, self.store, self.base, self.root, tree=tree, shell=shell)

    def model(self, name: str, /, *, agent: str = "") -> Model:
        """Open a model; the run's agent is the only one."""
        del agent
        return open_model(self._known.choose(name), os.environ)

    @contextmanager
    def run(self) -> Iterator[Writer]:
        """Have a run whose last step was found to be in a loop; its sandbox is there while the block runs."""
        accept, limits = Acceptance(command=_CHECK, origin="flag"), RunLimits(candidates=CANDIDATES)
        spec = RunSpec(task="Mend it.", repo=self.base, model="best/fake", image="", accept=accept, limits=limits)
        run_id = new_run_id()
        create(self.client, run_id, "bench", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        fence = claim(self.client, run_id, 1, lease_seconds=600)
        journal = Writer(self.client, run_id, who="bench", fence=int(fence), lease_seconds=600)
        journal.append(e.Claimed(attempt=1, fence=int(fence), worker="w", host="h"))
        with self.fork(self.base.tree) as box:
            ready = e.SandboxReady(image="i", image_id="i", container="c", tree=self.base.tree, policy={})
            journal.append(ready, e.Prompted(system="You mend code.", text="Mend it."))
            call = ToolCall(id="c", name="bash", arguments={"command": "ls"})
            journal.append(e.Replied(step=1, reply=Reply(calls=(call,))))
            committed(journal, box)
            yield journal


def committed(journal: Writer, box: Sandbox) -> None:
    """Commit the step that was begun as one that did nothing, and have it be found to be in a loop."""
    context = _context(journal)
    step = context.step + 1
    for call in context.open_reply.calls if context.open_reply is not None else ():
        result = ToolResult(call_id=call.id, name=call.name, content="[exit code 0]")
        journal.append(e.CallStarted(step=step, call=call), e.CallFinished(step=step, result=result))
    taken = box.checkpoint(note=journal.head)
    told = e.Guarded(step=step, kind="calls", level="remind", reason="again and again", since=step)
    journal.append(e.Checkpointed(step=step, commit=taken.commit, tree=taken.tree, shell=taken.shell), told)


def answers() -> list[Answer]:
    """Return the four replies: three that mend nothing, and one that does."""
    contents = [_BUG.format(number) for number in range(2, CANDIDATES + 1)] + [_BUG.format(0)]
    calls = [json.dumps({"path": "calc.py", "content": content}) for content in contents]
    made = [chat("", calls=[(f"call_{n}", "write", call)]) for n, call in enumerate(calls)]
    return [Answer(chunks=one.chunks, silent_s=MODEL_S) for one in made]


def side_by_side(ground: Ground, provider: FakeProvider) -> Took:
    """Have the harness propose, twice."""
    with ground.run() as journal, ground.fork(ground.base.tree) as box, closing(ground.model("best/fake")) as model:
        around, budget = Around(models=ground.model, fork=ground.fork), Budget.of(journal)
        candidates = Candidates(around, journal, journal.view.spec, Stop(), budget)
        took = []
        try:
            for _ in range(2):
                provider.answers += answers()
                context, began = _context(journal), time.monotonic()
                candidates.begun(context, model, _WITHIN_S)
                took.append(time.monotonic() - began)
                _require(journal.events[-2].body)
                committed(journal, box)
        finally:
            candidates.close()
        return Took(*took)


def one_by_one(ground: Ground, provider: FakeProvider) -> Took:
    """Do the same in turn, twice: ask, fork, carry out and check, one candidate after the other."""
    with ground.run() as journal:
        stop = Stop()
        places = [(Asker(ground.model, stop), Lane(ground.fork, stop)) for _ in range(CANDIDATES)]
        took = []
        try:
            for _ in range(2):
                provider.answers += answers()
                context, began = _context(journal), time.monotonic()
                point, hearing = Point.of(journal.events), Failures(journal, context.step + 1)
                tried = []
                for place, (asker, lane) in enumerate(places, start=1):
                    reply = asker.ask("best/fake", context.request, hearing, _WITHIN_S)
                    box = lane.take(point)
                    tried.append(try_out(box, place, reply.calls, _CHECK, stop=stop, within_s=_WITHIN_S))
                choice = by_results(tried)
                took.append(time.monotonic() - began)
                _require(e.Chosen(step=1, candidate=choice.candidate, why=choice.why, tried=tuple(tried)))
        finally:
            for asker, lane in places:
                asker.close()
                lane.close()
        return Took(*took)


def rows() -> list[Row]:
    """Return the rows; as root, with an engine and the base image."""
    floor, together, in_turn = [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="ddb-") as name,
        tempfile.TemporaryDirectory(prefix="ddr-") as redis,
        own_redis(Path(redis)) as url,
        connect(url) as client,
        FakeProvider() as provider,
    ):
        ground = Ground(Path(name), client, f"{provider.url}/v1")
        ground.model("best/fake").close()  # As a worker does, who has loaded all of it before it takes a run.
        for _ in range(ROUNDS):
            floor.append(seconds(BARE, {}))
            together.append(side_by_side(ground, provider))
            in_turn.append(one_by_one(ground, provider))
    first = [one.first / other.first for one, other in zip(together, in_turn, strict=True)]
    again = [one.again / other.again for one, other in zip(together, in_turn, strict=True)]
    return [
        row(f"{_NAME}, forks opened", first, floor, unit="x", target=RATIO, quiet=QUIET_SECONDS),
        row(f"{_NAME}, forks there", again, floor, unit="x", target=RATIO, quiet=QUIET_SECONDS),
    ]


_NAME: Final = "best of 4 with a check, against one by one"


def _context(journal: Writer) -> Context:
    return Projection().follow(journal.events)


def _require(body: e.Body) -> None:
    """Make sure that what is measured was done."""
    if not isinstance(body, e.Chosen) or body.why != "its check passes" or len(body.tried) != CANDIDATES:
        raise SystemExit(f"the candidates weren't tried as they should be: {body!r}")
