from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.agent import tools
from orchestrator.agent.context import Projection
from orchestrator.agent.ending import Kind
from orchestrator.agent.loop import Agent
from orchestrator.agent.role import MAIN
from orchestrator.cli import main
from orchestrator.dialogue import Reply, Request, ToolCall, ToolResult, Turn, Usage
from orchestrator.errors import ConfigError, ModelError, NotFoundError, UsageError
from orchestrator.export import cassette
from orchestrator.journal.lease import claim
from orchestrator.journal.stream import read
from orchestrator.journal.writer import Writer, create
from orchestrator.models.cassette import LARGEST, Header, normal, parse_script, record, request_keys
from orchestrator.models.scripted import ScriptedModel, read_script
from orchestrator.notes import Window
from orchestrator.runs import RunSpec, new_run_id
from orchestrator.settings import RunLimits
from orchestrator.stop import Stop
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from redis import Redis

    from orchestrator.models.cassette import Match

SECRET = "ghp_" + "a1B2c3D4" * 5
SYSTEM = "You work."


def request_key(request: Request) -> str:
    """The key of the request itself."""
    return list(request_keys(request))[-1]


def call(number: int, command: str, **more: Any) -> ToolCall:
    return ToolCall(id=f"toolu_{number}", name="bash", arguments={"command": command}, **more)


REPLIES = (
    Reply(text="Look.", reasoning="Hm.", calls=(call(1, "ls"), call(2, "", invalid='{"comm')), raw="{}", cost_usd=0.1),
    Reply(text="Who?", usage=Usage(input_tokens=70, output_tokens=7, cached_tokens=50), finish_reason="stop"),
    Reply(calls=(call(3, "make"),), usage=Usage(input_tokens=90, output_tokens=9), finish_reason="tool_calls"),
    Reply(calls=(ToolCall(id="toolu_4", name="submit", arguments={"summary": "done ✓"}),)),
)
OUTPUTS = {"ls": "a.py\n[exit code 0]", "": "no JSON", "make": "ok in 0.06s\n[exit code 0]"}


def answers(reply: Reply, outputs: dict[str, str]) -> tuple[ToolResult, ...]:
    return tuple(
        ToolResult(call_id=c.id, name=c.name, content=outputs.get(c.arguments.get("command", ""), "submitted"))
        for c in reply.calls
    )


def extended(request: Request, reply: Reply, outputs: dict[str, str] = OUTPUTS) -> Request:
    turn = Turn(results=answers(reply, outputs)) if reply.calls else Turn(text="Call a tool.")
    return request.model_copy(update={"dialogue": (*request.dialogue, reply, turn)})


def asked(task: str = "Mend it.", replies: Sequence[Reply] = (), outputs: dict[str, str] = OUTPUTS) -> Request:
    request = Request(system=SYSTEM, tools=tools.specs(MAIN.hands(RunLimits())), dialogue=(Turn(text=task),))
    for reply in replies:
        request = extended(request, reply, outputs)
    return request


def replayed(text: str, request: Request, outputs: dict[str, str] = OUTPUTS) -> list[Reply]:
    model, replies = ScriptedModel("scripted/c", parse_script(text, "c")), []
    while not replies or "submit" not in [c.name for c in replies[-1].calls]:
        replies.append(model.ask(request, Stop()))
        request = extended(request, replies[-1], outputs)
    return replies


def bare(replies: Sequence[Reply]) -> list[dict[str, Any]]:
    """What a replay gives back of a reply: all of it but who gave it, what it cost, and the provider's own message."""
    return [reply.model_dump(include={"text", "reasoning", "calls", "usage", "finish_reason"}) for reply in replies]


def recorded(match: Match = "request", **changes: Any) -> str:
    about = Header(match=match, model="mimo/m", task="Mend it.", base="c" * 40)
    return record(asked(replies=REPLIES), about, **changes)


@pytest.mark.parametrize("match", ["step", "request"])
def test_what_is_recorded_is_replayed(match: Match) -> None:
    text = recorded(match)
    assert text.isascii()
    header, *lines = map(json.loads, text.splitlines())
    about = {"schema": "dreamdock.cassette/1", "match": match, "model": "mimo/m", "task": "Mend it.", "base": "c" * 40}
    assert header == about
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {*lines[0]} == {"text", "reasoning", "calls", "usage", "finish_reason", "step", "request"}
    replies = replayed(text, asked())
    assert bare(replies) == bare(REPLIES)
    assert {reply.cost_usd for reply in replies} == {0.0}


