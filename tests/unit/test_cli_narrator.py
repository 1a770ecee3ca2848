from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import get_args

import pytest
from rich.cells import cell_len
from rich.text import Text

from orchestrator import events as e
from orchestrator.cli import layout
from orchestrator.cli.narrator import Narrator
from orchestrator.cli.screen import Screen
from orchestrator.cli.wording import call_line, describe
from orchestrator.dialogue import FailedRequest, Part, Reply, ToolCall, ToolResult, Usage
from orchestrator.notes import Window
from orchestrator.runs import Acceptance, Outcome, Ruling, RunSpec, Verdict, Weakening, Weakness
from orchestrator.settings import RunLimits
from sandbox.spec import FileChange

BEGAN = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
HOSTILE = "\x1b[2J\x07\r\u202e\u2028\x9b"
GIVEN = e.Given(id=HOSTILE, title=HOSTILE, scope=HOSTILE, scope_id=HOSTILE)
ASKED = e.Asked(
    id=HOSTILE, kind="question", step=1, text=HOSTILE, options=(HOSTILE, HOSTILE), default=HOSTILE, deadline=BEGAN
)


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def verdict(*, passed: bool = True, base_tests: bool = False, output: str = "1 passed\n") -> Verdict:
    code = 0 if passed else 1
    return Verdict(
        command="pytest",
        exit_code=code,
        timed_out=False,
        output=output,
        duration_s=2.0,
        tree="t",
        base_tests=base_tests,
    )


def tell(*bodies: e.Body, narrator: Narrator | None = None) -> list[str]:
    """Return what a narrator says of these events, a second apart, as plain lines `label|text`."""
    narrator = narrator or Narrator()
    told = []
    for number, body in enumerate(bodies, start=1):
        event = e.Event(seq=number, at=BEGAN + timedelta(seconds=number), who="ann@host", body=body)
        told += [f"{line.label}|{line.text.plain}" for line in narrator.tell(event)]
    return told


def bash(step: int, command: str, output: str, **ended: object) -> list[e.Body]:
    call = ToolCall(id=f"c{step}", name="bash", arguments={"command": command})
    result = ToolResult(call_id=call.id, name="bash", content=output)
    finished = {"exit_code": 0, "duration_s": 0.83, **ended}
    reply = Reply(calls=(call,), usage=Usage(input_tokens=900, output_tokens=100), cost_usd=0.5)
    return [
        e.Replied(step=step, reply=reply),
        e.CallStarted(step=step, call=call),
        e.CallFinished.model_validate({"step": step, "result": result, **finished}),
    ]


def child_started(task: str = "Mend a.\nAll of it.") -> e.ChildStarted:
    limits = RunLimits(steps=50)
    return e.ChildStarted(step=2, call="c", child="one", kind="task", task=task, tree="t", limits=limits)


def test_what_a_sub_agent_does_stands_behind_its_name_and_counts_for_the_run() -> None:
    narrator = Narrator()
    done = bash(1, "make", "ok\n[exit code 0]")
    within = [e.Within.model_validate({"child": "one", "body": body}) for body in done]
    finished = e.ChildFinished(step=2, child="one", outcome="submitted", steps=1)
    conflict = e.ChildMerged(step=2, child="one", merged=False, conflicts=("a.py",))
    told = tell(child_started(), *within, finished, conflict, narrator=narrator)
    assert told == [
        "|one │ task: Mend a. … (+1 line)",
        "|one │ step 1/50: $ make",
        "|one │   ok",
        "|one │ ✓ exit 0 · 0.8 s",
        "|one │ ✓ submitted · 1 step",
        "|one │ ! not merged: conflicts in a.py",
    ]
    assert (narrator.usage.input_tokens, narrator.cost_usd, narrator.step) == (900, 0.5, 0)


def test_what_a_run_is_given_of_memory_is_told_by_its_titles() -> None:
    entries = (e.Given(id="a1", title="Tests run with make", scope="repo", scope_id="0" * 12),)
    entries += (e.Given(id="b2", title="", scope="team", scope_id="core"),)
    start = e.Recalled(step=0, query="tests", why="start", entries=entries, text="...")
    assert tell(start) == ["memory|Tests run with make", "|b2"]
    later = start.model_copy(update={"step": 3, "why": "tool", "entries": entries[:1]})
    assert tell(e.Replied(step=3, reply=Reply()), later)[-1].endswith("|from memory: 1 entry: Tests run with make")


