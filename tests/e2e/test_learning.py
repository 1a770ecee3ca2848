"""What a run has to find out, a dream keeps, and a run in a fresh process is told: it needs fewer steps for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from running import become_a_project

from orchestrator import events as e
from orchestrator.demo import MEMORY, Prepared, bundled, make
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
FOUND_OUT = "python3 -m till.examples"


class Till:
    """The demo's project with something to find out, as a project of its own, and what runs its one script there."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.made: Prepared = make(bundled(MEMORY), folder)
        self.repo = self.made.request.repo
        self._stack = stack
        become_a_project(Path(self.repo), folder.name)

    def run(self, task: str, *flags: str) -> str:
        """Have a run done, and return its id."""
        accept = str(self.made.request.accept)
        model = f"scripted/{self.made.script}"
        asked = ("run", task, "--repo", self.repo, "--accept", accept, "--model", model, "--detach", *flags)
        run = self._stack(*asked).stdout.strip()
        assert self._stack("wait", run).returncode == 0, self._stack("logs", run).stdout
        assert self._stack.door.show(run).view.outcome is Outcome.SUCCEEDED
        return run

    def dream(self) -> Any:
        return self._stack.json("dream", "--repo", self.repo)

    def memory(self, *arguments: str) -> Any:
        return self._stack.json("memory", *arguments, "--repo", self.repo)

    def bodies(self, run: str, kind: type[Any]) -> list[Any]:
        return [event.body for event in self._stack.door.events(run) if isinstance(event.body, kind)]

    def steps(self, run: str) -> int:
        return self._stack.door.show(run).view.step


@pytest.fixture
def till(stack: Stack, tmp_path: Path) -> Till:
    return Till(stack, tmp_path)


def test_a_run_does_in_fewer_steps_what_an_earlier_one_had_to_find_out(till: Till) -> None:
    first = till.run(till.made.request.task)
    report = till.dream()
    assert (report["runs"], report["refused"]) == (1, None)
    second = till.run(till.made.then)
    without = till.run(till.made.then, "--recall", "0")
    assert (till.steps(first), till.steps(second), till.steps(without)) == (9, 5, 9)

    workers = {body.worker for run in (first, second, without) for body in till.bodies(run, e.Claimed)}
    assert len(workers) == 3, "each run has a process of its own: nothing but the library connects them"
    assert till.bodies(first, e.Recalled) == till.bodies(without, e.Recalled) == []
    [given] = till.bodies(second, e.Recalled)
    assert (given.step, given.why, given.head) == (0, "start", report["commit"])
    told = next(one for one in given.entries if FOUND_OUT in one.title)
    entry = till.memory("show", told.id)["entry"]
    assert [proof["run"] for proof in entry["evidence"]] == [first]
    assert f"(run {first} step {entry['evidence'][0]['step']})" in given.text
    [prompt] = till.bodies(second, e.Prompted)
    assert prompt.text.endswith(given.text)
    assert FOUND_OUT not in till.bodies(without, e.Prompted)[0].text


def test_what_two_accepted_runs_did_becomes_a_skill_that_a_person_approves(till: Till, tmp_path: Path) -> None:
    runs = [till.run(task, "--recall", "0") for task in (till.made.request.task, till.made.then)]
    [skill] = till.dream()["skills"]
    assert (skill["name"], skill["status"]) == ("till-examples-then-pytest", "tried"), skill
    assert "3 passed" in skill["tried"], "both commands were run at the repository's head"
    assert {proof["run"] for proof in skill["evidence"]} == {*runs}
    assert till.memory("list")["skills"][0]["commands"] == [FOUND_OUT, "python3 -m pytest -q"]
    till.memory("approve", f"skills/{skill['name']}")
    told = till.run(till.made.then)
    [given] = till.bodies(told, e.Recalled)
    assert f"skills/{skill['name']}" in {one.id for one in given.entries}
    assert f"{skill['name']}: Runs `{FOUND_OUT}`" in given.text
    again = till.dream()
    assert again["skills"] == []
    till.memory("export", "--skills", str(tmp_path / "skills"))
    exported = (tmp_path / f"skills/{skill['name']}/SKILL.md").read_text()
    assert exported.startswith(f"---\nname: {skill['name']}\ndescription: ")