def test_by_request_a_reply_is_found_whatever_differs_from_run_to_run() -> None:
    later = {**OUTPUTS, "make": "ok in 12.31 s  \n[exit code 0]"}
    assert bare(replayed(recorded(), asked(), later)) == bare(REPLIES)


def test_by_request_another_task_is_refused_at_the_first_step() -> None:
    with pytest.raises(ModelError) as caught:
        replayed(recorded(), asked("Break it."))
    assert "step 1 differs" in caught.value.cause
    assert "recorded for 'Mend it.'" in caught.value.cause
    assert caught.value.cause.endswith("after 'Break it.'")
    assert '"match": "step"' in caught.value.hint
    assert bare(replayed(recorded("step"), asked("Break it."))) == bare(REPLIES)


def test_by_request_the_first_step_that_differs_is_named_with_what_it_was_asked_after() -> None:
    with pytest.raises(ModelError) as caught:
        replayed(recorded(), asked(), {**OUTPUTS, "make": "2 failed in 0.06s\n" + "x" * 1000})
    assert "step 4 differs from every recorded one: it is asked for after '2 failed in <duration>" in caught.value.cause
    assert len(caught.value.cause) < 300
    model = ScriptedModel("scripted/c", parse_script(recorded(), "c"))
    with pytest.raises(ModelError, match="has no reply") as caught:
        model.ask(asked(replies=REPLIES, outputs={**OUTPUTS, "ls": "b.py"}), Stop())
    assert "step 2 differs" in caught.value.cause
    assert "b.py no JSON" in caught.value.cause


def test_several_replies_to_one_request_are_played_in_their_order() -> None:
    key = request_key(asked())
    head = '{"schema": "dreamdock.cassette/1", "match": "request"}'
    lines = [json.dumps({"text": text, "request": key}) for text in "ab"]
    model = ScriptedModel("scripted/c", parse_script("\n".join([head, *lines]), "c"))
    assert [model.ask(asked(), Stop()).text for _ in range(3)] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("=== 12 passed in 0.06s ===", "=== 12 passed in 1.2 s ==="),
        ("real\t0m0.012s", "real\t1m3.5s"),
        ("at 2026-11-03T10:00:00.123Z", "at 2026-11-04 23:59:59+01:00"),
        ("Date: Tue Nov 3 10:00:00 2026 +0000", "Date: Sat Dec 12 1:02:03 2026 +0000"),
        ("Tue Nov  3 10:00:00 UTC 2026", "Sat Dec 12 01:02:03 CET 2027"),
        ("-rw-r--r-- 1 u u 5 Nov  3  2025 a.py", "-rw-r--r-- 1 u u 5 Dec 12 09:41 a.py"),
        ("-rw-r--r-- 1 u u 5 Nov  3 10:00 a.py", "-rw-r--r-- 1 u u 5 Dec 12 09:41 a.py"),
        ("[10:00:00] up", "[23:59:59.5] up"),
        ("rootdir: /tmp/pytest-of-u/pytest-0/x", "rootdir: /var/tmp/tmpab12"),
        ("<Thing at 0x7f3a2c>", "<Thing at 0x55DE01aa>"),
        ("HEAD is now at 0cb682d", "HEAD is now at e3e94fd1c2"),
        ("container 3f2a" + "0b1c" * 15, "container 9e8d" + "7f6a" * 15),
        ("run 4h0q8zkx2m7p, pid 4711", "run 9tw3vb6n1c5d, pid 12"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id 00000000-0000-0000-0000-000000000000"),
        ("[1] 4711\n", "[1] 99\n"),
        ("a  \nb\t\r\n", "a\nb\n"),
        (f"token {SECRET}", "token [redacted]"),
    ],
)
def test_what_differs_from_run_to_run_is_masked(one: str, other: str) -> None:
    assert normal(one) == normal(other) != one
    first, second = (asked(replies=REPLIES, outputs={"make": text}) for text in (one, other))
    assert request_key(first) == request_key(second)


