"""Going back and forth in a run: the journal's side of it. The files' side is in tests/sandbox/test_rewind.py."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.api import connect
from orchestrator.dialogue import Reply, ToolCall, ToolResult, Turn
from orchestrator.errors import DreamdockError, HeadMovedError, NotFoundError, UsageError
from orchestrator.journal import index, keys
from orchestrator.journal.fold import fold
from orchestrator.journal.lease import claim
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import Outcome, State, new_run_id
from orchestrator.settings import Settings
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec

pytestmark = pytest.mark.needs_redis


class Story:
    """A run's journal, written as an attempt would."""

    def __init__(self, client: Redis, spec: RunSpec, *begun: e.Body) -> None:
        self.client, self.id, self.attempt = client, new_run_id(), 1
        create(client, self.id, "ann", [e.Submitted(spec=spec), *begun, e.Dispatched(attempt=1)])
        self.claim()
        if not begun:
            self.journal.append(e.Prompted(system="You are tested.", text="Do it."))

    def claim(self) -> None:
        fence = claim(self.client, self.id, self.attempt, lease_seconds=60)
        assert isinstance(fence, int), fence
        self.journal = Writer(self.client, self.id, who="w", fence=fence, lease_seconds=60)
        ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
        self.journal.append(e.Claimed(attempt=self.attempt, fence=fence, worker="w", host="h"), ready)

    def step(self, text: str, name: str = "bash") -> int:
        number = self.journal.view.step + 1
        call = ToolCall(id=f"c{number}", name=name, arguments={"command": text})
        self.journal.append(
            e.Replied(step=number, reply=Reply(text=text, calls=(call,), cost_usd=0.5)),
            e.CallStarted(step=number, call=call),
            e.CallFinished(step=number, result=ToolResult(call_id=call.id, name=name, content=f"did {text}")),
            e.Checkpointed(step=number, commit=f"c-{text}", tree=f"t-{text}", shell=f"s-{text}"),
        )
        return number

    def back(self, to: int, why: Any = "rewind") -> None:
        moment = self.timeline.at(to)
        self.journal.append(
            e.Rewound(
                step=self.journal.view.step + 1,
                to=to,
                why=why,
                commit=moment.commit,
                tree=moment.tree,
                shell=moment.shell,
                depth=moment.depth,
                message=f"back to {to}",
            )
        )

    @property
    def timeline(self) -> Timeline:
        return Timeline(self.journal.events)

    def said(self) -> list[str]:
        """What the model is told and what it said, in order."""
        told = []
        for item in Projection().follow(self.journal.events).dialogue:
            told += [item.text] if isinstance(item, Reply) else [*(r.content for r in item.results), item.text]
        return [part for text in told for part in text.split("\n\n") if part]


@pytest.fixture
def story(client: Redis, spec: RunSpec) -> Story:
    return Story(client, spec)


def test_files_shell_and_dialogue_go_back_together_and_numbers_go_on(story: Story) -> None:
    for text in ("one", "two", "three"):
        story.step(text)
    story.back(1)
    view = story.journal.view
    assert (view.step, view.depth, view.tree, view.shell) == (4, 1, "t-one", "s-one")
    assert story.said() == ["Do it.", "one", "did one", "back to 1"]
    story.step("other")
    assert story.said() == ["Do it.", "one", "did one", "back to 1", "other", "did other"]
    assert [moment.step for moment in story.timeline.line(story.timeline.now)] == [1, 5]
    assert fold(story.id, story.journal.events) == story.journal.view
    assert verify(story.client, story.id).ok


def test_a_left_branch_can_be_returned_to(story: Story) -> None:
    for text in ("one", "two"):
        story.step(text)
    story.back(1)
    story.step("other")
    story.back(2)
    assert story.said() == ["Do it.", "one", "did one", "two", "did two", "back to 2"]
    assert [moment.tree for moment in story.timeline.line(story.timeline.now)] == ["t-one", "t-two"]
    story.back(3)
    assert story.said() == ["Do it.", "one", "did one", "back to 1", "back to 3"], "a rewind can be a place, too"