def test_every_kind_of_event_has_its_words() -> None:
    kinds = [kind.model_fields["type"].default for kind in get_args(get_args(e.Body)[0])]
    assert len(kinds) >= 14
    assert all(callable(getattr(Narrator(), f"_{kind}", None)) for kind in kinds)


def test_a_step_shows_its_command_the_end_of_its_output_and_how_it_ended(spec: RunSpec) -> None:
    output = "".join(f"line {n}\n" for n in range(8)) + "[exit code 1]"
    files = (FileChange(path="src/x.py", status="M", added=3, removed=1),)
    told = tell(
        e.Submitted(spec=spec),
        *bash(3, "make test\nmake lint", output, exit_code=1),
        e.Checkpointed(step=3, commit="c", tree="t", files=files, inexact=("big.bin, 900 MB",)),
    )
    assert (
        told[-9:]
        == [
            "step 3/200|$ make test … (+1 line)",
            "|  … 3 lines above",
            *(f"|  line {n}" for n in range(3, 8)),
            "|✗ exit 1 · 0.8 s",
            "|M src/x.py +3 -1",
            "|! not in the checkpoint: big.bin, 900 MB",
        ][1:]
    )
    assert "step 3/200|$ make test … (+1 line)" in told


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"timed_out": True, "exit_code": None, "duration_s": 600.0}, "✗ timed out · 10 min"),
        ({"signal": 9, "exit_code": None}, "✗ killed by SIGKILL · 0.8 s"),
        ({"signal": 99, "exit_code": None}, "✗ killed by signal 99 · 0.8 s"),
        ({"exit_code": None}, "✗ it was refused · 0.8 s"),
        ({"exit_code": 0}, "✓ exit 0 · 0.8 s"),
    ],
)
def test_how_a_command_ended_is_said_in_words(ended: dict[str, object], words: str) -> None:
    assert tell(*bash(1, "x", "it was refused", **ended))[-1] == f"|{words}"


def test_quick_tools_take_one_line_and_say_why_they_failed() -> None:
    calls = [ToolCall(id="a", name="read", arguments={"path": "x.py"}), ToolCall(id="b", name="edit", invalid="{")]
    told = tell(
        e.Replied(step=1, reply=Reply(text="Look first.", calls=tuple(calls))),
        *(e.CallStarted(step=1, call=call) for call in calls),
        e.CallFinished(step=1, result=ToolResult(call_id="a", name="read", content="1 import os")),
        e.CallFinished(step=1, result=ToolResult(call_id="b", name="edit", content="error: not JSON", ok=False)),
    )
    assert told == ["step 1/200|Look first.", "|read x.py", "|✗ edit: its arguments can't be read: not JSON"]


def test_money_and_tokens_add_up_and_an_unknown_price_stays_unknown(spec: RunSpec) -> None:
    narrator = Narrator()
    tell(e.Submitted(spec=spec), *bash(1, "a", ""), *bash(2, "b", ""), narrator=narrator)
    assert narrator.spent(BEGAN + timedelta(seconds=11)) == "10 s · 2.0k tokens · $1.00"
    assert narrator.status().plain.startswith("step 2/200 · ")
    tell(e.Replied(step=3, reply=Reply()), narrator=narrator)
    assert narrator.spent().endswith("$?")


def test_behind_a_rewind_a_step_has_its_number_and_the_limit_what_counts(spec: RunSpec) -> None:
    narrator = Narrator()
    done = [e.Checkpointed(step=step, commit="c", tree="t") for step in (1, 2, 4)]
    told = tell(
        e.Submitted(spec=spec),
        *(*bash(1, "a", ""), done[0], *bash(2, "b", ""), done[1]),
        e.Rewound(step=3, to=1, why="rewind", commit="c", tree="t", depth=1),
        *(*bash(4, "c", ""), done[2]),
        narrator=narrator,
    )
    assert "step 2/200|$ b" in told
    assert next(line for line in told if line.startswith("step 3|")).endswith("; 1 of 200 steps count")
    assert "step 4|$ c" in told
    assert narrator.status().plain.startswith("step 4 (2 of 200 count) · ")
    last = tell(e.Finished(outcome=Outcome.SUCCEEDED), narrator=narrator)[-1]
    assert " · step 4 (2 of 200 count) · " in last


def test_a_fork_counts_its_own_steps(spec: RunSpec) -> None:
    told = tell(e.Submitted(spec=spec), e.Forked(run="x", step=5, head="", commit="", tree=""), *bash(6, "a", ""))
    assert "step 6|$ a" in told


