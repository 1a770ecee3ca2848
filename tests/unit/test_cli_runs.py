from __future__ import annotations

import base64
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from repos import Repo

from orchestrator import events as e
from orchestrator.cli import main
from orchestrator.cli.show import lines
from orchestrator.dialogue import Reply, ToolResult
from orchestrator.journal.fold import fold
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer, create
from orchestrator.reading import Listed
from orchestrator.runs import Outcome, RunSpec, Verdict, new_run_id
from sandbox.spec import FileChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

    Cli = Callable[..., "Done"]

pytestmark = pytest.mark.needs_redis

COMMAND = [sys.executable, "-m", "orchestrator.cli"]
PATCH = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+\x1b[31mb\n"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def environ(redis_server: str, tmp_path: Path) -> dict[str, str]:
    own = {
        "DREAMDOCK_REDIS_URL": redis_server,
        "DREAMDOCK_STATE_DIR": str(tmp_path / "state"),
        "DREAMDOCK_RUNTIME_DIR": str(tmp_path / "run"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TERM": "xterm-256color",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    return {name: value for name, value in os.environ.items() if "COLOR" not in name} | own


@pytest.fixture
def cli(
    client: Redis,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Cli:
    """Return a function that runs a command in this process, in a folder that is no repository."""
    assert client.ping()
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **more: str) -> Done:
        with monkeypatch.context() as changed:
            for name in {*os.environ} - {*environ}:
                changed.delenv(name)
            for name, value in (environ | more).items():
                changed.setenv(name, value)
            code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Done(code, out.decode(), err.decode())

    return run


@contextmanager
def running(arguments: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose output is read while it runs; whatever happens, it isn't left behind."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            yield process
        finally:
            process.kill()


def queue(client: Redis, spec: RunSpec, **changes: Any) -> str:
    run_id = new_run_id()
    create(client, run_id, "ann@host", [e.Submitted(spec=spec.model_copy(update=changes)), e.Dispatched(attempt=1)])
    return run_id


def start(client: Redis, run_id: str, reply: Reply) -> Writer:
    fence = claim(client, run_id, 1, lease_seconds=60)
    assert isinstance(fence, int)
    writer = Writer(client, run_id, who="w1", fence=fence, lease_seconds=60)
    writer.append(e.Claimed(attempt=1, fence=fence, worker="w1", host="h"))
    writer.append(e.SandboxReady(image="i", image_id="x", container="c", tree="t", policy={}))
    writer.append(e.Replied(step=1, reply=reply), e.CallStarted(step=1, call=reply.calls[0]))
    return writer


def end(writer: Writer, outcome: Outcome = Outcome.SUCCEEDED, patch: bytes = PATCH) -> None:
    result = ToolResult(call_id="c1", name="bash", content="1 passed\n[exit code 0]")
    files = (FileChange(path="x", status="M", added=1, removed=1),)
    verdict = Verdict(command="pytest", exit_code=0, timed_out=False, output="1 passed", duration_s=1.0, tree="t")
    writer.append(e.CallFinished(step=1, result=result, exit_code=0, duration_s=0.5, total_bytes=9))
    writer.append(e.Checkpointed(step=1, commit="c" * 40, tree="1" * 40, files=files, patch=writer.blob(patch)))
    writer.append(e.FinishStarted(command="pytest", origin="guess"), e.Judged(verdict=verdict))
    body = e.Finished(outcome=outcome, summary="Mended.", tree="1" * 40, files=files, patch=writer.blob(patch))
    writer.append(body, operation="finish")


@pytest.fixture
def finished(client: Redis, spec: RunSpec, reply: Reply) -> str:
    run_id = queue(client, spec)
    end(start(client, run_id, reply))
    return run_id


def test_ps_lists_what_is_not_done_with_full_ids_on_a_pipe(
    client: Redis, cli: Cli, spec: RunSpec, finished: str
) -> None:
    waiting = queue(client, spec, task="mend\x1b[2J it\nall of it")
    done = cli("ps")
    header, row = done.stdout.splitlines()
    assert header.split() == ["ID", "STATE", "STEPS", "AGE", "COST", "TASK"]
    assert row.startswith(f"{waiting}  ○ queued (no worker)")
    assert row.endswith("mend␛[2J it … (+1 line)  no worker lives: dreamdock up, or dreamdock worker on a host")
    assert finished not in done.stdout
    assert finished in cli("ps", "-a").stdout


def test_ps_in_json_is_one_document_with_a_schema(client: Redis, cli: Cli, spec: RunSpec, finished: str) -> None:
    waiting = queue(client, spec, script="x" * 5000)
    told = json.loads(cli("ps", "-a", "--json").stdout)
    assert told["schema"] == "dreamdock.ps/1"
    first, second = told["runs"]
    assert (first["id"], first["state"], first["outcome"], first["steps_limit"]) == (waiting, "queued", None, 200)
    assert (second["id"], second["state"], second["outcome"]) == (finished, "done", "succeeded")
    assert second["created_at"].endswith("Z")
    assert "script" not in first["spec"]


def test_ps_of_nothing_says_so_on_stderr(cli: Cli) -> None:
    done = cli("ps")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is running" in done.stderr


def test_colour_is_forced_into_a_pipe_and_taken_from_it(cli: Cli, finished: str) -> None:
    assert finished in cli("ps", "-a").stdout
    assert "\x1b[32m" in cli("ps", "-a", CLICOLOR_FORCE="1").stdout
    assert "\x1b" not in cli("ps", "-a", CLICOLOR_FORCE="1", NO_COLOR="1").stdout
    assert "\x1b[32m" in cli("ps", "-a", "--color", "always", NO_COLOR="1").stdout


def test_a_terminal_that_knows_only_ascii_still_gets_its_answer(environ: dict[str, str], finished: str) -> None:
    with running(["ps", "-a"], environ | {"PYTHONIOENCODING": "ascii"}) as process:
        assert process.stdout is not None
        assert f"{finished}  \\u2713 succeeded" in process.stdout.read()
        assert process.wait(timeout=10) == 0


def test_show_tells_state_cost_and_verdict(cli: Cli, finished: str) -> None:
    done = cli("show", finished[:7])
    assert f"run           {finished}" in done.stdout
    assert "state         ✓ succeeded" in done.stdout
    assert "step 1/200" in done.stdout
    assert "$0.2500" in done.stdout
    assert "✓ passed · exit 0 · 1.0 s" in done.stdout
    assert f"dreamdock diff {finished}" in done.stderr
    assert json.loads(cli("show", finished, "--json").stdout)["run"]["label"] == "succeeded"


def test_show_tells_what_a_run_was_given_of_long_term_memory(spec: RunSpec) -> None:
    repo = e.Given(id="a1", title="Tests run with make", scope="repo", scope_id="0123456789ab")
    team = e.Given(id="b2", title="Use\x1b tabs", scope="team", scope_id="red")
    start = e.Recalled(step=0, query="q", why="start", entries=(repo,), text="…")
    again = e.Recalled(step=2, query="q", why="tool", entries=(repo, team), text="…")
    bodies = [e.Submitted(spec=spec), start, e.Within(child="one", body=again), again]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    view = fold("r1", [e.Event(seq=n, at=at, who="w", body=body) for n, body in enumerate(bodies, start=1)])
    assert view.recalled == (repo, team)
    told = [(line.label, line.text.plain) for line in lines(Listed(view, None), at)]
    place = told.index(("memory", "a1  Tests run with make"))
    assert told[place + 1][1].endswith("tabs  team red")
    assert "\x1b" not in told[place + 1][1]


def test_show_tells_what_is_still_to_come_and_where_a_fork_comes_from(
    client: Redis, spec: RunSpec, cli: Cli, run_id: str
) -> None:
    Writer(client, run_id, who="ann").append(e.RewindRequested(step=0, why="undo"))
    assert "rewind        undo to step 0 is asked for; it comes before the next step" in cli("show", run_id).stdout
    fork = new_run_id()
    forked = e.Forked(run=run_id, step=4, head="h", commit="c" * 40, tree="t" * 40)
    create(client, fork, "ann", [e.Submitted(spec=spec), forked, e.Dispatched(attempt=1)])
    assert f"forked        from step 4 of run {run_id}" in cli("show", fork).stdout
    told = json.loads(cli("show", fork, "--json").stdout)["run"]
    assert (told["fork_of"], told["fork_step"]) == (run_id, 4)


@pytest.mark.parametrize("days", [(), ("--days", "0"), ("--days", "2.5")])
def test_after_a_trial_the_same_pruning_is_what_to_type(cli: Cli, days: tuple[str, ...]) -> None:
    done = cli("prune", "--dry-run", *days)
    assert done.stderr.endswith(f"next: {' '.join(('dreamdock', 'prune', *days))}\n")


def test_logs_tell_the_run_step_by_step(cli: Cli, finished: str) -> None:
    told = cli("logs", finished).stdout.splitlines()
    assert "step 1/200    look" in told
    assert "              ✓ exit 0 · 0.5 s" in told
    assert "              M x +1 -1" in told
    assert told[-4] == "summary       Mended."
    assert told[-3].startswith("outcome       ✓ succeeded · 1 step · ")
    assert told[-2] == "cost          $0.2500 · 100 tokens in, 10 out"
    assert told[-1].startswith("elsewhere     at the same usage: mimo/")


def test_cost_tells_each_reply_and_the_whole(cli: Cli, finished: str) -> None:
    done = cli("cost", finished)
    assert done.stdout.splitlines()[1].split() == ["1", "step", "100", "0", "10", "0", "$0.2500", "scripted"]
    told = json.loads(cli("cost", finished, "--json").stdout)
    assert (told["schema"], told["cost_usd"], told["usage"]["output_tokens"]) == ("dreamdock.cost/1", 0.25, 10)
    assert [(reply["step"], reply["kind"]) for reply in told["replies"]] == [(1, "step")]
    assert "mimo/mimo-v2.6-pro" in {other["model"] for other in told["elsewhere"]}


def test_logs_in_json_are_one_event_a_line(cli: Cli, finished: str) -> None:
    rows = [json.loads(line) for line in cli("logs", finished, "--json").stdout.splitlines()]
    assert {row["schema"] for row in rows} == {"dreamdock.event/1"}
    assert {row["run"] for row in rows} == {finished}
    assert [row["event"]["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["event"]["body"]["type"] == "finished"


def test_following_ends_with_the_run_and_wait_takes_its_exit_code(
    client: Redis, cli: Cli, environ: dict[str, str], spec: RunSpec, reply: Reply
) -> None:
    run_id = queue(client, spec)
    writer = start(client, run_id, reply)
    with running(["logs", "-f", run_id], environ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(11)]
        assert "$ pytest -q" in seen[-1], seen
        end(writer, Outcome.LIMIT)
        assert "■ limit" in process.stdout.read()
        assert process.wait(timeout=10) == 0
    waited = cli("wait", run_id)
    assert (waited.returncode, waited.stdout.split()[-1]) == (7, "limit")


def test_a_run_that_nobody_carries_is_cancelled_at_once(client: Redis, cli: Cli, spec: RunSpec) -> None:
    run_id = queue(client, spec)
    done = cli("cancel", run_id)
    assert (done.returncode, done.stdout.strip()) == (0, f"{run_id}  ⊘ cancelled")
    again = cli("cancel", run_id, "--json")
    assert (again.returncode, json.loads(again.stdout)["exit_code"]) == (2, 2)


def test_a_diff_on_a_pipe_is_the_patch_byte_for_byte(cli: Cli, finished: str) -> None:
    assert cli("diff", finished).stdout.encode() == PATCH
    told = json.loads(cli("diff", finished, "--json").stdout)
    assert (told["encoding"], told["patch"].encode()) == ("utf-8", PATCH)


def test_a_diff_that_is_not_utf8_is_base64_in_json(client: Redis, cli: Cli, spec: RunSpec, reply: Reply) -> None:
    run_id = queue(client, spec)
    end(start(client, run_id, reply), patch=b"caf\xe9\n")
    told = json.loads(cli("diff", run_id, "--json").stdout)
    assert (told["encoding"], base64.b64decode(told["patch"])) == ("base64", b"caf\xe9\n")


@pytest.mark.parametrize("arguments", [("show", "zzzzzz"), ("logs", "@"), ("diff", "@-"), ("cancel", "nope")])
def test_a_run_that_is_not_there_is_not_found(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 3


def test_an_ambiguous_id_is_a_mistake_of_usage(client: Redis, cli: Cli, spec: RunSpec) -> None:
    ids = [queue(client, spec) for _ in range(33)]  # 32 first characters: two have to be the same.
    first = max((run_id[0] for run_id in ids), key=[run_id[0] for run_id in ids].count)
    done = cli("show", first)
    assert (done.returncode, "ambiguous" in done.stderr) == (2, True)


def test_the_latest_run_of_the_repository_here_is_at(client: Redis, cli: Cli, spec: RunSpec, tmp_path: Path) -> None:
    here = Repo(tmp_path)
    here.git("commit", "-q", "--allow-empty", "-m", "x")
    mine = spec.repo.model_copy(update={"project": here.project})
    before, latest, _other = queue(client, spec, repo=mine), queue(client, spec, repo=mine), queue(client, spec)
    assert json.loads(cli("show", "@", "--json").stdout)["run"]["id"] == latest
    assert json.loads(cli("show", "@-", "--json").stdout)["run"]["id"] == before


def test_outside_a_repository_at_means_nobodys_run(cli: Cli, finished: str) -> None:
    done = cli("cancel", "@")
    assert (done.returncode, finished in done.stdout) == (3, False)
    assert "no git repository" in done.stderr


def test_redis_that_is_away_is_unavailable(cli: Cli, tmp_path: Path) -> None:
    done = cli("ps", DREAMDOCK_REDIS_URL=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 5
    assert done.stderr.startswith("error: Redis doesn't answer\ncause: ")
    assert "try:" in done.stderr


def test_a_misspelt_variable_is_a_mistake_of_configuration(cli: Cli) -> None:
    done = cli("ps", "--json", DREAMDOCK_REDIS="x")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (4, 4)


def test_settings_say_where_they_come_from_and_hide_passwords(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "config" / "dreamdock").mkdir(parents=True)
    (tmp_path / "config" / "dreamdock" / "config.toml").write_text("[limits]\nsteps = 7\n")
    done = cli("config", "show", "--json", DREAMDOCK_REDIS_URL="redis://ann:secret@h/0", DREAMDOCK_WORKERS="3")
    told = json.loads(done.stdout)["settings"]
    assert told["redis_url"] == {"value": "redis://ann:***@h/0", "origin": "DREAMDOCK_REDIS_URL"}
    assert told["workers"]["origin"] == "DREAMDOCK_WORKERS"
    assert told["limits.steps"] == {"value": 7, "origin": str(tmp_path / "config" / "dreamdock" / "config.toml")}
    assert told["image"] == {"value": None, "origin": "default"}


def on_a_terminal(
    arguments: list[str], environ: dict[str, str], *, when: str = "", then: bytes | signal.Signals = b""
) -> tuple[int, str]:
    """Run a command on a pseudo-terminal of 100 columns; once it has shown something, type keys or send a signal.

    Returns the exit code and everything that was written.
    """
    main, side = pty.openpty()
    argv, deadline, shown = [*COMMAND, *arguments], time.monotonic() + 60, b""
    environ = environ | {"COLUMNS": "100"}
    with (
        subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, env=environ) as process,
        os.fdopen(main, "r+b", 0) as end,
    ):
        os.close(side)
        try:
            while time.monotonic() < deadline:
                if when and when.encode() in shown:
                    when = ""
                    if isinstance(then, signal.Signals):
                        process.send_signal(then)
                    else:
                        end.write(then)
                if select.select([end], [], [], 0.1)[0]:
                    shown += end.read(65536)
            process.kill()
        except OSError:  # Its last writer has gone.
            pass
        return process.wait(timeout=10), shown.decode()


def test_a_terminal_gets_short_ids_and_colours(environ: dict[str, str], client: Redis, finished: str) -> None:
    assert client.ping()
    code, shown = on_a_terminal(["ps", "-a"], environ)
    assert code == 0
    assert finished[:6] in shown
    assert finished not in shown
    assert "\x1b[32m✓ succeeded" in shown


def test_a_terminal_never_gets_what_a_patch_would_have_it_obey(environ: dict[str, str], finished: str) -> None:
    _code, shown = on_a_terminal(["diff", finished], environ)
    assert "␛[31mb" in shown
    assert "\x1b[31mb" not in shown


def test_watching_shows_the_table_until_q(environ: dict[str, str], finished: str) -> None:
    code, shown = on_a_terminal(["ps", "-a", "--watch"], environ, when="q leaves", then=b"q")
    assert code == 0
    assert finished[:6] in shown
    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1


def test_following_on_a_terminal_keeps_progress_below_and_ctrl_c_leaves(
    client: Redis, environ: dict[str, str], spec: RunSpec, reply: Reply
) -> None:
    run_id = queue(client, spec)
    start(client, run_id, reply)
    code, shown = on_a_terminal(["logs", "-f", run_id], environ, when="110 tokens · $0.2500", then=signal.SIGINT)
    assert code == 130
    assert "step 1/200 · " in shown
    assert shown.count("\x1b[?25h") >= 1  # The cursor is back.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_watching_in_json_is_a_line_each_second_until_a_signal(
    environ: dict[str, str], finished: str, number: signal.Signals, code: int
) -> None:
    with running(["ps", "-a", "--watch", "--json"], environ) as process:
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(number)
        assert process.wait(timeout=10) == code
    assert [row["runs"][0]["id"] for row in rows] == [finished, finished]


def test_waiting_for_several_takes_the_first_failure(client: Redis, cli: Cli, spec: RunSpec, reply: Reply) -> None:
    first, second = queue(client, spec), queue(client, spec)
    end(start(client, first, reply))
    later = threading.Timer(1.0, lambda: end(start(client, second, reply), Outcome.TIMED_OUT))
    later.start()
    done = cli("wait", first, second, "--json")
    later.join()
    assert done.returncode == 124
    assert [json.loads(line)["run"]["outcome"] for line in done.stdout.splitlines()] == ["succeeded", "timed_out"]


def test_show_tells_what_the_agent_has_in_view(cli: Cli, finished: str) -> None:
    kept = json.loads(cli("show", finished, "--memory", "--json").stdout)
    assert (kept["schema"], kept["run"], kept["step"]) == ("dreamdock.memory/1", finished, 1)
    seen = json.loads(cli("show", finished, "--context", "--json").stdout)
    assert (seen["schema"], seen["step"], seen["limit"], seen["rebuilt"]) == ("dreamdock.context/1", 1, None, [])
    assert seen["tokens"] == sum(part["tokens"] for part in seen["parts"])
    assert cli("show", finished, "--memory").stdout.startswith(("goal ", "files "))
    assert "tokens in the window at step 1" in cli("show", finished, "--context").stdout
    both = cli("show", finished, "--memory", "--context")
    assert (both.returncode, "ask for one of them" in both.stderr) == (2, True)
