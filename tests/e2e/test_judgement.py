"""Runs that go in circles, leave tests out, are refused or judged: all of them end as they should, and say why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import docker
import pytest
from fake_provider import FakeProvider, chat
from kit import MEND, SUBMIT

from sandbox.policy import RUN_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_a_loop_ends_with_the_work_kept(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    path = script("echo kept > kept.txt", *["cat kept.txt"] * 20, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 7, done.stdout + done.stderr
    assert "the same call of bash gave the same result 7 times" in done.stdout
    assert "it is to make a new plan" in done.stdout
    shown = stack("show", "@", cwd=repo)
    assert "limit: the same call of bash gave the same result 7 times" in shown.stdout
    assert "kept.txt" in stack("diff", "@", cwd=repo).stdout


def test_a_test_that_is_left_out_is_named_beside_the_verdict(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    test = min((repo / "tests").glob("test_*.py")).relative_to(repo)
    skip = f"sed -i '0,/^def test/s//import pytest\\n\\n\\n@pytest.mark.skip\\ndef test/' {test}"
    path = script(skip, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"test left out · {test}:" in done.stdout
    assert f"test left out · {test}:" in stack("show", "@", cwd=repo).stdout
    assert "weakened" in stack("audit", "@", cwd=repo).stdout
    run_id = stack.json("ps", "-a", "-n", "1")["runs"][0]["id"]
    [found] = stack.json("show", run_id)["run"]["weakened"]
    assert (found["path"], found["text"]) == (str(test), "@pytest.mark.skip")


def test_a_refused_submission_is_mended_in_the_same_run(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    plan = ("note", {"kind": "task", "text": "mend the split"})
    path = script(plan, SUBMIT, ("note", {"id": "t1", "state": "done"}), SUBMIT, MEND, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "items of your plan are open: t1" in done.stdout
    assert "refused" in done.stdout
    assert "the acceptance command fails on the final tree · the model was told" in done.stdout
    run = stack.json("show", "@", cwd=repo)["run"]
    assert (run["outcome"], run["refusals"], run["step"]) == ("succeeded", 1, 6)
    assert [verdict["exit_code"] for verdict in run["verdicts"]] == [0]
    kinds = [entry["kind"] for entry in stack.json("audit", "@", cwd=repo)["entries"]]
    assert (kinds.count("accept"), kinds.count("refused")) == (2, 1)


def test_a_judge_rules_where_no_command_can(stack: Stack, repo: Path) -> None:
    def calling(number: int, name: str, **arguments: str) -> Any:
        return chat(calls=[(f"c{number}", name, json.dumps(arguments))])

    def ruling(verdict: str, *unmet: str) -> Any:
        return chat(json.dumps({"verdict": verdict, "unmet": unmet, "why": "that is how it looks"}))

    answers = (
        calling(1, "submit", summary="I did all of it"),
        ruling("fail", "nothing is in note.txt"),
        calling(2, "bash", command="echo hello > note.txt"),
        calling(3, "submit", summary="I did all of it"),
        ruling("pass"),
    )
    with FakeProvider(*answers) as fake:
        flags = ("--model", "openai-compatible/m", "--base-url", f"{fake.url}/v1", "--price", "0", "--accept", "")
        done = stack("run", "write a note", "--repo", str(repo), *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        asked = [request.body["messages"] for request in fake.asked]
    assert "- nothing is in note.txt" in str(asked[2])
    assert "I did all of it" not in str(asked[1]) + str(asked[4])
    assert "+hello" in asked[4][-1]["content"]
    assert "succeeded (judged)" in done.stdout
    assert "✗ failed by openai-compatible/m: that is how it looks" in done.stdout
    shown = stack.json("show", "@", cwd=repo)["run"]
    assert (shown["label"], shown["ruling"]["verdict"]) == ("succeeded (judged)", "pass")
    assert [reply["kind"] for reply in stack.json("cost", "@", cwd=repo)["replies"]].count("judge") == 2
    assert [entry["kind"] for entry in stack.json("audit", "@", cwd=repo)["entries"]].count("ruled") == 2
    without = stack("run", "write a note", "--repo", str(repo), *flags, "--judge", "off", "--dry-run", "--json")
    assert json.loads(without.stdout)["spec"]["judge"] == ""


def test_the_best_of_three_candidates_is_taken(stack: Stack, repo: Path, tmp_path: Path) -> None:
    def line(*calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        return {"calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}

    look = line(("bash", {"command": "ls"}))
    several = [line(("bash", {"command": "echo done"})), line(("write", {"path": "x", "content": "x"})), line(MEND)]
    path = tmp_path / "script.jsonl"
    lines = [look, look, look, look | {"candidates": several}, line(SUBMIT)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    command = ("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}", "--candidates", "3")
    done = stack(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 replies at once for step 4, 3 of them different" in done.stdout
    assert "3: ✓ the check passes" in done.stdout
    assert "3 is taken: its check passes" in done.stdout
    run_id = stack.json("ps", "-a", "-n", "1")["runs"][0]["id"]
    kinds = [reply["kind"] for reply in stack.json("cost", run_id)["replies"] if reply["step"] == 4]
    assert kinds == ["candidate"] * 3
    assert "candidate 1: $ echo done" in stack("audit", run_id).stdout
    left = docker.from_env().containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})
    assert not left
