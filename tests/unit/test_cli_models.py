from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.cli import cost, main, models
from orchestrator.cli.follow import tell
from orchestrator.cli.narrator import Narrator
from orchestrator.cli.screen import Screen
from orchestrator.cli.wording import costs as cost_lines
from orchestrator.costs import Costs, Elsewhere, ReplyCost
from orchestrator.dialogue import FailedRequest, Reply, Sent, Usage
from orchestrator.journal.live import Said
from orchestrator.models import catalog
from orchestrator.models.listing import listed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

USAGE = Usage(input_tokens=12_000, cached_tokens=9000, output_tokens=300, reasoning_tokens=120)
TOLD = Costs(
    replies=(
        ReplyCost(step=1, model="mimo/m", usage=USAGE, cost_usd=0.0125, sent=Sent(size=4300)),
        ReplyCost(
            step=2, model="x/\x1b[2J", usage=USAGE, cost_usd=None, sent=Sent(size=9000, previous=4300, kept=4300)
        ),
    ),
    elsewhere=(Elsewhere(model="deepseek/deepseek-flash", cost_usd=0.004),),
)


def said(kind: str, piece: str, *, step: int = 1, reply: int = 1) -> Said:
    return Said.model_validate({"step": step, "reply": reply, "kind": kind, "piece": piece})


def test_a_cost_is_told_reply_by_reply() -> None:
    head, first, second = (line.plain.split() for line in cost.table(TOLD))
    assert head[:7] == ["STEP", "FOR", "IN", "CACHED", "OUT", "REASONING", "COST"]
    assert first == ["1", "step", "12.0k", "9.0k", "300", "120", "$0.0125", "4.3k", "mimo/m"]
    assert second == ["2", "step", "12.0k", "9.0k", "300", "120", "$?", "9.0k", "100", "%", "x/␛[2J"]


def test_a_summary_is_told_from_the_replies_of_steps() -> None:
    sent = Sent(size=9_100, previous=9_000, kept=400)
    paid = ReplyCost(step=2, kind="condense", model="mimo/m", usage=USAGE, cost_usd=0.5, sent=sent)
    *_, row = (line.plain.split() for line in cost.table(TOLD.model_copy(update={"replies": (*TOLD.replies, paid)})))
    assert row == ["2", "summary", "12.0k", "9.0k", "300", "120", "$0.5000", "9.1k", "mimo/m"]


def test_the_end_says_what_it_cost_and_what_it_would_have_cost() -> None:
    spent, elsewhere = (f"{line.label}|{line.text.plain}" for line in cost_lines(TOLD))
    assert spent == "cost|$? · 24.0k tokens in, 75 % of them cached, 600 out"
    assert elsewhere == "elsewhere|at the same usage: deepseek/deepseek-flash $0.0040"
    assert cost_lines(Costs(replies=(), elsewhere=())) == []


def test_models_are_listed_with_window_price_and_key() -> None:
    own = {"lab": {"wire": "chat", "base_url": "http://127.0.0.1:1", "models": {"m": {}}}}
    rows = [line.plain.split() for line in models.table(listed(catalog(own), {"MIMO_API_KEY": "k"}))]
    assert rows[0] == ["KEY", "WINDOW", "OUTPUT", "$/M", "IN", "CACHED", "OUT", "MODEL"]
    assert ["✓", "set", "1.0M", "131.1k", "0.14", "0.0028", "0.28", "mimo/mimo-v2.5", "MIMO_API_KEY"] in rows
    assert ["·", "optional", "?", "?", "?", "?", "?", "lab/m"] in rows
    assert any(row[:3] == ["✗", "not", "set"] and row[-2:] == ["glm/glm-4.7", "ZAI_API_KEY"] for row in rows)


def test_a_server_of_ones_own_that_needs_no_key_is_what_is_tried_next(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "dreamdock"
    folder.mkdir()
    (folder / "config.toml").write_text(
        '[families.home]\nwire = "chat"\nbase_url = "http://127.0.0.1:1/v1"\nmodels.m.window = 32_768\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for key in ("MIMO", "DEEPSEEK", "MOONSHOT", "ZAI", "OPENAI", "ANTHROPIC", "OPENAI_COMPATIBLE"):
        monkeypatch.delenv(f"{key}_API_KEY", raising=False)
    assert main(["models"]) == 0
    assert capsys.readouterr().err == "next: dreamdock doctor --model home/m\n"


def test_models_in_json_are_one_document_without_a_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("ZAI_API_KEY", "zai-not-a-real-key-0815")
    assert main(["models", "--json"]) == 0
    out = capsys.readouterr().out
    [glm] = [model for model in json.loads(out)["models"] if model["name"] == "glm/glm-5.3"]
    assert (glm["key_set"], glm["window"], glm["price"]) == (True, 1_000_000, [1.4, 0.26, 4.4])
    assert "not-a-real-key" not in out


def test_what_is_being_said_is_its_text_or_its_reasoning_before_that() -> None:
    narrator = Narrator()
    narrator.hear(said("reasoning", "Hm, "))
    narrator.hear(said("reasoning", "what?"))
    assert narrator.saying().plain == "Hm, what?"
    narrator.hear(said("text", "I look\x1b[2J"))
    assert narrator.saying().plain == "I look␛[2J"
    narrator.hear(said("call", "bash"))
    assert narrator.doing == "calling bash"


def test_another_reply_takes_back_what_was_said_and_a_complete_one_ends_it() -> None:
    narrator = Narrator()
    narrator.hear(said("text", "A beginning that was cut"))
    narrator.hear(said("text", "Whole", reply=2))
    assert narrator.saying().plain == "Whole"
    body = e.Replied(step=1, reply=Reply(text="Whole."))
    narrator.tell(e.Event(seq=1, at=datetime.now(UTC), who="w", body=body))
    narrator.hear(said("text", " late", reply=2))
    assert narrator.saying().plain == ""


def test_a_failed_request_is_told_with_what_comes_next() -> None:
    narrator = Narrator()
    again = FailedRequest(model="mimo/m", error="mimo/m doesn't answer", cause="HTTP 503", wait_s=2.1)
    instead = again.model_copy(update={"instead": "glm/glm-5.3", "wait_s": 0.0})
    told = []
    for failure in (again, instead):
        body = e.RequestFailed(step=1, failure=failure)
        told += narrator.tell(e.Event(seq=1, at=datetime.now(UTC), who="w", body=body))
    assert [line.text.plain for line in told] == [
        "! mimo/m doesn't answer: HTTP 503; again in 2.1 s",
        "! mimo/m doesn't answer: HTTP 503; asking glm/glm-5.3 instead",
    ]


def test_followers_in_json_get_a_line_for_each_piece(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(json=True, color="never", answer=StringIO(), talk=StringIO())
    tell(screen, "r1", [said("text", "lo"), said("call", "bash")], progress=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["schema"], line["kind"], line["piece"]) for line in lines] == [
        ("dreamdock.said/1", "text", "lo"),
        ("dreamdock.said/1", "call", "bash"),
    ]