def test_the_beginning_can_be_returned_to(story: Story) -> None:
    story.step("one")
    story.back(0)
    assert story.said() == ["Do it.", "back to 0"]
    assert (story.journal.view.depth, story.journal.view.tree) == (0, "t" * 40)


def test_money_that_was_spent_never_comes_back(story: Story) -> None:
    story.step("one")
    story.step("two")
    story.back(0)
    assert e.spent(story.journal.events).money_usd == story.journal.view.cost_usd == 1.0


def test_undo_and_redo_walk_as_in_an_editor(story: Story) -> None:
    for text in ("one", "two", "three"):
        story.step(text)
    walked = []
    for why in ("undo", "undo", "redo", "undo", "undo"):
        to = story.timeline.undo if why == "undo" else story.timeline.redo
        assert to is not None
        story.back(to, why)
        walked.append(story.timeline.now.step)
    assert walked == [2, 1, 2, 1, 0]
    assert story.timeline.dropped is None
    assert story.timeline.undo is None
    story.step("new")
    assert story.timeline.redo is None, "a new step ends what could be redone"
    dropped = story.timeline.dropped
    assert dropped is not None
    assert dropped.step == 9
    story.back(2)
    undo = story.timeline.undo
    assert undo == 9, "a rewind is undone as a step is: to where it was"
    story.back(undo, "undo")
    assert story.journal.view.tree == "t-new"


def test_a_projection_that_follows_agrees_with_one_that_starts_anew(story: Story) -> None:
    following = Projection()
    for action in ("one", "two", 1, "three", 0, "four", 3, "five", 6):
        if isinstance(action, str):
            story.step(action)
        else:
            story.back(action)
        assert following.follow(story.journal.events) == Projection().follow(story.journal.events)


def test_a_step_that_never_was_is_not_found(story: Story) -> None:
    story.step("one")
    with pytest.raises(NotFoundError, match="no step 7") as caught:
        story.timeline.at(7)
    assert "0 to 1" in caught.value.cause


def test_a_request_waits_for_whoever_carries_the_run(story: Story) -> None:
    story.step("one")
    Writer(story.client, story.id, who="ann").append(e.RewindRequested(step=0, message="not like that"))
    story.step("two")
    asked = Projection().follow(story.journal.events).rewind
    assert asked is not None
    assert (asked.step, asked.message) == (0, "not like that")
    story.back(0)
    assert Projection().follow(story.journal.events).rewind is None


def test_a_run_that_is_over_is_taken_up_again(story: Story) -> None:
    story.step("one")
    story.step("two", name="submit")
    done = e.Finished(outcome=Outcome.FAILED, reason="no", summary="done", tree="t-two")
    story.journal.append(done, operation="finish")
    other = Writer(story.client, story.id, who="ann")
    with pytest.raises(HeadMovedError):
        other.append(e.RewindRequested(step=1))
    request, again = e.RewindRequested(step=1), e.Dispatched(attempt=2, reason="rewind to step 1")
    other.append(request, again, operation="reopen")
    view = index.record(story.client, story.id).view
    assert (view.state, view.outcome, view.started_at, view.summary) == (State.QUEUED, None, None, "")
    assert index.pending(story.client) == [story.id]
    assert index.newest(story.client, live=True, limit=9) == [story.id]
    story.attempt = 2
    story.claim()
    asked = Projection().follow(story.journal.events).rewind
    assert asked is not None, "and the request is still there"
    story.back(1)
    assert Projection().follow(story.journal.events).summary is None
    story.step("three", name="submit")
    story.journal.append(done, operation="finish")
    assert index.record(story.client, story.id).view.state is State.DONE
    assert verify(story.client, story.id).ok


def test_a_run_that_is_not_over_cannot_be_reopened(story: Story) -> None:
    with pytest.raises(HeadMovedError):
        Writer(story.client, story.id, who="ann").append(e.Dispatched(attempt=2), operation="reopen")
    assert story.client.zscore(keys.PENDING, story.id) is not None, "it is as it was"


def test_a_request_that_came_too_late_is_forgotten(story: Story) -> None:
    story.step("one", name="submit")
    Writer(story.client, story.id, who="ann").append(e.RewindRequested(step=0))
    story.journal.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    assert Projection().follow(story.journal.events).rewind is None


