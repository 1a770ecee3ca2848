"""What is submitted is proven before the work ends: real sandboxes, a real journal, scripted replies."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from proving import CHECK, MEND, Proving, proving, refusals, told
from working import SUBMIT, base, bash, box, kinds, lose, opened, results, script, start

from orchestrator import events as e
from orchestrator.agent.ending import Ending, Kind
from orchestrator.court import Court, accepted
from orchestrator.journal.fold import fold
from orchestrator.runs import Acceptance, State, Weakening
from orchestrator.settings import RunLimits
from orchestrator.stop import Stop, Stopped
from sandbox.errors import ChannelLost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from redis import Redis

    from orchestrator.agent.context import Context
    from orchestrator.journal.writer import Writer
    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "proving", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]

ONCE = RunLimits(submits=1)


def test_a_refused_submission_goes_on_in_the_same_sandbox_and_is_told_why(start: Any, proving: Proving) -> None:
    journal = start(accept=CHECK)
    left = bash("touch /tmp/left; export WHO=me")
    replies = script([left], SUBMIT, [bash("test -e /tmp/left && echo $WHO"), MEND], SUBMIT)
    assert proving.work(journal, replies) == Ending(Kind.SUBMITTED, summary="done")
    [refused], [text] = refusals(journal), told(journal)
    assert (refused.why, refused.step) == ("the acceptance command fails on the final tree", 2)
    assert "AssertionError: 9\n[exit code 1]" in text
    assert "This is refusal 1 of 5" in text
    assert results(journal)[2].content == "me\n[exit code 0]"
    view = journal.view
    assert [verdict.passed for verdict in view.verdicts] == [True]
    assert (view.state, view.refusals, accepted(view)) == (State.FINISHING, 1, "")


def test_while_it_is_refused_the_run_is_at_work(start: Any, proving: Proving) -> None:
    journal = start(accept=CHECK)
    proving.work(journal, script(SUBMIT, [MEND], SUBMIT))
    at = next(place for place, event in enumerate(journal.events) if isinstance(event.body, e.Refused))
    view = fold(journal.view.id, journal.events[: at + 1])
    assert (view.state, len(view.verdicts)) == (State.RUNNING, 1)
    mended = next(place for place, event in enumerate(journal.events[at:]) if isinstance(event.body, e.Checkpointed))
    assert fold(journal.view.id, journal.events[: at + mended + 1]).verdicts == (), "of another tree it proves nothing"


def test_after_so_many_refusals_the_work_ends_and_the_same_tree_is_proven_once(start: Any, proving: Proving) -> None:
    journal = start(accept=CHECK, limits=RunLimits(submits=3))
    ending = proving.work(journal, script([bash("touch new")], SUBMIT))
    reason = "the acceptance command fails on the final tree"
    assert ending == Ending(Kind.REFUSED, summary=ending.summary, reason=reason)
    assert [one.again for one in refusals(journal)] == [False, True], "the third ends it"
    assert proving.fresh == 2, "a failure is run again, in case it's flaky; then never again on the same tree"
    assert [verdict.runs for verdict in journal.view.verdicts] == [2]
    assert "Nothing has changed since it was refused last" in told(journal)[1]


def test_open_items_of_the_plan_keep_it_from_being_submitted(start: Any, proving: Proving) -> None:
    journal = start()
    plan = [("note", {"kind": "task", "text": text}) for text in ("look", "mend", "test", "tidy up")]
    states = [{"id": "t1", "state": "done"}, {"id": "t2", "state": "in_progress"}, {"id": "t4", "state": "abandoned"}]
    closed = [
        {"id": "t2", "state": "done"},
        {"id": "t3", "state": "abandoned", "why": "there are none"},
        {"id": "t4", "why": "nothing to tidy"},
    ]
    replies = script(
        [*plan, *SUBMIT],
        [*(("note", one) for one in states), *SUBMIT],
        [*(("note", one) for one in closed), *SUBMIT],
    )
    assert proving.work(journal, replies) == Ending(Kind.SUBMITTED, summary="done")
    submits = [result for result in results(journal) if result.name == "submit"]
    assert [result.ok for result in submits] == [False, False, True]
    assert "t1 (open): look\nt2 (open): mend\nt3 (open): test\nt4 (open): tidy up" in submits[0].content
    assert "t2 (in progress): mend\nt3 (open): test\nt4 (abandoned without why): tidy up" in submits[1].content
    assert "t1" not in submits[1].content


def test_whoever_submits_an_open_plan_over_and_over_is_stopped(start: Any, proving: Proving) -> None:
    journal = start()
    ending = proving.work(journal, script([("note", {"kind": "task", "text": "mend"})]))
    assert ending.kind is Kind.LOOPED
    assert journal.view.step < 12


def test_another_attempt_proves_again_what_was_submitted(start: Any, proving: Proving, client: Redis) -> None:
    journal = start(accept=CHECK)
    replies = script([MEND], SUBMIT)
    for number, crash in enumerate(("finish_started", "judged"), start=1):
        journal = lose(client, _until(journal, proving, replies, crash), number)
        assert journal.view.verdicts == ()
    assert proving.work(journal, replies).kind is Kind.SUBMITTED
    assert [verdict.passed for verdict in journal.view.verdicts] == [True]
    assert journal.view.step == 2, "nothing was done twice"


def _until(journal: Writer, proving: Proving, replies: str, kind: str) -> Writer:
    """Carry a run to where something of that kind is in its journal, and break off there."""

    class Cut(Court):
        def refuses(self, context: Context) -> e.Refused | None:
            super().refuses(context)
            raise ChannelLost("broken off")

    def breaks(tree: str, shell: str = "", /) -> AbstractContextManager[Sandbox]:
        if kind == "finish_started":
            raise ChannelLost("broken off")
        return proving.open(tree, shell)

    with pytest.raises(ChannelLost):
        proving.work(journal, replies, court=Cut(journal.view.spec, journal, proving.store, breaks, None))
    assert journal.events[-1].body.type == kind
    return journal


def test_a_refusal_that_was_journalled_is_gone_on_from(start: Any, proving: Proving, client: Redis) -> None:
    journal = start(accept=CHECK)
    stop = Stop()

    class Stops(Court):
        def refuses(self, context: Context) -> e.Refused | None:
            stop.set("lease lost")
            return super().refuses(context)

    court = Stops(journal.view.spec, journal, proving.store, proving.open, None)
    replies = script(SUBMIT, [MEND], SUBMIT)
    with pytest.raises(Stopped):
        proving.work(journal, replies, court=court, stop=stop)
    journal = lose(client, journal, 1)
    assert proving.work(journal, replies).kind is Kind.SUBMITTED
    assert len(refusals(journal)) == 1
    assert [kind for kind in kinds(journal) if kind == "judged"] == ["judged"] * 2


def test_what_a_person_says_meanwhile_is_heard_even_at_the_last_refusal(start: Any, proving: Proving) -> None:
    journal = start(accept=CHECK, limits=RunLimits(submits=1))

    class Talks(Court):
        def refuses(self, context: Context) -> e.Refused | None:
            if not refusals(journal):
                journal.append(e.Steered(text="look at calc.py"))
            return super().refuses(context)

    court = Talks(journal.view.spec, journal, proving.store, proving.open, None)
    assert proving.work(journal, script(SUBMIT, [MEND], SUBMIT), court=court).kind is Kind.SUBMITTED
    assert any("look at calc.py" in text for text in told(journal))


@pytest.mark.parametrize(
    ("days", "kind", "words"),
    [("-++", Kind.SUBMITTED, "passed 2 of 3"), ("-+-", Kind.REFUSED, "passed 1 of 3"), ("--", Kind.REFUSED, "")],
)
def test_a_failure_is_run_again_and_flaky_where_they_differ(
    start: Any, proving: Proving, *, days: str, kind: Kind, words: str
) -> None:
    journal = start(accept=Acceptance(command="echo ran; test -e /tmp/good-day", origin="flag"), limits=ONCE)

    @contextmanager
    def some_days(tree: str, shell: str = "", /) -> Iterator[Sandbox]:
        with proving.open(tree, shell) as box:
            if days[proving.fresh - 1] == "+":
                box.run("touch /tmp/good-day")
            yield box

    court = Court(journal.view.spec, journal, proving.store, some_days, None)
    ending = proving.work(journal, script([MEND], SUBMIT), court=court)
    [verdict] = journal.view.verdicts
    assert (ending.kind, proving.fresh, verdict.runs) == (kind, len(days), len(days))
    assert verdict.flaky == (f"flaky: {words}" if words else "")
    assert verdict.flaky in (ending.reason or accepted(journal.view))
    assert verdict.flake == ("ran\n" if kind is Kind.SUBMITTED else "")


@pytest.mark.parametrize("command", ["exit 126", "exit 127"])
def test_what_cannot_run_is_not_run_again(start: Any, proving: Proving, command: str) -> None:
    journal = start(accept=Acceptance(command=command, origin="flag"), limits=ONCE)
    assert proving.work(journal, script([MEND], SUBMIT)).kind is Kind.REFUSED
    assert (proving.fresh, journal.view.verdicts[0].runs) == (1, 1)


def test_a_plan_that_is_opened_behind_the_submission_is_open(start: Any, proving: Proving) -> None:
    journal = start(accept=CHECK)
    later = [MEND, *SUBMIT, ("note", {"kind": "task", "text": "mend the rest"})]
    done = ("note", {"id": "t1", "state": "done"})
    assert proving.work(journal, script(later, [done, *SUBMIT])).kind is Kind.SUBMITTED
    [found] = refusals(journal)
    assert found.why == "items of its plan are open: t1 (open): mend the rest"
    assert found.why in told(journal)[0]
    assert proving.fresh == 1, "nothing is proven before"


def test_a_claim_without_work_is_flagged(start: Any, proving: Proving) -> None:
    journal = start()
    proving.work(journal, script(SUBMIT))
    assert [found.kind for found in journal.view.weakened] == [Weakening.NOTHING]
    assert accepted(journal.view) == "no acceptance command: nothing proves it; flagged: nothing changed"