def test_a_reply_of_a_lost_attempt_is_said_to_be_used_again(spec: RunSpec) -> None:
    narrator = Narrator()
    begun = bash(1, "a", "")
    ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
    told = tell(
        *(e.Submitted(spec=spec), ready, *begun[:2]),
        e.AttemptLost(attempt=1, reason="its worker died", void_step=1),
        *(e.Dispatched(attempt=2), ready, *begun[1:]),
        narrator=narrator,
    )
    again = "step 1/200|again, by the reply in the journal: it isn't asked or paid for twice"
    assert told[-3:] == [again, "|$ a", "|✓ exit 0 · 0.8 s"]
    assert narrator.spent().endswith(" · 1.0k tokens · $0.5000")


def test_an_undone_step_is_named_and_what_proved_it_forgotten(spec: RunSpec) -> None:
    told = tell(
        e.Submitted(spec=spec),
        e.Judged(verdict=verdict()),
        e.AttemptLost(attempt=1, reason="its worker died", void_step=5),
        e.Dispatched(attempt=2, reason="its worker died"),
        e.Finished(outcome=Outcome.SUCCEEDED),
    )
    assert told[-3:-1] == ["attempt 1|! lost: its worker died; step 5 was undone", "queued|again, as attempt 2"]
    assert "succeeded (unproven)" in told[-1]


def test_acceptance_says_where_the_command_comes_from_and_what_it_proves() -> None:
    told = tell(
        e.FinishStarted(command="pytest", origin="guess"),
        e.Judged(verdict=verdict()),
        e.Judged(verdict=verdict(passed=False, base_tests=True, output="a\n1 failed\n")),
        e.Finished(outcome=Outcome.FAILED, reason="it fails", summary="I did\n\nthis"),
    )
    assert told == [
        "acceptance|in a fresh container (guessed from the repository)",
        "|$ pytest",
        "|  1 passed",
        "|✓ passed · exit 0 · 2.0 s",
        "|  a",
        "|  1 failed",
        "|✗ failed · exit 1 · 2.0 s · with the base's test files put back",
        "summary|I did",
        "|this",
        "outcome|✗ failed: it fails · 0 steps · 0 ms · 0 tokens · $0.00",
    ]


def test_the_sandbox_is_told_by_the_rules_one_asks_for_first() -> None:
    policy = {"network": "none: no interface", "capabilities": "none, and none can be gained", "cpu": "2 cores"}
    ready = e.SandboxReady(image="i", image_id="x", container="c", tree="t", policy=policy)
    assert tell(ready) == ["sandbox|i, sealed: network none, capabilities none"]


def test_what_was_asked_for_names_guess_script_and_what_is_left_out(spec: RunSpec) -> None:
    accept = Acceptance(command="pytest", origin="guess")
    asked = spec.model_copy(update={"accept": accept, "left_out": tuple(f"f{n}" for n in range(10))})
    told = {line.label: line.text.plain for line in describe(asked)}
    assert told["acceptance"].startswith("$ pytest  (guessed")
    assert "every command runs for real" in told["model"]
    assert told["left out"] == "f0, f1, f2, f3, f4, f5, f6, f7 and 2 more: not committed; --dirty takes them along"
    asked = spec.model_copy(
        update={"model": "openai-compatible/m", "base_url": "http://h/v1", "fallback": "glm/glm-5.3", "unpriced": True}
    )
    told = {line.label: line.text.plain for line in describe(asked)}
    assert told["model"] == "openai-compatible/m at http://h/v1, else glm/glm-5.3"
    assert told["limits"] == "200 steps · money not limited: no price · 6 h"
    assert "unproven" in {line.label: line.text.plain for line in describe(spec)}["acceptance"]


