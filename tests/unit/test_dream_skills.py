"""Skills from what accepted runs did: which are proposed, from what, and what their trial makes of them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from deeds import Deeds

from orchestrator import events as e
from orchestrator.dream import skills as dreamt
from orchestrator.dream.commands import Holds, Tried
from orchestrator.dream.skills import kept, propose, remember, skills
from orchestrator.dream.workflows import MOST, Workflow, parts, workflow
from orchestrator.library import skills as shelved
from orchestrator.library.entry import Evidence
from orchestrator.library.shelf import Shelf
from orchestrator.library.skill import SkillStatus, parse
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.runs import RunSpec

PROJECT = "0123456789ab"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def flow(run: str, *commands: str) -> Workflow:
    evidence = tuple(Evidence(run=run, step=step) for step in range(1, len(commands) + 1))
    return Workflow(run=run, commands=commands, evidence=evidence)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("make  lint && make test", ("make lint", "make test")),
        ("pytest -q 2>&1", ("pytest -q",)),
        ("CI=1 make test", ("CI=1 make test",)),
        ("echo 'a  &&  b' && npm test", ()),  # Nobody can say where it parts.
        ("git status && make test", ("make test",)),
        ("pytest -k 'a  b'", ("pytest -k 'a  b'",)),
        ("cd web && npm test", ()),
        ("pytest -q | tail -5", ()),
        ("pytest -q; true", ()),
        ("pytest -q || true", ()),
        ("make test &", ()),
        ("make $(cat target)", ()),
        ("make `cat target`", ()),
        ("python3 -c 'print(1)'", ()),
        ("cat <<E\nx\nE", ()),
        ("pytest 'unended", ()),
        ("rm -rf build && python --version", ()),
        ("make deploy PASSWORD=[redacted]", ()),
        ("/usr/bin/ls", ()),
        ("", ()),
        ("make " + "x" * 300, ()),
        ("make test && " * 100_000 + "true", ()),
    ],
)
def test_what_of_a_command_line_is_worth_doing_again(command: str, found: tuple[str, ...]) -> None:
    assert parts(command) == found


def test_a_workflow_is_what_counted_in_the_order_it_succeeded_last(spec: RunSpec) -> None:
    told = Deeds(spec)
    told.did("bash", code=1, command="make test")
    told.did("bash", code=0, command="make test")
    told.did("bash", code=0, command="ls -la")
    told.did("edit", path="a.py")
    told.did("bash", code=0, command="make lint && make test")
    told.did("bash", code=0, command="make undone")
    told.step += 1
    told.add(e.RewindRequested(step=5))
    told.add(e.Rewound(step=7, to=5, why="rewind", commit="commit-5", tree="t5", depth=5, message="back"))
    assert workflow("r1", told.events) is None, "it isn't done"
    told.end()
    found = workflow("r1", told.events)
    assert found is not None
    assert found.commands == ("make lint", "make test")
    assert {one.step for one in found.evidence} == {5}


def test_what_wasnt_accepted_teaches_no_skill(spec: RunSpec) -> None:
    told = Deeds(spec)
    told.did("bash", code=0, command="make lint && make test")
    told.end(Outcome.FAILED)
    assert workflow("r1", told.events) is None
    looked = Deeds(spec)
    looked.did("bash", code=0, command="ls")
    looked.end()
    assert workflow("r2", looked.events) is None


def test_a_long_run_keeps_its_last_commands(spec: RunSpec) -> None:
    told = Deeds(spec)
    for number in range(MOST + 5):
        told.did("bash", code=0, command=f"make part-{number}")
    told.end()
    found = workflow("r1", told.events)
    assert found is not None
    assert len(found.commands) == MOST
    assert found.commands[-1] == f"make part-{MOST + 4}"


def test_what_two_accepted_runs_did_is_proposed() -> None:
    one = flow("r1", "make gen", "npm ci", "make lint", "make test")
    two = flow("r2", "make gen", "make lint", "pip install x", "make test")
    (skill,) = propose(PROJECT, [one, two], [], NOW)
    assert skill.commands == ("make gen", "make lint", "make test")
    assert skill.name == "make-gen-then-make-lint-then-make-test"
    assert skill.status is SkillStatus.PROPOSED
    assert [(each.run, each.step) for each in skill.evidence] == [
        ("r1", 1), ("r1", 3), ("r1", 4), ("r2", 1), ("r2", 2), ("r2", 4),
    ]  # fmt: skip
    assert "\n" not in skill.description
    assert parse(shelved.page(skill), skill.path) == skill
    assert propose(PROJECT, [one, two], [skill], NOW) == (), "it's known"
    assert propose(PROJECT, [one], [], NOW) == ()
    assert propose(PROJECT, [one, flow("r1", *one.commands)], [], NOW) == (), "one run is one run"
    assert propose(PROJECT, [one, flow("r3", "make test", "make lint")], [], NOW) == (), "another order"


def test_only_the_longest_of_what_is_shared_is_proposed_and_few() -> None:
    flows = [flow(f"r{number}", "a1", "b1", "c1") for number in range(3)] + [flow("r9", "a1", "c1")]
    assert [one.commands for one in propose(PROJECT, flows, [], NOW)] == [("a1", "b1", "c1")]
    many = [flow(f"r{n}-{half}", f"x{n} go", f"y{n} go") for n in range(20) for half in "ab"]
    found = propose(PROJECT, many, [], NOW)
    assert len(found) == dreamt.MOST
    assert len({one.name for one in found}) == dreamt.MOST


def test_names_are_short_and_each_once() -> None:
    (plain,) = propose(
        PROJECT, [flow(run, "python3 -m till.examples", "pytest -q -x") for run in ("r1", "r2")], [], NOW
    )
    assert plain.name == "till-examples-then-pytest"
    flows = [flow(run, "make " + "very-long-" * 8, "make Ünïcode") for run in ("r1", "r2")]
    (first,) = propose(PROJECT, flows, [], NOW)
    assert len(first.name) <= 64
    other = first.changed(text="1. `else`")
    (second,) = propose(PROJECT, flows, [other], NOW)
    assert second.name == f"{first.name}-2"
    (odd,) = propose(PROJECT, [flow(run, "Ü", "ß") for run in ("r1", "r2")], [], NOW)
    assert odd.name == "workflow"


def test_the_second_run_may_be_one_of_a_later_dream(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "library", person="Ann <ann@localhost>")
    first = skills(shelf, PROJECT, [flow("r1", "make lint", "make test")], NOW)
    assert (first.skills, list(first.files)) == ((), [f"skills/{PROJECT}/workflows.jsonl"])
    shelf.put(message="Dream", files=first.files)
    second = skills(shelf, PROJECT, [flow("r2", "make lint", "make test")], NOW)
    assert [one.commands for one in second.skills] == [("make lint", "make test")]
    shelf.put(message="Dream", files=second.files)
    assert [one.status for one in shelved.listed(shelf, PROJECT)] == [SkillStatus.PROPOSED]
    for again in ([], [flow("r3", "make lint", "make test")], [flow("r2", "make lint", "make test")]):
        assert skills(shelf, PROJECT, again, NOW).files == {}, "nothing new, no commit"


def test_a_skill_is_tried_before_it_is_offered(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "library", person="Ann <ann@localhost>")
    asked = list[tuple[str, ...]]()

    def try_out(commands: Sequence[str]) -> Tried:
        asked.append(tuple(commands))
        return answers.pop(0)

    flows = [flow("r1", "make lint", "make test"), flow("r2", "make lint", "make test")]
    answers = [Tried(Holds.UNKNOWN, "the image isn't there")]
    found = skills(shelf, PROJECT, flows, NOW, try_out=try_out)
    assert [(one.status, one.tried) for one in found.skills] == [(SkillStatus.PROPOSED, "the image isn't there")]
    shelf.put(message="Dream", files=found.files)
    answers = [Tried(Holds.UNKNOWN, "nor today")]
    assert skills(shelf, PROJECT, [], NOW, try_out=try_out).files == {}, "nobody could try it"
    answers = [Tried(Holds.NO, "`make test`: exit code 2: no rule TOKEN=Zk3vQ8xW1mRt6YpL0s")]
    found = skills(shelf, PROJECT, [], NOW, try_out=try_out)
    assert [(one.status, one.tried) for one in found.skills] == [
        (SkillStatus.FAILED, "`make test`: exit code 2: no rule TOKEN=[redacted]")
    ]
    shelf.put(message="Dream", files=found.files)
    answers = [Tried(Holds.NO, "another duration")]
    assert skills(shelf, PROJECT, [], NOW, try_out=try_out).files == {}
    answers = [Tried(Holds.YES, "12 passed")]
    found = skills(shelf, PROJECT, [], NOW, try_out=try_out)
    assert [one.status for one in found.skills] == [SkillStatus.TRIED]
    shelf.put(message="Dream", files=found.files)
    assert skills(shelf, PROJECT, [], NOW, try_out=try_out).files == {}, "once is enough"
    assert asked == [("make lint", "make test")] * 5
    assert shelved.approve(shelf, PROJECT, found.skills[0].name, "Ann <ann@localhost>").status is SkillStatus.APPROVED


def test_what_is_kept_is_bounded_and_survives_nonsense(tmp_path: Path) -> None:
    many = [flow(f"r{number}", f"a{number}", "b") for number in range(dreamt.KEPT + 10)]
    assert remember(many[:10], many) == tuple(many[10:])
    shelf = Shelf(tmp_path / "library", person="Ann <ann@localhost>")
    line = flow("r1", "a", "b").model_dump_json().encode()
    shelf.put(message="x", files={f"skills/{PROJECT}/workflows.jsonl": b"nonsense\n{}\n\xff\n" + line})
    assert kept(shelf, PROJECT) == (flow("r1", "a", "b"),)
    shelf.put(message="x", files={f"skills/{PROJECT}/bad/SKILL.md": b"nonsense"})
    assert "bad/SKILL.md:1" in skills(shelf, PROJECT, [], NOW).notes[0]


def test_many_different_workflows_are_compared_in_time() -> None:
    chance = random.Random(7)  # noqa: S311  # It has to be the same again, not secret.
    commands = [f"make part-{number}" for number in range(60)]
    flows = [flow(f"r{number}", *chance.sample(commands, MOST)) for number in range(dreamt.KEPT)]
    assert len(propose(PROJECT, flows, [], NOW)) == dreamt.MOST
