"""Best of N: real sandboxes and forks, a real journal, and scripted candidates for the step behind a loop."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import docker
import pytest
from working import SUBMIT, base, bash, lose, start

from orchestrator import events as e
from orchestrator.agent.around import Around
from orchestrator.agent.context import Context, Projection
from orchestrator.agent.lanes import lanes_for
from orchestrator.agent.loop import Agent, Ending, Kind
from orchestrator.audit import audited
from orchestrator.cli.narrator import Narrator
from orchestrator.costs import costs
from orchestrator.errors import ModelError
from orchestrator.models import catalog, open_script
from orchestrator.models.port import SILENT, Listener
from orchestrator.runs import Acceptance
from orchestrator.settings import RunLimits
from orchestrator.stop import CANCELLED, LOST, Stop, Stopped
from sandbox.errors import WorkspaceError
from sandbox.images import base_image
from sandbox.open import Sandbox, open_sandbox
from sandbox.spec import Base, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

    from orchestrator.agent.around import Models
    from orchestrator.dialogue import Reply, Request
    from orchestrator.journal.writer import Writer
    from orchestrator.models.port import Model
    from sandbox.store import Store

    Calls = list[tuple[str, dict[str, Any]]]

__all__ = ["base", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]

CHECK = "python3 -c 'import calc; assert calc.double(4) == 8, calc.double(4)'"
LOOK = [bash("cat calc.py")]
MEND = [("edit", {"path": "calc.py", "old": " + 1\n", "new": "\n"})]
WORSE = [("write", {"path": "calc.py", "content": "def double(number):\n    return (number\n"})]
LONG = [bash("echo looks good; ls -la; true"), ("read", {"path": "calc.py"})]


class Forks:
    """Opens the run's sandbox and its forks, and counts them."""

    def __init__(self, store: Store, commit: Base, root: Path, run: str) -> None:
        self.run = run
        self.opened = 0
        self.broken: set[int] = set()
        self._at: tuple[Store, Base, Path] = (store, commit, root)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, tree: str | None = None, shell: str = "") -> Iterator[Sandbox]:
        with self._lock:
            self.opened += 1
            if self.opened in self.broken:
                raise WorkspaceError("there is no fork today")
        spec = SandboxSpec(image=base_image(), labels={"test": "candidates", "run": self.run})
        store, commit, root = self._at
        with open_sandbox(spec, store, commit, root, tree=tree, shell=shell) as box:
            yield box

    def left(self) -> int:
        """Return how many containers of this test are there."""
        client = docker.from_env()
        return len(client.containers.list(all=True, filters={"label": f"run={self.run}"}))


@pytest.fixture
def forks(base: tuple[Store, Base], tmp_path: Path) -> Iterator[Forks]:
    made = Forks(*base, tmp_path / "workspaces", tmp_path.name)
    yield made
    assert made.left() == 0
    assert not [one.name for one in threading.enumerate() if one.name.startswith("candidate")]