def test_whatever_is_said_otherwise_is_another_request() -> None:
    request = asked(replies=REPLIES[:3])
    turn, reply, results, *rest = request.dialogue
    assert isinstance(results, Turn)
    assert isinstance(reply, Reply)
    failed = results.model_copy(
        update={"results": (results.results[0].model_copy(update={"ok": False}), *results.results[1:])}
    )
    others = [
        request.model_copy(update={"system": "You play."}),
        request.model_copy(update={"tools": request.tools[1:]}),
        request.model_copy(update={"dialogue": (Turn(text="Mend it!"), reply, results, *rest)}),
        request.model_copy(update={"dialogue": (turn, reply.model_copy(update={"text": "See."}), results, *rest)}),
        request.model_copy(update={"dialogue": (turn, reply.model_copy(update={"calls": ()}), results, *rest)}),
        request.model_copy(update={"dialogue": (turn, reply, failed, *rest)}),
        asked(replies=REPLIES[:3], outputs={**OUTPUTS, "make": "ok in 0.06s\n[exit code 1]"}),
        asked(replies=REPLIES[:2]),
    ]
    assert len({request_key(other) for other in (request, *others)}) == len(others) + 1
    unsaid = reply.model_copy(update={"reasoning": "", "raw": "", "usage": Usage(input_tokens=1), "cost_usd": None})
    assert request_key(request.model_copy(update={"dialogue": (turn, unsaid, results, *rest)})) == request_key(request)


def test_the_keys_of_a_dialogue_are_those_of_its_requests() -> None:
    prefixes = [asked(replies=REPLIES[:number]) for number in range(len(REPLIES) + 1)]
    assert list(request_keys(prefixes[-1])) == [request_key(request) for request in prefixes]


def test_no_secret_gets_into_a_cassette_and_it_still_plays() -> None:
    password, known = "hunter22-and-more", "opaque.and.known"
    replies = (
        Reply(
            text=f"With {SECRET}.",
            reasoning=f"{known}?",
            calls=(call(1, f"export DB_PASSWORD={password}"),),
            raw=SECRET,
        ),
        Reply(
            calls=(
                call(2, f"login ann {password}"),
                ToolCall(id="c", name="bash", arguments={SECRET: 1}),
                call(3, "", invalid=f'{{"command": "echo {SECRET}'),
            )
        ),
        REPLIES[-1],
    )
    outputs = {f"login ann {password}": f"welcome, {SECRET}"}
    about = Header(match="request", task=f"Mend it with {SECRET} and {known}.")
    text = record(asked(about.task, replies, outputs), about, known=[known])
    assert not any(secret in text for secret in (SECRET, password, known))
    played = replayed(
        text, asked("Mend it with [redacted] and [redacted]."), {"login ann [redacted]": f"welcome, {SECRET}"}
    )
    assert [c.arguments.get("command") for reply in played for c in reply.calls] == [
        "export DB_PASSWORD=[redacted]",
        "login ann [redacted]",
        None,
        "",
        None,
    ]


GOOD = '{"schema": "dreamdock.cassette/1", "match": "request"}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"schema": "dreamdock.cassette/2"}\n{"text": "a"}',
            "says 'dreamdock.cassette/2'; this version plays dreamdock.cassette/1",
        ),
        ('{"schema": 7}\n{"text": "a"}', "line 1 of c says '7'"),
        ('{"schema": "dreamdock.cassette/1", "match": "guess"}\n{"text": "a"}', "line 1 of c: match: Input should be"),
        ('{"schema": "dreamdock.cassette/1", "made": "up"}\n{"text": "a"}', "line 1 of c: made: Extra inputs"),
        (f"{GOOD}\n\nnot JSON", "line 3 of c: value: Invalid JSON"),
        (f'{GOOD}\n{{"text": "a", "request": "k"}}\n{{"text": "b"', "line 3 of c: value: Invalid JSON"),
        (f'{GOOD}\n{{"text": "a"}}', "line 2 of c: request: a reply that is found by its request needs one"),
        ('{"schema": "dreamdock.cassette/1"}\n{"step": 1}\n{"step": 3}', "line 3 of c: step: 3 stands where step 2"),
        (f"{GOOD}\n{GOOD}", "line 2 of c: schema: Extra inputs"),
        (GOOD, "c has no replies"),
        ("[" * 100_000, "line 1 of c: value: Invalid JSON"),
        ('{"text": "' + "x" * 5_000_000, "line 1 of c: value: Invalid JSON"),
    ],
)
def test_a_damaged_cassette_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match="can't be followed") as caught:
        parse_script(text, "c")
    assert words in caught.value.cause
    assert len(caught.value.cause) < 300
    assert caught.value.hint


