"""The agent at work: a real sandbox, a real journal on a real Redis, a scripted model or a fake provider."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import Answer, FakeProvider, chat, error
from pydantic import SecretStr
from working import (
    BUG,
    SUBMIT,
    base,
    bash,
    box,
    kinds,
    lose,
    opened,
    results,
    script,
    start,
    work,
)

from orchestrator import events as e
from orchestrator.agent.ending import Ending, Kind
from orchestrator.agent.loop import Agent
from orchestrator.dialogue import Reply, Request, ToolCall
from orchestrator.journal.live import Said
from orchestrator.journal.stream import listen
from orchestrator.models import catalog, open_script
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.port import SILENT, Listener
from orchestrator.settings import RunLimits
from orchestrator.stop import Stop, Stopped
from sandbox.errors import ChannelLost

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis
    from working import Opened

    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]


def test_a_task_is_worked_on_step_by_step(start: Any, box: Sandbox, base: tuple[Store, Base]) -> None:
    journal = start()
    edit = ("edit", {"path": "calc.py", "old": " + 1\n", "new": "\n"})
    check = bash("python3 -c 'import calc; print(calc.double(4))'")
    ending = work(journal, box, script([("read", {"path": "calc.py"})], [edit, check], SUBMIT))
    assert ending == Ending(Kind.SUBMITTED, summary="done")
    step = ["replied", "call_started", "call_finished", "checkpointed"]
    assert kinds(journal) == ["prompted", *step, *step[:3], *step[1:], *step]
    read, edited, checked, _ = results(journal)
    assert read.content == "    1\tdef double(number):\n    2\t    return number + number + 1"
    assert (edited.ok, checked.content) == (True, "8\n[exit code 0]")
    commits = [event.body for event in journal.events if isinstance(event.body, e.Checkpointed)]
    assert [[file.path for file in commit.files] for commit in commits] == [[], ["calc.py"], []]
    assert (commits[0].patch, bool(commits[1].patch)) == ("", True)
    store, commit = base
    assert store.read_file(commit.project, journal.view.tree, "calc.py") == BUG.replace(" + 1\n", "\n").encode()


def test_the_shell_keeps_its_state_and_shows_how_commands_end(start: Any, box: Sandbox) -> None:
    journal = start()
    commands = [
        bash("mkdir -p sub && cd sub && export WHO=me"),
        bash("echo $WHO in $PWD; exit 3"),
        bash("kill -9 $$"),
        bash("sleep 30", timeout=0.5),
        bash("seq 100000; printf '\\033[31mred\\n'"),
        bash("curl -sS --max-time 3 http://192.0.2.1"),
        bash("grep -c . /workspace/.dreamdock/output/5"),
    ]
    work(journal, box, script(commands, SUBMIT))
    shown = results(journal)
    assert shown[0].content == "[exit code 0; working directory /workspace/sub]"
    assert shown[1].content == "me in /workspace/sub\n[exit code 3; working directory /workspace/sub]"
    assert "ended by signal 9" in shown[2].content
    assert "timed out after 0.5 s" in shown[3].content
    assert [result.ok for result in shown[:5]] == [True, True, True, False, True]
    assert "characters left out here" in shown[4].content
    assert len(shown[4].content) < 17_000
    assert "99999\n100000\nred\n[exit code 0" in shown[4].content
    assert shown[4].content.endswith("[the whole output is in /workspace/.dreamdock/output/5]")
    assert "exit code 0" not in shown[5].content
    assert shown[6].content.startswith("100001\n[exit code 0")
    finished = [event.body for event in journal.events if isinstance(event.body, e.CallFinished)]
    assert [(body.exit_code, body.timed_out) for body in finished[1:4:2]] == [(3, False), (None, True)]
    assert finished[4].total_bytes > 500_000


def test_file_tools_refuse_with_reasons(start: Any, box: Sandbox) -> None:
    journal = start()
    calls: list[tuple[tuple[str, dict[str, Any]], str]] = [
        (("read", {"path": "absent.py"}), "doesn't exist"),
        (("read", {"path": "."}), "directory"),
        (("read", {"path": "blob.bin"}), "is binary (300 bytes)"),
        (("read", {"path": "calc.py", "offset": 9}), "has only 2 lines"),
        (("read", {"path": "/dev/zero"}), "error:"),
        (("edit", {"path": "calc.py", "old": "nothing like it", "new": "x"}), "was not found in calc.py"),
        (("edit", {"path": "calc.py", "old": "number", "new": "x"}), "occurs 3 times in calc.py (lines 1, 2, 2)"),
        (("edit", {"path": "calc.py", "old": "number", "new": "number"}), "are the same"),
        (("edit", {"path": "calc.py", "old": "", "new": "x"}), "old:"),
        (("write", {"path": "/etc/passwd", "content": "x"}), "error:"),
        (("write", {"path": "calc.py/x", "content": "x"}), "error:"),
        (("write", {"content": "x"}), "path: Field required"),
        (("grep", {"pattern": "("}), "regex parse error"),
        (("bash", {"command": "a\0b"}), "NUL"),
        (("bash", {"cmd": "ls"}), "cmd:"),
        (("processes", {"stop": 1}), "no process 1 runs in the background"),
        (("processes", {"stop": -1}), "stop:"),
        (("fly", {"to": "moon"}), "there is no tool 'fly'; the tools are bash, read"),
    ]
    ending = work(journal, box, script([call for call, _ in calls], SUBMIT))
    assert ending.kind is Kind.SUBMITTED
    for (_, words), result in zip(calls, results(journal), strict=False):
        assert words in result.content, result
        assert not result.ok, result
    assert not [
        event.body.files for event in journal.events if isinstance(event.body, e.Checkpointed) and event.body.files
    ]


def test_file_tools_do_what_they_say(start: Any, box: Sandbox) -> None:
    journal = start()
    calls: list[tuple[tuple[str, dict[str, Any]], str]] = [
        (("write", {"path": "deep/er/new.py", "content": "a = 1\nb = 1\n"}), "deep/er/new.py: 12 bytes written"),
        (("edit", {"path": "deep/er/new.py", "old": "1", "new": "2", "replace_all": True}), "2 replaced, line 1, 2"),
        (("read", {"path": "/workspace/deep/er/new.py"}), "    1\ta = 2\n    2\tb = 2"),
        (("edit", {"path": "crlf.txt", "old": "one\ntwo", "new": "1\n2"}), "1 replaced"),
        (("edit", {"path": "latin.txt", "old": "one", "new": "two"}), "1 replaced"),
        (bash("cat -A crlf.txt; od -An -tx1 latin.txt"), "1^M$\n2^M$\n 63 61 66 e9 20 74 77 6f 0a"),
        (("read", {"path": "empty"}), "[the file is empty]"),
        (("read", {"path": "calc.py", "limit": 1}), "up to line 1 of 2; go on with offset 2"),
        (("grep", {"pattern": "DOUBLE", "ignore_case": True}), "calc.py:1:def double(number):"),
        (("grep", {"pattern": "a", "path": "deep", "glob": "*.txt"}), "nothing found"),
        (("glob", {"pattern": "*.py"}), "calc.py\ndeep/er/new.py"),
        (("glob", {"pattern": "*.py", "path": "deep"}), "deep/er/new.py"),
        (("glob", {"pattern": "**/HEAD"}), "nothing found"),
    ]
    work(journal, box, script([call for call, _ in calls], SUBMIT))
    for (_, words), result in zip(calls, results(journal), strict=False):
        assert words in result.content, result
        assert result.ok, result


def test_what_runs_in_the_background_is_listed_and_stopped(start: Any, box: Sandbox) -> None:
    journal = start()
    work(journal, box, script([bash("sleep 1031 & sh -c $'sleep 1032; echo \\e[31m' & sleep 0.2"), ("processes", {})]))
    listed = dict(line.split("  ")[::2] for line in results(journal)[1].content.splitlines())
    assert list(listed.values()) == ["sleep 1031", "sh -c sleep 1032; echo \\x1b[31m", "sleep 1032"]
    parent = next(int(pid) for pid, command in listed.items() if command.startswith("sh"))
    journal = start()
    work(journal, box, script([("processes", {"stop": parent}), ("processes", {"stop": parent})], SUBMIT))
    stopped, again, _ = results(journal)
    first, *left = stopped.content.splitlines()
    assert (stopped.ok, first) == (True, f"[process {parent} was stopped]")
    assert [line.split("  ")[2] for line in left] == ["sleep 1031"], "its descendants went along, and nothing else"
    assert not again.ok
    calls = [event.body.call for event in journal.events if isinstance(event.body, e.CallStarted)]
    assert [(call.name, call.arguments) for call in calls[:2]] == [("processes", {"stop": parent})] * 2
    assert box.stop(next(int(pid) for pid, command in listed.items() if command == "sleep 1031"))
    journal = start()
    work(journal, box, script([("processes", {})], SUBMIT))
    assert results(journal)[0].content == "nothing runs in the background"


def test_a_link_out_of_the_workspace_leads_nowhere_on_the_host(start: Any, box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    secret.chmod(0o644)
    journal = start()
    calls = [bash(f"ln -s {secret} out"), ("read", {"path": "out"}), ("read", {"path": f"../../../..{secret}"})]
    work(journal, box, script([*calls, ("write", {"path": "out", "content": "x"})], SUBMIT))
    assert "of the host" not in str(results(journal))
    assert secret.read_text() == "of the host"


def test_steps_money_and_time_are_limits(start: Any, box: Sandbox) -> None:
    endless = script(*[[bash("true")]] * 9)
    journal = start(limits=RunLimits(steps=2))
    assert work(journal, box, endless).kind is Kind.STEPS
    assert journal.view.step == 2

    journal = start(limits=RunLimits(money_usd=0.5))
    journal.append(e.Replied(step=1, reply=Reply(cost_usd=0.6)), e.AttemptLost(attempt=1, reason="r"))
    assert work(journal, box, endless).kind is Kind.MONEY

    journal = start(limits=RunLimits(seconds=1))
    assert journal.view.started_at is not None
    journal.view = journal.view.model_copy(update={"started_at": journal.view.started_at - timedelta(seconds=2)})
    assert work(journal, box, endless).kind is Kind.TIME
    assert journal.view.step == 0


def test_a_model_that_calls_nothing_is_reminded_and_then_given_up(start: Any, box: Sandbox) -> None:
    journal = start()
    ending = work(journal, box, '{"text": "I think."}\n' * 9)
    assert ending.kind is Kind.GAVE_UP
    assert journal.view.step == 3
    prompts = [event.body.text for event in journal.events if isinstance(event.body, e.Prompted)]
    assert ["called no tool" in prompt for prompt in prompts] == [False] + [True] * 2


def test_arguments_that_could_not_be_read_go_back_as_an_error(start: Any, box: Sandbox) -> None:
    journal = start()
    broken = ToolCall(id="c1", name="bash", invalid='{"command": "ls')

    class Once:
        """The first reply is broken; then the model submits."""

        name = "once"
        prompt_limit = reply_limit = 0

        def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
            del prompt_tokens, reply_tokens
            return 0.0

        def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
            stop.check()
            del listener, how
            submit = ToolCall(id="c2", name="submit", arguments={"summary": "done"})
            return Reply(calls=(submit if len(request.dialogue) > 1 else broken,))

        def close(self) -> None:
            """Nothing is open."""

    Agent(Once(), box, journal, journal.view.spec, Stop()).run()
    assert "not a JSON object" in results(journal)[0].content
    assert not results(journal)[0].ok


def test_a_resumed_attempt_runs_the_open_replys_calls_again_and_says_so(
    client: Redis, start: Any, opened: Opened
) -> None:
    text = script([bash("echo one >> log; cat log")], [bash("echo two >> log; cat log")], SUBMIT)
    journal = start()
    with opened() as box:
        model = open_script("scripted", text)
        first = Agent(model, box, journal, journal.view.spec, Stop())
        first._begin()
        first._step()
        first._reply()
        call = model.ask(Request(system="", tools=(), dialogue=(Reply(),)), Stop()).calls[0]
        first._carry_out(call)  # Carried out and journalled, but the worker dies before the checkpoint.
    second = lose(client, journal, 1)
    before = [event.body for event in second.events if isinstance(event.body, e.Replied)]
    with opened(second.view.tree) as box:
        assert work(second, box, text).kind is Kind.SUBMITTED
    replies = [event.body for event in second.events if isinstance(event.body, e.Replied)]
    assert replies[: len(before)] == before
    assert [body.step for body in replies] == [1, 2, 3]
    again = results(second)[2]
    assert again.content.startswith("Note: the work was interrupted")
    assert again.content.endswith("one\ntwo\n[exit code 0]")
    assert "interrupted" not in results(second)[3].content


def test_an_attempt_that_goes_on_between_steps_is_told_what_is_gone(client: Redis, start: Any, opened: Opened) -> None:
    text = script([bash("export A=1")], [bash("echo ${A:-unset}")], SUBMIT)
    journal = start()
    with opened() as box:
        first = Agent(open_script("scripted", text), box, journal, journal.view.spec, Stop())
        first._begin()
        first._step()
    second = lose(client, journal, 1)
    with opened(second.view.tree) as box:
        work(second, box, text)
        assert work(second, box, text).kind is Kind.SUBMITTED  # Nothing is done twice once it's over.
    prompts = [event.body.text for event in second.events if isinstance(event.body, e.Prompted)]
    assert len(prompts) == 2
    assert "at the end of step 1" in prompts[1]
    assert results(second)[1].content == "unset\n[exit code 0]"
    assert second.view.step == 3


def test_a_call_that_ended_its_worker_twice_is_not_run_a_third_time(client: Redis, start: Any, box: Sandbox) -> None:
    text = script([bash("touch ran")], SUBMIT)
    journal = start()
    [call] = open_script("scripted", text).ask(Request(system="", tools=(), dialogue=()), Stop()).calls
    journal.append(e.Prompted(system="s", text="t"), e.Replied(step=1, reply=Reply(calls=(call,))))
    for number in (1, 2):
        journal.append(e.CallStarted(step=1, call=call))
        journal = lose(client, journal, number)
    assert work(journal, box, text).kind is Kind.SUBMITTED
    assert "is not run again" in results(journal)[0].content
    assert box.run("ls").output.count(b"ran\n") == 0


@pytest.mark.parametrize("kill", [True, False])
def test_a_stop_ends_the_work(start: Any, opened: Opened, kill: bool) -> None:
    journal, stop = start(), Stop()
    with opened() as box:
        if kill:
            stop.on_set(box.kill)
        timer = threading.Timer(0.7, stop.set, ["cancelled"])
        timer.start()
        with pytest.raises(Stopped, match="cancelled"):
            work(journal, box, script([bash("sleep 60" if kill else "sleep 1"), bash("true")], SUBMIT), stop=stop)
        timer.join()
    assert journal.view.step == 0


def test_a_sandbox_that_is_gone_is_not_the_models_problem(start: Any, opened: Opened) -> None:
    journal = start()
    with opened() as box:
        threading.Timer(0.5, box.kill).start()
        with pytest.raises(ChannelLost):
            work(journal, box, script([bash("sleep 60")], SUBMIT))
    assert journal.view.step == 0


def test_the_first_request_is_small_and_each_extends_the_one_before(start: Any, opened: Opened) -> None:
    journal = start()
    spec = journal.view.spec.model_copy(update={"task": "x" * 200})
    call = ("c1", "bash", '{"command": "rm AGENTS.md; ls"}')
    with FakeProvider() as fake, opened() as box:
        box.run("rm AGENTS.md")
        fake.answers = [chat("Look.", reasoning="Hm.", calls=[call])] * 3
        fake.answers.append(chat("", calls=[("c9", "submit", '{"summary": "done"}')]))
        chosen = catalog({}).choose("openai-compatible/m", base_url=fake.url)
        with closing(ApiModel(chosen, SecretStr("sk-fake-0123456789"), Patience())) as model:
            assert Agent(model, box, journal, spec, Stop()).run().kind is Kind.SUBMITTED
    assert len(fake.asked[0].raw) <= 8 * 1024
    for before, after in zip(fake.asked, fake.asked[1:], strict=False):
        shared = before.raw[: before.raw.index(b'"messages":[')]
        assert after.raw.startswith(shared)
        assert after.body["messages"][: len(before.body["messages"])] == before.body["messages"]


def test_failures_and_what_is_being_said_reach_who_follows(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    with FakeProvider() as fake:
        submit = [("c1", "submit", json.dumps({"summary": "done"}))]
        fake.answers = [error(503, "overloaded"), chat("Well then.", calls=submit)]
        chosen = catalog({}).choose("openai-compatible/m", base_url=fake.url)
        with closing(ApiModel(chosen, SecretStr("sk-fake-0123456789"), Patience(backoff_s=0.01))) as model:
            Agent(model, box, journal, journal.view.spec, Stop()).run()
    failed = next(event.body for event in journal.events if isinstance(event.body, e.RequestFailed))
    assert (failed.step, failed.failure.model) == (1, "openai-compatible/m")
    assert "overloaded" in failed.failure.cause
    said = next(item for item in listen(client, journal.view.id, after=len(journal.events)) if isinstance(item, Said))
    assert (said.step, said.kind) == (1, "text")
    assert "Well then.".startswith(said.piece)


def test_the_time_limit_ends_a_reply_that_is_under_way(start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(seconds=2))
    with FakeProvider(Answer(silent_s=60)) as fake:
        chosen = catalog({}).choose("openai-compatible/m", base_url=fake.url)
        with closing(ApiModel(chosen, SecretStr("sk-fake-0123456789"), Patience())) as model:
            began = time.monotonic()
            assert Agent(model, box, journal, journal.view.spec, Stop()).run().kind is Kind.TIME
            assert time.monotonic() - began < 10