def line(calls: Calls, **more: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": arguments} for name, arguments in calls], **more}


def script(*behind: dict[str, Any], before: int = 3) -> str:
    """Return a script that goes round so often that a guard says so, and then goes on."""
    return "\n".join(json.dumps(one) for one in [*[line(LOOK)] * before, *behind])


def several(*candidates: Calls, otherwise: Calls | None = None) -> dict[str, Any]:
    usage = {"input_tokens": 100, "output_tokens": 10}
    return line(otherwise or LONG, candidates=[line(calls, usage=usage) for calls in candidates])


def work(
    journal: Writer,
    forks: Forks,
    text: str,
    *,
    stop: Stop | None = None,
    models: Models | None = None,
    box: Sandbox | None = None,
) -> Ending:
    around = Around(models=models or scripted(text), fork=forks)
    stop = stop or Stop()

    def run(box: Sandbox) -> Ending:
        model = open_script("scripted", text)
        return Agent(model, box, journal, journal.view.spec, stop, around=around).run()

    if box is not None:
        return run(box)
    with forks() as own:
        return run(own)


class Opened:
    """Opens models of one kind on a script."""

    def __init__(self, kind: Callable[[str], Model], text: str) -> None:
        self._kind = kind
        self._text = text

    def __call__(self, name: str, /, *, agent: str = "") -> Model:
        assert (name, agent) == ("scripted", "")
        return self._kind(self._text)


def scripted(text: str) -> Opened:
    return Opened(lambda text: open_script("scripted", text), text)


def begin(start: Any, *, candidates: int = 4, check: str = CHECK, **limits: Any) -> Writer:
    accept = Acceptance(command=check, origin="flag") if check else None
    journal: Writer = start(limits=RunLimits(candidates=candidates, **limits), accept=accept)
    return journal


def of(journal: Writer, kind: type[Any]) -> list[Any]:
    return [event.body for event in journal.events if isinstance(event.body, kind)]


def test_the_one_that_passes_wins_though_it_comes_last(start: Any, forks: Forks) -> None:
    journal = begin(start)
    text = script(several(LONG, WORSE, LOOK, MEND), line(SUBMIT))
    assert work(journal, forks, text).kind is Kind.SUBMITTED
    [proposed], [chosen] = of(journal, e.Proposed), of(journal, e.Chosen)
    assert (proposed.step, len(proposed.candidates)) == (4, 4)
    assert [one.same_as for one in proposed.candidates] == [0, 0, 0, 0]
    assert (chosen.candidate, chosen.why, chosen.command) == (4, "its check passes", CHECK)
    assert [one.passed for one in chosen.tried] == [False, False, False, True]
    assert [(one.errors, len(one.ran)) for one in chosen.tried] == [(0, 2), (1, 1), (0, 1), (0, 1)]
    step = [event.body for event in journal.events if getattr(event.body, "step", 0) == 4]
    assert [body.type for body in step] == [
        "proposed",
        "chosen",
        "replied",
        "call_started",
        "call_finished",
        "checkpointed",
    ]
    assert [file.path for file in of(journal, e.Checkpointed)[3].files] == ["calc.py"], "and it ran for real"
    assert forks.opened == 1 + lanes_for(4), "one for each core, and the run's own"


def test_losers_are_paid_for_and_told(start: Any, forks: Forks) -> None:
    journal = begin(start)
    work(journal, forks, script(several(LONG, MEND, LONG, LOOK), line(SUBMIT)))
    told = costs("scripted", journal.events, catalog({}))
    assert [(one.step, one.kind) for one in told.replies if one.step == 4] == [(4, "candidate")] * 4
    assert told.usage == journal.view.usage
    narrator = Narrator()
    lines = [one for event in journal.events for one in narrator.tell(event)]
    assert narrator.usage == told.usage
    plain = "\n".join(f"{one.label}: {one.text.plain}" for one in lines)
    assert "candidates: 4 replies at once for step 4, 3 of them different" in plain
    assert "2: ✓ the check passes" in plain
    assert "1: ✗ the check fails: exit code 1 · 2 calls" in plain
    assert "2 is taken: its check passes" in plain
    audit = [one.text for one in audited(journal.events) if one.kind in {"candidate", "tried", "chosen"}]
    assert "candidate 1: $ echo looks good; ls -la; true" in audit
    assert f"candidate 2: $ {CHECK} in the fork" in audit
    assert audit[-1] == "candidate 2 is taken: its check passes"


def test_only_a_hard_step_has_candidates_and_only_once(start: Any, forks: Forks) -> None:
    journal = begin(start)
    work(journal, forks, script(*[several(MEND, LONG)] * 2, line(SUBMIT), before=2))
    assert not of(journal, e.Proposed), "no guard said anything"
    assert forks.opened == 1

    journal = begin(start, candidates=1)
    work(journal, forks, script(several(MEND, LONG), line(SUBMIT)))
    assert of(journal, e.Guarded)
    assert not of(journal, e.Proposed), "off by default"


def test_forks_are_kept_and_rewound_to_the_newest_checkpoint(start: Any, forks: Forks) -> None:
    journal = begin(start, candidates=2)
    leave = [bash(f"echo {name} > notes; export LEFT={name}; sleep 1000 &") for name in ("one", "two")]
    as_it_is = bash('[ "$LEFT" = one ] && [ "$(cat notes)" = one ] && ! pgrep -x sleep')
    again = [line([bash("cat notes")])] * 3
    behind = [several(leave[:1], leave[1:]), *again, several([as_it_is], [as_it_is, *MEND]), line(SUBMIT)]
    work(journal, forks, script(*behind))
    one, two = of(journal, e.Chosen)
    assert (one.candidate, two.candidate) == (1, 2)
    assert [[ran.exit_code for ran in tried.ran] for tried in two.tried] == [[0], [0, None]]
    assert forks.opened == 3


def test_the_main_sandbox_is_left_alone(start: Any, forks: Forks) -> None:
    journal = begin(start, candidates=3)
    touch = bash("touch /workspace/loser /tmp/loser; pkill -f 'sleep 4711'; cd / && export LOST=1")
    with forks() as box:
        box.run("sleep 4711 & echo mine > /tmp/mine; export KEPT=1; mkdir -p sub; cd sub")
        work(journal, forks, script(several([touch], [touch, *LONG], MEND), line(SUBMIT)), box=box)
        said = box.run("ls /workspace /tmp; echo $KEPT $LOST $PWD; jobs -l | wc -l").output.decode()
        assert "mine" in said
        assert "loser" not in said
        assert "1  /workspace/sub".replace("  ", " ") in said.replace("  ", " ")
        assert [one.command for one in box.background()] == ["sleep 4711"]


def test_ties_are_the_first_ones(start: Any, forks: Forks) -> None:
    journal = begin(start)
    mended = [bash("sed -i 's/ + 1$//' calc.py")]
    work(journal, forks, script(several(LONG, MEND, mended), line(SUBMIT)))
    [chosen] = of(journal, e.Chosen)
    assert (chosen.candidate, chosen.why) == (2, "its check passes: the first one")


def test_where_all_fail_the_nearest_one_is_taken(start: Any, forks: Forks) -> None:
    check = "cat found; false"
    three = [bash("for n in 1 2 3; do echo calc.py:$n:1: error: no such thing; done > found")]
    one = [bash("for n in 1; do echo calc.py:$n:1: error: no such thing; done > found")]
    journal = begin(start, candidates=3, check=check)
    work(journal, forks, script(several(three, one, LOOK), line(SUBMIT)))
    [chosen] = of(journal, e.Chosen)
    assert [tried.errors for tried in chosen.tried] == [3, 1, 0]
    assert (chosen.candidate, chosen.why) == (2, "fewer errors than the others")


def test_without_a_check_the_most_that_agree_win_and_no_fork_is_opened(start: Any, forks: Forks) -> None:
    journal = begin(start, check="")
    work(journal, forks, script(several(LOOK, MEND, LONG, MEND), line(SUBMIT)))
    [chosen] = of(journal, e.Chosen)
    assert (chosen.candidate, chosen.why, chosen.tried) == (2, "2 of 4 ask for the same", ())
    assert [one.same_as for one in of(journal, e.Proposed)[0].candidates] == [0, 0, 0, 2]
    assert forks.opened == 1


def test_identical_replies_are_run_once(start: Any, forks: Forks) -> None:
    journal = begin(start)
    work(journal, forks, script(several(MEND, LONG, MEND, LONG), line(SUBMIT)))
    assert [one.candidate for one in of(journal, e.Chosen)[0].tried] == [1, 2]
    journal = begin(start)
    work(journal, forks, script(line(MEND), line(SUBMIT)))
    [chosen] = of(journal, e.Chosen)
    assert (chosen.candidate, chosen.why, chosen.tried) == (1, "4 of 4 ask for the same", ())


def test_a_crash_behind_the_choice_goes_on_with_it(client: Redis, start: Any, forks: Forks) -> None:
    journal, stop = begin(start), Stop()
    hangs = [bash("test ! -e /tmp/main || sleep 60"), *MEND]  # In the run's own sandbox, not in a fork.
    text = script(several(LONG, hangs), line(SUBMIT))
    with forks() as box:
        box.run("touch /tmp/main")
        forget = stop.on_set(box.kill)
        killer = threading.Thread(target=when, args=(journal, e.Replied, 4, lambda: stop.set("killed")))
        killer.start()
        with pytest.raises(Stopped):
            work(journal, forks, text, stop=stop, box=box)
        killer.join()
        forget()
    again = lose(client, journal, 1)
    assert work(again, forks, text).kind is Kind.SUBMITTED
    assert len(of(again, e.Proposed)) == 1, "nothing is asked for or paid for twice"
    assert [body.candidate for body in of(again, e.Replied) if body.step == 4] == [2]
    assert again.view.tree != again.view.spec.repo.tree


@pytest.mark.parametrize("reason", [CANCELLED, LOST])
def test_a_stop_ends_all_of_it_at_once(start: Any, forks: Forks, reason: str) -> None:
    journal, stop = begin(start), Stop()
    slow = [[bash(f"sleep {60 + number}")] for number in range(4)]
    began: list[float] = []

    def end() -> None:
        time.sleep(0.5)
        began.append(time.monotonic())
        stop.set(reason)

    killer = threading.Thread(target=when, args=(journal, e.Proposed, 4, end))
    killer.start()
    with pytest.raises(Stopped):
        work(journal, forks, script(several(*slow), line(SUBMIT)), stop=stop)
    assert time.monotonic() - began[0] < 5
    killer.join()
    assert not of(journal, e.Chosen)
    assert costs("s", journal.events, catalog({})).usage == journal.view.usage


class Disturbed:
    """The scripted model, which something happens to before each reply."""

    name = "scripted"
    prompt_limit = reply_limit = 0

    def __init__(self, text: str) -> None:
        self._script = open_script("scripted", text)

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        return self._script.most_usd(prompt_tokens, reply_tokens)

    def ask(
        self,
        request: Request,
        stop: Stop,
        listener: Listener = SILENT,
        *,
        within_s: float | None = None,
        most_tokens: int = 0,
    ) -> Reply:
        self.before(request.candidate, stop)
        return self._script.ask(request, stop, listener, within_s=within_s, most_tokens=most_tokens)

    def before(self, candidate: int, stop: Stop) -> None:
        """Do what happens."""

    def close(self) -> None:
        self._script.close()


class Hanging(Disturbed):
    """A model whose first candidate is there at once; the others come when they are stopped."""

    def before(self, candidate: int, stop: Stop) -> None:
        if candidate > 1:
            stopped = threading.Event()
            stop.on_set(stopped.set)
            stopped.wait(30)
            stop.check()


def test_replies_that_came_before_a_stop_are_paid_for(start: Any, forks: Forks) -> None:
    journal, stop = begin(start), Stop()
    text = script(several(MEND, LONG, LOOK), line(SUBMIT))
    killer = threading.Thread(target=when, args=(journal, e.Guarded, 3, lambda: (time.sleep(1), stop.set(CANCELLED))))
    killer.start()
    with pytest.raises(Stopped):
        work(journal, forks, text, stop=stop, models=Opened(Hanging, text))
    killer.join()
    [proposed] = of(journal, e.Proposed)
    assert [one.failure for one in proposed.candidates] == ["", CANCELLED, CANCELLED, CANCELLED]
    assert journal.view.usage == costs("s", journal.events, catalog({})).usage


def when(journal: Writer, kind: type[Any], step: int, do: Callable[[], object]) -> None:
    """Do something as soon as there is an event of this kind and step."""
    until = time.monotonic() + 30
    while not any(isinstance(one.body, kind) and one.body.step == step for one in list(journal.events)):
        assert time.monotonic() < until
        time.sleep(0.02)
    do()


class FailingModel(Disturbed):
    """A model whose replies but one fail."""

    def before(self, candidate: int, stop: Stop) -> None:  # noqa: ARG002  # It needs none.
        if candidate in {1, 2}:
            raise ModelError("it said nonsense")
        if candidate == 3:
            raise RuntimeError("a bug")


def test_what_goes_wrong_loses_that_candidate_and_nothing_else(start: Any, forks: Forks) -> None:
    text = script(several(LONG, LONG, LONG, MEND, LOOK), line(SUBMIT))
    journal = begin(start, candidates=5)
    forks.broken = {2}
    assert work(journal, forks, text, models=Opened(FailingModel, text)).kind is Kind.SUBMITTED
    failures = [one.failure for one in of(journal, e.Proposed)[0].candidates]
    assert failures == ["it said nonsense", "it said nonsense", "RuntimeError: a bug", "", ""]
    assert len(of(journal, e.Chosen)) == 1


def test_where_all_are_lost_the_step_is_an_ordinary_one(start: Any, forks: Forks) -> None:
    text = script(several(LONG, LOOK, otherwise=MEND), line(SUBMIT))
    journal = begin(start, candidates=2)
    forks.broken = set(range(2, 99))
    assert work(journal, forks, text).kind is Kind.SUBMITTED
    [chosen] = of(journal, e.Chosen)
    assert (chosen.candidate, {one.failure for one in chosen.tried}) == (0, {"there is no fork today"})
    assert [body.candidate for body in of(journal, e.Replied) if body.step == 4] == [0]
    assert len([one for one in costs("s", journal.events, catalog({})).replies if one.step == 4]) == 3


class Priced:
    """A scripted model whose tokens cost: 10 US dollars per million, whichever way they go."""

    name = "scripted"
    prompt_limit = 0
    reply_limit = 4_000

    def __init__(self, text: str) -> None:
        self._script = open_script("scripted", text)

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        return (prompt_tokens + reply_tokens) / 100_000

    def ask(
        self,
        request: Request,
        stop: Stop,
        listener: Listener = SILENT,
        *,
        within_s: float | None = None,
        most_tokens: int = 0,
    ) -> Reply:
        reply = self._script.ask(request, stop, listener, within_s=within_s, most_tokens=most_tokens)
        return reply.model_copy(update={"cost_usd": self.most_usd(reply.usage.input_tokens, reply.usage.output_tokens)})

    def close(self) -> None:
        self._script.close()


@pytest.mark.parametrize(("fit", "asked"), [(2.5, 2), (1.5, 0)])
def test_a_budget_that_has_room_for_fewer(start: Any, forks: Forks, fit: float, asked: int) -> None:
    text = script(several(LONG, MEND, LOOK, otherwise=MEND), line(SUBMIT))
    reply = {"input_tokens": 0, "output_tokens": 0}
    text = text.replace('"calls"', f'"usage": {json.dumps(reply)}, "calls"')
    first = begin(start)
    work(first, forks, text)
    tokens = Projection().follow(first.events[: at(first, e.Proposed)]).most_tokens
    journal = begin(start, money_usd=fit * (tokens + Priced.reply_limit) / 100_000)
    with forks() as box:
        around = Around(models=Opened(Priced, text), fork=forks)
        ending = Agent(Priced(text), box, journal, journal.view.spec, Stop(), around=around).run()
    assert ending.kind is Kind.SUBMITTED
    assert [len(one.candidates) for one in of(journal, e.Proposed)] == ([asked] if asked else [])
    assert (journal.view.cost_usd or 0) <= journal.view.limits.money_usd


def at(journal: Writer, kind: type[Any]) -> int:
    """Return how many events there were before the first one of this kind."""
    return next(number for number, event in enumerate(journal.events) if isinstance(event.body, kind))


class Refusing:
    """A court that refuses the first submission."""

    def __init__(self) -> None:
        self._refused = False

    def refuses(self, context: Context, /) -> e.Refused | None:
        if self._refused:
            return None
        self._refused = True
        return e.Refused(step=context.step, why="it isn't done")


def test_behind_a_refused_submission_there_are_candidates_too(start: Any, forks: Forks) -> None:
    journal = begin(start, candidates=2)
    text = script(line(SUBMIT), several(LONG, MEND), line(SUBMIT), before=0)
    with forks() as box:
        around = Around(models=scripted(text), fork=forks, court=Refusing())
        ending = Agent(open_script("scripted", text), box, journal, journal.view.spec, Stop(), around=around).run()
    assert ending.kind is Kind.SUBMITTED
    assert [(one.step, one.candidate) for one in of(journal, e.Chosen)] == [(2, 2)]
