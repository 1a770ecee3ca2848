"""The main job, from the command line to the delivered diff, with real processes and real containers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import FakeProvider, chat
from kit import MEND, SECRET, SUBMIT

from orchestrator.demo import bundled, make
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def git(repo: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", repo, *arguments], capture_output=True, text=True, check=True).stdout


def test_the_demo_project_is_mended_proven_and_applied(stack: Stack, tmp_path: Path) -> None:
    made = make(bundled("ledger"), tmp_path)
    repo = Path(made.request.repo)
    accept = str(made.request.accept)
    done = stack(
        "run", made.request.task, "--repo", str(repo), "--accept", accept, "--model", f"scripted/{made.script}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python3 -m pytest -q" in done.stdout
    assert "succeeded" in done.stdout
    assert "+    share, rest = divmod(cents, len(people))" in done.stdout
    assert "dreamdock apply" in done.stdout + done.stderr
    assert git(repo, "status", "--porcelain") == "", "the user's files change only by apply"

    run_id = stack.json("ps", "-a")["runs"][0]["id"]
    shown = stack.door.show(run_id).view
    assert (shown.state, shown.outcome, shown.step) == (State.DONE, Outcome.SUCCEEDED, 13)
    assert [verdict.passed for verdict in shown.verdicts] == [True]

    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0, audit.stdout
    assert "curl" in audit.stdout
    assert "M ledger/split.py" in audit.stdout

    applied = stack("apply", run_id, cwd=repo)
    assert applied.returncode == 0, applied.stderr
    assert git(repo, "diff") == stack("diff", run_id).stdout
    assert stack.containers(run_id) == []

    again = stack("apply", run_id, cwd=repo)
    assert (again.returncode, "applied already" in again.stderr) == (2, True)


def test_acceptance_is_fresh_and_a_flag_beats_the_projects_file(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    (repo / "dreamdock.toml").write_text('accept = "false"\n')
    git(repo, "add", "-A")
    git(repo, "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "settings")
    path = script("touch /tmp/left $HOME/left; export LEFT=1; sleep 60 & mkdir -p .pytest_cache; touch kept", SUBMIT)
    accept = (
        'test -e kept && test ! -e /tmp/left && test ! -e "$HOME/left" && test -z "$LEFT" && test ! -e .pytest_cache'
    )
    run_id = stack.detached(path, repo, "--accept", accept)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    spec = stack.door.show(run_id).view.spec
    assert spec.accept is not None
    assert spec.accept.origin == "flag"


def test_the_network_is_refused_and_the_model_is_told(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = stack.detached(script("curl -sS --max-time 5 https://example.com/; echo code=$?", SUBMIT), repo)
    assert stack("wait", run_id).returncode == 1, "the bug is still there, so acceptance fails"
    told = [event.body.result.content for event in stack.door.events(run_id) if event.body.type == "call_finished"]
    assert "Could not resolve host" in told[0]


def test_json_lines_of_a_run_are_its_events(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    path = script(MEND, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all("schema" in line for line in lines)
    kinds = [line["event"]["body"]["type"] for line in lines if "event" in line]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "finished"
    assert kinds.count("checkpointed") == 2


def test_a_run_that_leaves_the_bug_fails_with_its_work_kept(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    run_id = stack.detached(script("echo hello > note.txt", SUBMIT), repo)
    assert stack("wait", run_id).returncode == 1
    view = stack.door.show(run_id).view
    assert (view.outcome, view.reason) == (Outcome.FAILED, "the acceptance command fails on the final tree")
    assert b"+hello" in stack.door.diff(run_id)


def test_weakening_the_tests_does_not_pass(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    cheat = "printf 'def test_nothing():\\n    pass\\n' > tests/test_split.py"
    run_id = stack.detached(script(cheat, SUBMIT), repo)
    assert stack("wait", run_id).returncode == 1
    view = stack.door.show(run_id).view
    assert [(verdict.passed, verdict.base_tests) for verdict in view.verdicts] == [(True, False), (False, True)]
    assert "only with the run's own changes to the tests" in view.reason


@pytest.mark.parametrize(
    ("flags", "code", "outcome"), [(("--steps", "2"), 7, "limit"), (("--seconds", "2"), 124, "timed_out")]
)
def test_limits_end_a_run_with_its_work_kept(
    stack: Stack, repo: Path, script: Callable[..., Path], flags: tuple[str, ...], code: int, outcome: str
) -> None:
    path = script("echo one > one.txt", "sleep 3", "echo three > three.txt", SUBMIT)
    run_id = stack.detached(path, repo, *flags)
    assert stack("wait", run_id).returncode == code
    view = stack.door.show(run_id).view
    assert view.outcome == outcome
    diff = stack.door.diff(run_id)
    assert b"one.txt" in diff
    assert b"three.txt" not in diff


def test_a_task_that_no_window_holds_ends_the_run_before_anything_is_asked(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    path = script(SUBMIT)
    path.write_text(f'{{"schema": "dreamdock.cassette/1", "prompt_limit": 500}}\n{path.read_text()}')
    run_id = stack.detached(path, repo)
    assert stack("wait", run_id).returncode == 7
    view = stack.door.show(run_id).view
    assert (view.outcome, view.step) == (Outcome.LIMIT, 0)
    assert "doesn't fit the window of scripted" in view.reason
    assert "of 500" in view.reason


def test_cancel_really_stops(stack: Stack, repo: Path, script: Callable[..., Path], until: Any) -> None:
    run_id = stack.detached(script("echo kept > kept.txt", "sleep 300", SUBMIT), repo)
    until(lambda: "sleep 300" in stack.door.show(run_id).view.doing)
    assert stack.containers(run_id)
    assert stack("cancel", run_id).returncode == 0
    until(lambda: stack.door.show(run_id).view.outcome is Outcome.CANCELLED)
    assert stack.containers(run_id) == []
    assert b"kept.txt" in stack.door.diff(run_id)
    again = stack("cancel", run_id)
    assert again.returncode == 2
    assert again.stderr.splitlines()[0].startswith("error:")


def test_a_queued_run_says_its_place_and_can_be_cancelled(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script("sleep 300", SUBMIT)
    first, second, third = (stack.detached(path, repo) for _ in range(3))
    until(lambda: stack.door.show(first).view.state is State.RUNNING)
    listed = {run["id"]: run for run in stack.json("ps")["runs"]}
    assert (listed[second]["place"], listed[third]["place"]) == (1, 2)
    assert "queued (2nd)" in stack("ps").stdout
    for run_id in (second, third, first):
        stack("cancel", run_id)
    for run_id in (second, third, first):
        until(lambda run_id=run_id: stack.door.show(run_id).view.outcome is Outcome.CANCELLED)
    assert stack.json("ps")["runs"] == []


def test_a_submodule_free_url_serves_as_well_as_a_path(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    done = stack("run", "mend it", "--repo", repo.as_uri(), "--model", f"scripted/{script(MEND, SUBMIT)}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_dirty_repo_runs_at_head_and_says_so(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    (repo / "extra.txt").write_text("not committed\n")
    path = script("ls", MEND, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert "extra.txt" in done.stdout + done.stderr
    assert "--dirty" in done.stdout + done.stderr
    taken = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}", "--dirty", "--json")
    results = [json.loads(line) for line in taken.stdout.splitlines()]
    ls = next(line["event"]["body"]["result"] for line in results if line["event"]["body"]["type"] == "call_finished")
    assert "extra.txt" in ls["content"]


def test_the_projects_own_file_names_the_acceptance_command(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    (repo / "dreamdock.toml").write_text('accept = "test -f made.txt"\n[limits]\nsteps = 3\n')
    git(repo, "add", "-A")
    git(repo, "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "settings")
    run_id = stack.detached(script("touch made.txt", SUBMIT), repo)
    assert stack("wait", run_id).returncode == 0
    spec = stack.door.show(run_id).view.spec
    assert spec.accept is not None
    assert (spec.accept.command, spec.accept.origin, spec.limits.steps) == ("test -f made.txt", "dreamdock.toml", 3)


def test_without_an_acceptance_command_success_is_unproven(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    done = stack("run", "mend it", "--repo", str(repo), "--accept", "", "--model", f"scripted/{script(SUBMIT)}")
    assert done.returncode == 0, done.stderr
    assert "succeeded (unproven)" in done.stdout


def test_no_key_reaches_the_container_or_what_a_run_leaves(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    run_id = stack.detached(script("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'", SUBMIT), repo)
    stack("wait", run_id)
    left = b"".join(path.read_bytes() for path in stack.settings.state_dir.rglob("*") if path.is_file())
    assert run_id.encode() in left, "the journal's file is among them"
    assert SECRET.encode() not in left


def test_a_change_to_what_runs_elsewhere_has_to_be_allowed(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    workflow = "mkdir -p .github/workflows && echo 'on: push' > .github/workflows/ci.yml"
    run_id = stack.detached(script(workflow, SUBMIT), repo, "--accept", "true")
    assert stack("wait", run_id).returncode == 0
    refused = stack("apply", run_id, cwd=repo)
    assert refused.returncode == 6
    assert ".github/workflows/ci.yml" in refused.stderr
    assert git(repo, "status", "--porcelain") == ""


def test_a_model_over_http_does_the_work(stack: Stack, repo: Path) -> None:
    calls = [("c1", MEND[0], json.dumps(MEND[1])), ("c2", "bash", json.dumps({"command": "python3 -m pytest -q"}))]
    last = [("c3", "submit", json.dumps({"summary": "done"}))]
    with FakeProvider(chat("I mend it.", reasoning="Cents get lost.", calls=calls), chat("", calls=last)) as fake:
        flags = ("--model", "openai-compatible/fake", "--base-url", f"{fake.url}/v1", "--price", "unknown")
        done = stack("run", "mend it", "--repo", str(repo), *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        first, second = (asked.raw for asked in fake.asked)
    assert len(first) <= 16_000
    assert json.loads(second)["messages"][2]["reasoning_content"] == "Cents get lost."
    assert "240 tokens" in done.stdout
    assert "$?" in done.stdout, "the price of a model of one's own is not known"


def test_keys_of_this_shell_reach_idle_workers(stack: Stack, repo: Path) -> None:
    keys = {"ZAI_API_KEY": "zai-not-a-real-key-0815", "OPENAI_COMPATIBLE_API_KEY": "own-not-a-real-key-0815"}
    flags = ("--model", "openai-compatible/m", "--base-url", "http://127.0.0.1:9/v1", "--price", "0")
    run = stack("run", "x", "--repo", str(repo), *flags, "--fallback", "glm/glm-5.3", "-d", env=stack.environ | keys)
    assert run.returncode == 0, run.stderr
    assert "without OPENAI_COMPATIBLE_API_KEY and ZAI_API_KEY; starting them anew" in run.stderr
    stack("cancel", run.stdout.strip())
    assert {"glm", "openai-compatible"} <= set(stack.door.workers()[0].models)


@pytest.mark.parametrize("role", ["--fallback", "--judge"])
def test_a_second_model_without_a_key_is_refused_before_it_is_needed(stack: Stack, repo: Path, role: str) -> None:
    run = stack("run", "x", "--repo", str(repo), "--model", "mimo/mimo-v2.5", role, "kimi/kimi-k2.6", "-d")
    assert run.returncode == 4
    assert "no worker has a key for kimi/kimi-k2.6" in run.stderr
