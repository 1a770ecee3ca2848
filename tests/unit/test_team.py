"""Sub-agents at work: real sandboxes side by side, a real journal, scripted replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from teams import Seat, delegate, lines, of, results, write
from working import BUG, SUBMIT, base, bash, start

from orchestrator import events as e
from orchestrator.agent.ending import Ending, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.journal.writer import Writer
    from sandbox.spec import Base
    from sandbox.store import Store

    Seated = Callable[[Writer], Seat]

__all__ = ["base", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]


@pytest.fixture
def seated(base: tuple[Store, Base], tmp_path: Path) -> Seated:
    """Return a function that gives a run a worker's place."""
    return lambda journal: Seat(*base, tmp_path / "workspaces", journal.view.id)


def test_an_explorer_looks_at_a_copy_and_reports(start: Any, seated: Seated) -> None:
    journal = start()
    seat = seated(journal)
    look = [[bash("cat new.py; rm -rf calc.py new.py; echo gone > extra"), ("read", {"path": "AGENTS.md"})]]
    found = [("submit", {"summary": "double adds one too many, calc.py:2"})]
    text = lines([[write("new.py", "x = 1\n")], [delegate(scout="explore")], SUBMIT], scout=[*look, found])
    assert seat.work(journal, text) == Ending(Kind.SUBMITTED, summary="done")
    (told,) = results(journal)
    assert told.ok
    assert "[sub-agent scout (explore): submitted after 2 steps." in told.content
    assert "double adds one too many, calc.py:2" in told.content
    assert (seat.read(journal, "calc.py"), seat.read(journal, "new.py")) == (BUG.encode(), b"x = 1\n")
    assert seat.read(journal, "extra") is None
    shell, read = (
        deed for deed in of(journal, "scout") if isinstance(deed, e.CallFinished) if deed.result.name != "submit"
    )
    assert (shell.result.content.startswith("x = 1\n"), "Use tabs." in read.result.content) == (True, True)
    prompt = next(deed for deed in of(journal, "scout") if isinstance(deed, e.Prompted))
    assert ("You find something out" in prompt.system, prompt.text.startswith("See to scout.")) == (True, True)


def test_what_an_explorer_may_not_do_it_is_not_offered(start: Any, seated: Seated) -> None:
    journal = start()
    tries = [[write("calc.py", ""), delegate(other="explore")]]
    seated(journal).work(journal, lines([[delegate(scout="explore")], SUBMIT], scout=[*tries, SUBMIT]))
    refused = [deed.result for deed in of(journal, "scout") if isinstance(deed, e.CallFinished)][:2]
    assert [result.content.partition(";")[0] for result in refused] == [
        "error: there is no tool 'write'",
        "error: there is no tool 'delegate'",
    ]
    assert not any(deed.type == "child_started" for deed in of(journal, "scout"))


def test_two_tasks_side_by_side_are_both_merged(start: Any, seated: Seated) -> None:
    journal = start()
    seat = seated(journal)
    first = [[write("calc.py", BUG.replace(" + 1\n", "\n")), bash("printf '\\0\\1' > new.bin; chmod +x empty")], SUBMIT]
    second = [[bash("rm latin.txt blob.bin; ln -s ../calc.py link; mkdir -p a/b; echo x > 'a/b/sp ace'")], SUBMIT]
    main = [[write("own.txt", "mine\n")], [delegate(one="task", two="task")], SUBMIT]
    seat.work(journal, lines(main, one=first, two=second))
    (told,) = results(journal)
    assert told.content.count("What it changed is merged into your workspace.") == 2
    assert seat.forks[0] == seat.forks[1]
    project, tree = seat.base.project, journal.view.tree
    assert (seat.read(journal, "calc.py"), seat.read(journal, "own.txt")) == (
        BUG.replace(" + 1", "").encode(),
        b"mine\n",
    )
    assert (seat.read(journal, "new.bin"), seat.read(journal, "link")) == (b"\0\1", b"../calc.py")
    assert seat.read(journal, "a/b/sp ace") == b"x\n"
    assert {"latin.txt", "blob.bin"}.isdisjoint(seat.store.list_files(project, tree))
    committed = [event.body for event in journal.events if isinstance(event.body, e.Checkpointed)]
    changed = {file.path for file in committed[1].files}
    assert changed == {"calc.py", "new.bin", "empty", "latin.txt", "blob.bin", "link", "a/b/sp ace"}
    ends = {event.body.child: event.body for event in journal.events if isinstance(event.body, e.ChildFinished)}
    assert {file.path for file in ends["one"].files} == {"calc.py", "new.bin", "empty"}


def test_a_conflict_leaves_the_workspace_as_it_is_and_is_told_with_the_patch(start: Any, seated: Seated) -> None:
    journal = start()
    seat = seated(journal)
    first = [[write("calc.py", "one\n")], SUBMIT]
    second = [[write("calc.py", "two\n"), write("other.py", "two\n")], SUBMIT]
    seat.work(journal, lines([[delegate(one="task", two="task")], SUBMIT], one=first, two=second))
    (told,) = results(journal)
    assert "sub-agent two (task): submitted after 2 steps. What it changed is NOT merged, nothing of it" in told.content
    assert "Conflicts:\ncalc.py\n" in told.content
    assert "+two" in told.content.partition("Patch:")[2]
    assert (seat.read(journal, "calc.py"), seat.read(journal, "other.py")) == (b"one\n", None)
    merged = [event.body for event in journal.events if isinstance(event.body, e.ChildMerged)]
    assert [(body.child, body.merged, body.conflicts) for body in merged] == [
        ("one", True, ()),
        ("two", False, ("calc.py",)),
    ]