def test_a_cassette_of_5_mb_is_neither_read_nor_written(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(recorded() + " " * 5_000_000)
    with pytest.raises(ConfigError, match="can't be read") as caught:
        read_script(f"scripted/{path}")
    assert "larger than 4 MiB" in caught.value.cause
    with pytest.raises(UsageError, match="too long for a cassette") as refused:
        record(asked(replies=(Reply(text="x " * LARGEST),)), Header())
    assert "8.0 MiB" in refused.value.cause


def test_a_script_written_by_hand_is_followed_by_step() -> None:
    script = parse_script('{"text": "a", "calls": [{"name": "bash", "arguments": {"command": "ls"}}]}', "s")
    assert script.header.match == "step"
    reply = ScriptedModel("scripted/s", script).ask(asked(), Stop())
    assert reply.calls[0].id == "call-1-1"
    assert reply.usage.input_tokens > 0


def begin(client: Redis, spec: RunSpec) -> Writer:
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    fence = claim(client, run_id, 1, lease_seconds=60)
    assert isinstance(fence, int)
    writer = Writer(client, run_id, who="w1", fence=fence, lease_seconds=60)
    writer.append(e.Claimed(attempt=1, fence=fence, worker="w1", host="h"))
    writer.append(e.SandboxReady(image="i", image_id="x", container="c", tree="t", policy={}))
    return writer


def commit(writer: Writer, step: int, reply: Reply) -> None:
    writer.append(e.Replied(step=step, reply=reply))
    for c, result in zip(reply.calls, answers(reply, OUTPUTS), strict=True):
        writer.append(e.CallStarted(step=step, call=c), e.CallFinished(step=step, result=result))
    writer.append(e.Checkpointed(step=step, commit="c" * 40, tree="1" * 40))
    if not reply.calls:
        writer.append(e.Prompted(text="Call a tool."))


@pytest.fixture
def journal(client: Redis, spec: RunSpec) -> Writer:
    """Return the journal of a run that went through all replies, one of them after another that came to nothing."""
    writer = begin(client, spec.model_copy(update={"task": "Mend it."}))
    writer.append(e.Prompted(system=SYSTEM, text="Mend it."))
    for step, reply in enumerate(REPLIES, start=1):
        if step == 3:
            writer.append(e.Replied(step=step, reply=Reply(text="This is undone.")))
            writer.append(e.AttemptLost(attempt=1, reason="killed", void_step=3))
        commit(writer, step, reply)
    return writer


@pytest.mark.needs_redis
@pytest.mark.parametrize("match", ["step", "request"])
def test_a_journal_is_exported_and_replayed_to_the_same_calls(client: Redis, journal: Writer, match: Match) -> None:
    text = cassette(list(read(client, journal.view.id)), match)
    assert "undone" not in text
    assert json.loads(text.splitlines()[0])["base"] == journal.view.spec.repo.commit
    assert bare(replayed(text, asked())) == bare(REPLIES)


@pytest.mark.needs_redis
def test_a_run_whose_context_was_built_anew_is_replayed_with_the_whole_dialogue(client: Redis, spec: RunSpec) -> None:
    writer = begin(client, spec.model_copy(update={"task": "Mend it."}))
    writer.append(e.Prompted(system=SYSTEM, text="Mend it."))
    for step, reply in enumerate(REPLIES, start=1):
        if step == 4:
            paid = Reply(text="## Goal\nIt is mended.", usage=Usage(input_tokens=100, output_tokens=10))
            writer.append(e.Condensed(step=3, summary=paid.text, reply=paid, tokens=100))
            window = Window(text=paid.text, first=3)
            writer.append(
                e.Rebuilt(step=4, why="full", window=window, before=100, limit=90, dropped=(1, 2), summed_up=3)
            )
        commit(writer, step, reply)
    for match in ("step", "request"):
        text = cassette(writer.events, match)
        assert "## Goal" not in text
        assert bare(replayed(text, asked())) == bare(REPLIES)


@pytest.mark.needs_redis
def test_the_reply_of_an_open_step_is_the_last_one(client: Redis, spec: RunSpec) -> None:
    writer = begin(client, spec)
    with pytest.raises(NotFoundError, match="no replies yet"):
        cassette(writer.events, "step")
    writer.append(e.Prompted(system=SYSTEM, text="Mend it."))
    commit(writer, 1, REPLIES[0])
    writer.append(e.Replied(step=2, reply=REPLIES[-1]), e.CallStarted(step=2, call=REPLIES[-1].calls[0]))
    request = Projection().follow(writer.events).request
    last = json.loads(cassette(writer.events, "request").splitlines()[-1])
    assert (last["step"], last["calls"][0]["name"], last["request"]) == (2, "submit", request_key(request))


@pytest.mark.needs_redis
@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_a_real_run_is_replayed_by_request_in_another_sandbox(client: Redis, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "calc.py").write_text("def double(number):\n    return number + number + 1\n")
    (repo / "AGENTS.md").write_text("Use tabs.\n")
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "base"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *argv], cwd=repo, check=True)
    store = Store(tmp_path / "store")
    spec = RunSpec(task="Mend double.", repo=store.import_commit(repo), model="scripted", image="")
    commands = [
        "ls -la; date; mktemp; echo $$ | sed 's/^/pid /'",
        "time sleep 0.01",
        "git log; date -Is",
        "python3 -c 'print(object())'",
    ]
    calls = [[{"name": "bash", "arguments": {"command": command}}] for command in commands]
    calls.append([{"name": "edit", "arguments": {"path": "calc.py", "old": " + 1\n", "new": "\n"}}])
    calls.append([{"name": "submit", "arguments": {"summary": "done"}}])

    def work(text: str) -> Writer:
        journal = begin(client, spec)
        sealed = SandboxSpec(image=base_image(), labels={"test": "cassette"})
        with open_sandbox(sealed, store, spec.repo, tmp_path / "workspaces") as box:
            model = ScriptedModel("scripted/c", parse_script(text, "c"))
            assert Agent(model, box, journal, spec, Stop()).run().kind is Kind.SUBMITTED
        return journal

    first = work("\n".join(json.dumps({"calls": line}) for line in calls))
    second = work(cassette(first.events, "request"))
    outputs = [
        [b.result.content for event in j.events if isinstance(b := event.body, e.CallFinished)] for j in (first, second)
    ]
    assert outputs[0] != outputs[1]
    replies = [[b.reply for event in j.events if isinstance(b := event.body, e.Replied)] for j in (first, second)]
    assert bare(replies[0]) == bare(replies[1])
    assert first.view.tree == second.view.tree