def test_a_fork_goes_on_with_dialogue_and_tree_at_its_own_cost(client: Redis, spec: RunSpec, story: Story) -> None:
    story.step("one")
    story.step("two")
    moment = story.timeline.at(1)
    context = Projection().follow(story.journal.events[: moment.seq])
    forked = e.Forked(
        run=story.id,
        step=1,
        head="h",
        commit=moment.commit,
        tree=moment.tree,
        shell=moment.shell,
        system=context.system,
        dialogue=context.dialogue,
    )
    fork = Story(client, spec, forked, e.Prompted(text="try another way"))
    assert fork.said() == ["Do it.", "one", "did one", "try another way"]
    assert (fork.journal.view.tree, fork.journal.view.step, fork.journal.view.cost_usd) == ("t-one", 1, 0)
    assert fork.step("other") == 2
    assert fork.journal.view.depth == 1
    assert (fork.journal.view.fork_of, fork.journal.view.fork_step) == (story.id, 1)
    assert [step.step for step in fork.timeline.line(fork.timeline.now)] == [2]
    fork.back(1)
    assert fork.said() == ["Do it.", "one", "did one", "try another way", "back to 1"]
    with pytest.raises(NotFoundError):
        fork.timeline.at(0)


def test_what_a_person_adds_to_a_submitted_dialogue_reopens_it() -> None:
    call = ToolCall(id="c1", name="submit", arguments={"summary": "done"})
    result = ToolResult(call_id="c1", name="submit", content="submitted")
    said = (Turn(text="Do it."), Reply(calls=(call,)), Turn(results=(result,)))
    forked = e.Forked(run="r", step=1, head="h", commit="c", tree="t", dialogue=said)
    now = datetime.now(UTC)
    events = [
        e.Event(seq=n, at=now, who="w", body=b) for n, b in enumerate((forked, e.Prompted(text="no, go on")), start=1)
    ]
    assert Projection().follow(events[:1]).summary == "done"
    assert Projection().follow(events).summary is None


def test_a_run_that_cannot_begin_again_is_not_asked_without_end(
    story: Story, redis_server: str, tmp_path: Path
) -> None:
    story.step("one")
    story.journal.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    settings = Settings(redis_url=redis_server, state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    with closing(connect(settings)) as door:
        asked = door.rewind(story.id, 0)
        failed = e.Finished(outcome=Outcome.ERROR, reason="a set-up command failed")
        Writer(story.client, story.id, who="w").append(failed, operation="finish")
        with pytest.raises(DreamdockError, match="ended before it could go back") as caught:
            door.rewound(story.id, asked)
    assert caught.value.cause == "error: a set-up command failed"
    kinds = [event.body.type for event in Writer(story.client, story.id, who="w").events]
    assert kinds.count("rewind_requested") == 1


@pytest.mark.parametrize("why", ["undo", "redo"])
def test_what_a_parked_run_was_asked_to_go_back_to_is_said(
    story: Story, redis_server: str, tmp_path: Path, why: str
) -> None:
    story.step("one")
    story.step("two")
    story.journal.append(e.Parked(why="paused", text="paused by ann"), operation="park")
    settings = Settings(redis_url=redis_server, state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    with closing(connect(settings)) as door:
        door.undo(story.id)
        assert door.show(story.id).view.rewinding == "undo to step 1"
        with pytest.raises(UsageError, match="undo to step 1 is asked for already") as caught:
            door.undo(story.id) if why == "undo" else door.redo(story.id)
        assert "when the run is resumed" in caught.value.cause
        assert door.rewind(story.id, 0).request.step == 0, "another step takes its place"
        assert door.show(story.id).view.rewinding == "rewind to step 0"


def test_a_request_is_shown_until_the_run_went_back(story: Story) -> None:
    story.step("one")
    story.step("two")
    asked = [story.journal.append(e.RewindRequested(step=step))[0].seq for step in (1, 0)]
    shown = []
    for step, seq in zip((1, 0), asked, strict=True):
        number = story.journal.view.step + 1
        story.journal.append(e.Rewound(step=number, to=step, why="rewind", commit="c", tree="t", depth=step, asked=seq))
        shown.append(story.journal.view.rewinding)
    assert shown == ["rewind to step 0", ""]