def test_nothing_hostile_reaches_the_terminal(spec: RunSpec) -> None:
    repo = spec.repo.model_copy(update={"name": HOSTILE, "source": HOSTILE})
    accept = Acceptance(command=HOSTILE + "x", origin=HOSTILE)
    wild = spec.model_copy(
        update={
            "task": f"x{HOSTILE}",
            "repo": repo,
            "model": HOSTILE,
            "fallback": HOSTILE,
            "accept": accept,
            "left_out": (HOSTILE,),
            "setup": (HOSTILE,),
        }
    )
    call = ToolCall(id="r", name=HOSTILE, arguments={"path": HOSTILE, "pattern": 3})
    changed = (FileChange(path=HOSTILE, status="M", added=0, removed=0),)
    bodies: list[e.Body] = [
        e.Submitted(spec=wild),
        e.Dispatched(attempt=2, reason=HOSTILE),
        e.Claimed(attempt=1, fence=1, worker=HOSTILE, host=HOSTILE),
        e.Built(dockerfile=HOSTILE, image=HOSTILE, log=HOSTILE, failed=HOSTILE),
        e.SetUp(commands=(HOSTILE,), network="on", log=HOSTILE, failed=HOSTILE),
        e.SandboxReady(image=HOSTILE, image_id="", container="", tree="", policy={"network": HOSTILE}),
        e.Prompted(text=HOSTILE),
        *bash(1, HOSTILE, HOSTILE, exit_code=None),
        e.RequestFailed(step=2, failure=FailedRequest(model=HOSTILE, error=HOSTILE, cause=HOSTILE, instead=HOSTILE)),
        e.Replied(step=2, reply=Reply(text=HOSTILE)),
        e.CallStarted(step=2, call=call),
        e.CallFinished(step=2, result=ToolResult(call_id="r", name=HOSTILE, content=HOSTILE, ok=False)),
        e.CallFinished(step=2, result=ToolResult(call_id="unknown", name=HOSTILE, content=HOSTILE)),
        e.Checkpointed(step=2, commit="", tree="", files=changed, inexact=(HOSTILE,)),
        e.FinishStarted(command=HOSTILE, origin=HOSTILE),
        e.Judged(verdict=verdict(passed=False, output=HOSTILE)),
        e.Weakened(found=(Weakness(kind=Weakening.SKIPPED, path=HOSTILE, line=1, text=HOSTILE),)),
        e.Ruled(step=2, evidence="", ruling=Ruling(judge=HOSTILE, verdict="fail", unmet=(HOSTILE,), why=HOSTILE)),
        e.Refused(step=2, why=HOSTILE),
        e.Forked(run=HOSTILE, step=1, head="", commit="", tree=""),
        e.RulesRead(step=2, path=HOSTILE, text=HOSTILE),
        e.Recalled(step=2, query=HOSTILE, why="start", entries=(GIVEN,), text=HOSTILE),
        e.Recalled(step=2, query=HOSTILE, why="tool", entries=(GIVEN,), text=HOSTILE),
        e.Proposed(step=2, candidates=(e.Candidate(failure=HOSTILE), e.Candidate(reply=Reply(text=HOSTILE)))),
        e.Chosen(step=2, candidate=0, why=HOSTILE, tried=(e.Tried(candidate=2, failure=HOSTILE),)),
        e.Condensed(step=2, failure=HOSTILE, reply=Reply(text=HOSTILE)),
        e.Rebuilt(step=3, why="refused", window=Window(text=HOSTILE), model=HOSTILE, dropped=(1, 2)),
        e.Guarded(step=2, kind="calls", level="stop", reason=HOSTILE, since=1),
        e.Landing(step=2, what="money", used=4.2, limit=5),
        child_started(task=HOSTILE),
        e.Within(child="one", body=e.Replied(step=1, reply=Reply(text=HOSTILE))),
        e.ChildFinished(step=2, child="one", outcome="error", reason=HOSTILE, files=changed),
        e.ChildMerged(step=2, child="one", merged=False, conflicts=(HOSTILE,)),
        e.RewindRequested(step=1, message=HOSTILE),
        e.Rewound(step=3, to=1, why="undo", commit="", tree="", depth=1, message=HOSTILE),
        e.CancelRequested(),
        e.PauseRequested(),
        e.PreemptRequested(why="drain", text=HOSTILE),
        e.Parked(why="lost", text=HOSTILE),
        e.ResumeRequested(),
        e.Steered(text=HOSTILE),
        e.RetryRequested(),
        ASKED,
        ASKED.model_copy(update={"kind": "approval"}),
        e.Parked(why="approval", text=HOSTILE),
        e.Answered(id=HOSTILE, answer=HOSTILE, by="person", why=HOSTILE),
        e.Answered(id=HOSTILE, answer=HOSTILE, by="deadline"),
        e.AttemptLost(attempt=1, reason=HOSTILE),
        e.Finished(outcome=Outcome.ERROR, reason=HOSTILE, summary=HOSTILE),
    ]
    assert {body.type for body in bodies} == {k.model_fields["type"].default for k in get_args(get_args(e.Body)[0])}
    narrator = Narrator()
    for number, body in enumerate(bodies, start=1):
        told = narrator.tell(e.Event(seq=number, at=BEGAN, who=HOSTILE, body=body))
        words = narrator.status().plain + "".join(line.label + line.text.plain for line in told)
        assert not {char for char in words if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}, body.type