@pytest.fixture
def export(redis_server: str, journal: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let `main` find the run; return its id."""
    monkeypatch.setenv("DREAMDOCK_REDIS_URL", redis_server)
    monkeypatch.setenv("DREAMDOCK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MIMO_API_KEY", "opaque.key.of.this.process")
    monkeypatch.chdir(tmp_path)
    return journal.view.id


@pytest.mark.needs_redis
def test_export_prints_a_cassette(export: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", export]) == 0
    text = capsys.readouterr().out
    assert bare(replayed(text, asked())) == bare(REPLIES)
    assert main(["export", export, "--match", "request", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["run"], told["format"], told["match"]) == (
        "dreamdock.export/1",
        export,
        "cassette",
        "request",
    )
    assert parse_script(told["content"], "c").header.match == "request"


@pytest.mark.needs_redis
def test_export_writes_a_file_once(export: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", export, "-o", "my run.jsonl"]) == 0
    done = capsys.readouterr()
    assert done.out == ""
    assert "dreamdock run --model scripted/'my run.jsonl'" in done.err
    written = tmp_path / "my run.jsonl"
    assert read_script(f"scripted/{written}") == written.read_text()
    written.write_text("mine")
    assert main(["export", export, "-o", "my run.jsonl"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert written.read_text() == "mine"
    assert main(["export", export, "-o", "my run.jsonl", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "my run.jsonl"
    assert written.read_text().startswith('{"schema": "dreamdock.cassette/1"')


@pytest.mark.needs_redis
def test_export_leaves_out_the_keys_of_this_process(
    client: Redis, spec: RunSpec, export: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export
    writer = begin(client, spec)
    writer.append(e.Prompted(system=SYSTEM, text="Mend it."))
    commit(writer, 1, Reply(text="It is opaque.key.of.this.process."))
    assert main(["export", writer.view.id]) == 0
    assert '"It is [redacted]."' in capsys.readouterr().out
