"""The build of a repository's own image, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator import events as e
from orchestrator.audit import audited
from orchestrator.cli.narrator import Narrator

if TYPE_CHECKING:
    from orchestrator.runs import RunSpec

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
LOG = "\n".join([f"Step {number}/30" for number in range(30)])


def event(body: e.Body) -> e.Event:
    return e.Event(seq=1, at=WHEN, who="w", body=body)


def built(**more: Any) -> e.Event:
    return event(e.Built(dockerfile="ci/Dockerfile", image="dreamdock/repo:1", seconds=75, log=LOG, **more))


def told(**more: Any) -> list[str]:
    return [f"{line.label}|{line.text.plain}" for line in Narrator().tell(built(**more))]


def test_one_built_now_is_told_with_the_end_of_its_log() -> None:
    first, *rest = told()
    assert first == "image|✓ 1 min 15 s · dreamdock/repo:1 from ci/Dockerfile"
    assert rest[-1] == "|  Step 29/30"
    assert len(rest) == 6


def test_one_that_was_there_is_told_in_a_line() -> None:
    assert told(cached=True) == ["image|✓ built earlier · dreamdock/repo:1 from ci/Dockerfile"]


def test_a_failure_shows_more_of_the_log() -> None:
    first, *rest = told(failed="no such file")
    assert first == "image|✗ failed · dreamdock/repo:1 from ci/Dockerfile"
    assert len(rest) == 13


def test_the_audit_names_the_image_and_where_it_came_from() -> None:
    entries = list(audited([built(), built(cached=True), built(failed="x")]))
    ways = ["built now", "from an earlier build", "failed"]
    assert [entry.text for entry in entries] == [f"dreamdock/repo:1 from ci/Dockerfile ({way})" for way in ways]
    assert {entry.kind for entry in entries} == {"built"}


def test_it_is_said_that_it_is_going_on(spec: RunSpec) -> None:
    narrator = Narrator()
    narrator.tell(event(e.Submitted(spec=spec.model_copy(update={"build": "Dockerfile", "setup": ("make",)}))))
    narrator.tell(event(e.Claimed(attempt=1, fence=1, worker="w", host="h")))
    assert narrator.doing == "building the image"
    narrator.tell(built())
    assert narrator.doing == "setting up"
