from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator.dialogue import Reply, Request, ToolResult, Turn
from orchestrator.errors import ConfigError, NotFoundError, UsageError
from orchestrator.models import (
    catalog,
    is_scripted,
    open_model,
    open_script,
    read_script,
    secrets,
)
from orchestrator.models.keys import read_key
from orchestrator.stop import Stop, Stopped

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = catalog({})
KEY = "sk-fake-0123456789abcdef"
START = Request(system="s", tools=(), dialogue=(Turn(text="Do it."),))


def after(*replies: Reply) -> Request:
    dialogue: list[Turn | Reply] = [*START.dialogue]
    for reply in replies:
        results = tuple(ToolResult(call_id=call.id, name=call.name, content="done") for call in reply.calls)
        dialogue += [reply, Turn(results=results)]
    return START.model_copy(update={"dialogue": tuple(dialogue)})


def play(script: str, *, name: str = "scripted", accept: str = "", most: int = 20) -> list[Reply]:
    model, replies = open_script(name, script, accept=accept), []
    while len(replies) < most:
        replies.append(model.ask(after(*replies), Stop()))
        if any(call.name == "submit" for call in replies[-1].calls):
            break
    return replies


def test_every_family_is_complete() -> None:
    for family_id, family in KNOWN.families.items():
        assert family.key.endswith("_API_KEY")
        assert family.base_url.startswith("https://") or family_id == "openai-compatible"
        for name, model in family.models.items():
            assert 0 < model.output < model.window, name
            assert model.price or family.prices or not family.base_url, f"{name} has no price"


def test_listed_models_have_a_known_price() -> None:
    from genai_prices import Usage, calc_price  # noqa: PLC0415  # A slow import that one test needs.

    for family in KNOWN.families.values():
        for name, model in family.models.items():
            if not model.price and family.prices:
                usage = Usage(input_tokens=1000, output_tokens=10)
                assert calc_price(usage, name, provider_id=family.prices).total_price > 0


def test_a_name_stands_for_a_model_at_an_address() -> None:
    choice = KNOWN.choose("mimo/mimo-v2.5-pro")
    assert (choice.base_url, choice.data.window) == ("https://api.xiaomimimo.com/v1", 1_048_576)
    own = KNOWN.choose("openai-compatible/qwen/qwen3", base_url="http://127.0.0.1:8000/v1/")
    assert (own.model, own.base_url, own.data.window) == ("qwen/qwen3", "http://127.0.0.1:8000/v1", 0)
    assert KNOWN.choose("deepseek/of-tomorrow").data.output == 0