def test_a_context_that_is_built_anew_says_what_left_it_and_condensing_is_paid_for(spec: RunSpec) -> None:
    parts = (Part(name="task", tokens=2000), Part(name="tail", tokens=9000))
    built = e.Rebuilt(step=41, why="full", window=Window(), parts=parts, before=24_600, dropped=(1, 30), summed_up=36)
    narrator = Narrator()
    paid = Reply(text="## Done", usage=Usage(input_tokens=900, output_tokens=100), cost_usd=0.5)
    assert tell(e.Submitted(spec=spec), e.Condensed(step=36, summary="x", reply=paid), narrator=narrator)[-1:] != []
    assert (narrator.usage.input_tokens, narrator.cost_usd) == (900, 0.5)
    assert tell(built) == ["context|built anew: 24.6k tokens → 11.0k, steps 1 to 30 left it, summed up to step 36"]
    refused = built.model_copy(update={"why": "refused", "summed_up": 0, "dropped": (7, 7)})
    assert tell(refused) == [
        "context|built anew: the model refused 24.6k tokens → 11.0k, step 7 left it, without a summary"
    ]
    failed = e.Condensed(step=36, failure="the endpoint answered 500")
    assert tell(failed) == ["condenser|! the endpoint answered 500"]


def test_a_loop_is_told_with_what_was_done_about_it() -> None:
    found = e.Guarded(
        step=9, kind="calls", level="remind", reason="the same call gave the same result 3 times", since=7
    )
    assert tell(found) == [f"guard|! {found.reason} · since step 7 · the model was told"]
    assert tell(found.model_copy(update={"level": "stop"}))[0].endswith("the work was stopped")


def test_what_may_have_been_weakened_is_told_with_its_place() -> None:
    skipped = Weakness(kind=Weakening.SKIPPED, path="t.py", line=3, text="@skip")
    deleted = Weakness(kind=Weakening.DELETED, path="u.py", line=0, text="2 tests: a, b")
    told = tell(e.Weakened(found=(skipped, deleted)))
    assert told == ["flagged|! test left out · t.py:3  @skip", "|! test file deleted · u.py  2 tests: a, b"]
    nothing = Weakness(kind=Weakening.NOTHING, path=".", line=0, text="the tree is still the base commit's")
    assert tell(e.Weakened(found=(nothing,))) == ["flagged|! nothing changed  the tree is still the base commit's"]
    many = tell(e.Weakened(found=(skipped,) * 30))
    assert (len(many), many[-1]) == (21, "|  and 10 more: dreamdock audit")


def test_a_call_that_is_no_string_is_still_told() -> None:
    assert call_line(ToolCall(id="x", name="grep", arguments={"pattern": ["a"], "path": "src"})) == "grep ['a'] src"
    assert call_line(ToolCall(id="x", name="processes", arguments={"stop": 12})) == "processes stop 12"
    assert call_line(ToolCall(id="x", name="processes")) == "processes"


def test_prose_is_broken_under_its_own_column_and_other_lines_are_cut(spec: RunSpec) -> None:
    terminal = Terminal()
    screen = Screen(json=False, color="never", answer=terminal, talk=StringIO())
    screen.answer.width = 60
    asked = spec.model_copy(update={"task": "mend " * 60, "repo": spec.repo.model_copy(update={"source": "/x" * 90})})
    layout.put(screen, describe(asked))
    rows = terminal.getvalue().splitlines()
    assert all(cell_len(row) <= 60 for row in rows)
    assert rows[1].startswith(" " * layout.LABEL + "mend")
    assert rows[2].endswith("…")
    assert rows[3].startswith("repository")
    assert rows[3].endswith("…")


def test_a_table_aligns_wide_characters_and_figures() -> None:
    rows = [[Text("日本"), Text("5"), Text("x")], [Text("a"), Text("100"), Text("y")]]
    lines = [line.plain for line in layout.table(rows, right=(1,))]
    assert lines == ["日本    5  x", "a     100  y"]


def test_a_refused_submission_is_told_with_what_came_of_it() -> None:
    assert tell(e.Refused(step=3, why="it fails")) == ["refused|✗ it fails · the model was told"]
    [again] = tell(e.Refused(step=4, why="it fails", again=True))
    assert again == "refused|✗ it fails; nothing has changed since the last refusal · the model was told"


def test_a_flaky_acceptance_is_called_so() -> None:
    flaky = verdict().model_copy(update={"runs": 3, "passes": 2, "flake": "FAILED test_clock\n"})
    *rest, last = tell(e.Judged(verdict=flaky))
    assert rest[-1] == "|  didn't count: FAILED test_clock"
    assert last.endswith(" · flaky: passed 2 of 3")