@pytest.mark.parametrize("name", ["gpt-9", "nobody/gpt-9", "mimo", "mimo/", "", "/x"])
def test_an_unknown_model_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KNOWN.choose(name)
    assert "mimo" in caught.value.hint
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "address",
    [
        *("", "localhost:8000", "file:///etc/passwd", "http://", "http:///v1", "http://[::1", "http://h:80a/v1"),
        *("http://h:99999/v1", "http://h:0", "http://h/v1\nx", "http://h/a b", "http://u:pw@h/v1", "http://u@h/v1"),
        *("http://h/v1?key=sk-1", "http://h/v1#x", "ftp://h/v1"),
    ],
)
def test_a_self_hosted_model_needs_an_address(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        KNOWN.choose("openai-compatible/m", base_url=address)
    assert "--base-url" in caught.value.hint


def test_a_familys_key_goes_to_no_other_address() -> None:
    with pytest.raises(UsageError, match="takes no --base-url") as caught:
        KNOWN.choose("mimo/mimo-v2.5", base_url="http://127.0.0.1:1/v1")
    assert "openai-compatible/mimo-v2.5 --base-url http://127.0.0.1:1/v1" in caught.value.hint


def test_the_default_is_the_first_family_with_a_key() -> None:
    assert KNOWN.default({}) == "scripted"
    assert KNOWN.default({"OPENAI_API_KEY": KEY, "DEEPSEEK_API_KEY": KEY}) == "deepseek/deepseek-v4-pro"
    assert KNOWN.default({"ANTHROPIC_API_KEY_FILE": "/some/where"}).startswith("anthropic/")
    assert KNOWN.default({"MIMO_API_KEY": " "}) == "scripted"
    assert KNOWN.with_key({"OPENAI_API_KEY": KEY, "MIMO_API_KEY": KEY}) == ("mimo", "openai")


def test_a_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    for environ in ({"MIMO_API_KEY": f" {KEY} "}, {"MIMO_API_KEY_FILE": str(path)}):
        key = read_key("MIMO_API_KEY", environ)
        assert key is not None
        assert key.get_secret_value() == KEY
        assert KEY not in repr(key)
        assert secrets(KNOWN, environ) == (KEY,)
    assert read_key("MIMO_API_KEY", {}) is None


@pytest.mark.parametrize("text", [f"{KEY}\nsecond line", f"{KEY}é", f"{KEY}\x07", "k" * 9000])
def test_what_can_be_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_key("MIMO_API_KEY", {"MIMO_API_KEY_FILE": str(path)})
    assert KEY not in f"{caught.value.message}{caught.value.cause}{caught.value.hint}"
    assert secrets(KNOWN, {"MIMO_API_KEY_FILE": str(path)}) == ()


def test_a_missing_key_or_key_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key for mimo/m") as caught:
        open_model(KNOWN.choose("mimo/m"), {})
    assert "export MIMO_API_KEY=" in caught.value.hint
    with pytest.raises(ConfigError, match="key file"):
        open_model(KNOWN.choose("mimo/m"), {"MIMO_API_KEY_FILE": str(tmp_path / "absent")})


def test_nothing_imports_an_sdk_before_a_real_model_is_opened() -> None:
    code = (
        "import sys, orchestrator.models as m\n"
        "k = m.catalog({}); k.choose('mimo/mimo-v2.5'); k.default({}); m.open_script('scripted', '')\n"
        "heavy = {'pydantic_ai', 'openai', 'anthropic', 'genai_prices', 'httpx2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_script_is_followed_by_step() -> None:
    lines = [
        {"text": "one", "calls": [{"name": "bash", "arguments": {"command": "ls"}}, {"name": "glob", "arguments": {}}]},
        {"calls": [{"name": "submit", "arguments": {"summary": "done"}}]},
    ]
    first, last = play("\n\n".join(map(json.dumps, lines)) + "\n")
    assert (first.text, [call.id for call in first.calls]) == ("one", ["call-1-1", "call-1-2"])
    assert first.calls[0].arguments == {"command": "ls"}
    assert last.calls[0].arguments == {"summary": "done"}
    assert first.cost_usd == 0
    assert last.usage.input_tokens > first.usage.input_tokens > 0


def test_a_script_that_ends_submits_and_says_so() -> None:
    replies = play('{"text": "only this"}')
    assert replies[0].text == "only this"
    assert "script is over after 1 replies" in replies[1].calls[0].arguments["summary"]


def test_a_line_is_left_out_where_the_first_turn_has_what_it_finds_out() -> None:
    lines = [{"text": "look", "unless": "run `make`"}, {"text": "make"}, {"text": "other", "unless": "Do it."}]
    script = "\n".join(map(json.dumps, lines))
    model = open_script("scripted", script)
    assert [reply.text for reply in play(script)][:2] == ["look", "make"]
    told = Turn(text="Do it.\n\nKnown: run `make`")
    known = model.ask(START.model_copy(update={"dialogue": (told,)}), Stop())
    assert known.text == "make"
    later = (told, known, Turn(results=(ToolResult(call_id="c", name="bash", content="run `make`"),)))
    assert (
        "over after 1 replies"
        in model.ask(START.model_copy(update={"dialogue": later}), Stop()).calls[0].arguments["summary"]
    )
    seen = (START.dialogue[0], Reply(text="look"), Turn(text="run `make`"))
    assert model.ask(START.model_copy(update={"dialogue": seen}), Stop()).text == "make", "only the first turn counts"
    with pytest.raises(ConfigError) as caught:
        open_script("scripted", '{"text": "a", "unless": "b", "step": 1}')
    assert "unless" in caught.value.cause


def test_a_string_may_hold_any_line_separator() -> None:
    [reply, _] = play(json.dumps({"text": "a\u2028b"}, ensure_ascii=False))
    assert reply.text == "a\u2028b"


@pytest.mark.parametrize(
    ("script", "line"),
    [('{"text": "a"}\n{"text": ', "line 2"), ('\n\n{"txt": "a"}', "line 3"), ('{"calls": [{"tool": "x"}]}', "line 1")],
)
def test_a_broken_script_is_refused_with_its_line(tmp_path: Path, script: str, line: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(script)
    with pytest.raises(ConfigError) as caught:
        read_script(f"scripted/{path}")
    assert line in caught.value.cause
    with pytest.raises(ConfigError, match="can't be followed"):
        open_script("scripted", script)


def test_a_script_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"text": "hello"}\n')
    assert is_scripted(f"scripted/{path}")
    assert read_script(f"scripted/{path}") == '{"text": "hello"}\n'
    assert read_script("scripted") == ""
    with pytest.raises(NotFoundError):
        read_script(f"scripted/{tmp_path}/absent")
    with pytest.raises(ConfigError):
        read_script(f"scripted/{tmp_path}")
    path.write_text("\n")
    with pytest.raises(ConfigError, match="can't be followed"):
        read_script(f"scripted/{path}")


def test_the_built_in_script_runs_the_acceptance_command_and_says_what_it_is() -> None:
    replies = play("", accept="make check")
    commands = [call.arguments["command"] for reply in replies for call in reply.calls if call.name == "bash"]
    assert "make check" in commands
    assert any("curl" in command for command in commands)
    assert "script" in replies[-1].calls[0].arguments["summary"]
    assert "changed nothing" in replies[-1].calls[0].arguments["summary"]
    without = play("")
    assert len(without) == len(replies) - 1
    assert "{accept}" not in str(without)


def test_a_script_stops_too() -> None:
    stop = Stop()
    stop.set("cancelled")
    with pytest.raises(Stopped):
        open_script("scripted", "").ask(START, stop)
