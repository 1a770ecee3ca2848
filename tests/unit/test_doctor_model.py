from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import Answer, FakeProvider, anthropic, chat, error
from pydantic import SecretStr

from orchestrator.cli import main
from orchestrator.errors import DreamdockError, UnavailableError
from orchestrator.journal.presence import Beat, Presence
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.failures import read_failure
from orchestrator.models.families import Choice, catalog
from orchestrator.models.probe import probe
from orchestrator.settings import Settings
from orchestrator.stack.model_checks import model_checks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from orchestrator.stack.check import HostCheck

KEY = "sk-fake-0123456789abcdef"
PING = ("c1", "ping", '{"word": "pong"}')
QUICK = Patience(first_token_s=0.3, total_s=5, attempts=2, backoff_s=0.01)


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and the certificate that it signed itself, for the name localhost alone."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(file), "-out", str(file)]
    made = subprocess.run([*argv[:-2], *subject], capture_output=True, text=True, check=True)
    file.write_text(file.read_text() + made.stdout)
    return file


def own(url: str) -> Settings:
    """Return settings with a family that has its own address and a key."""
    family = {"wire": "chat", "key": "OWN_API_KEY", "base_url": url, "models": {"m": {"price": [1, 0.5, 2]}}}
    return Settings(families={"own": family})


def told(url: str, environ: dict[str, str] | None = None) -> list[HostCheck]:
    """Return the checks of a model at this address, asked with its key, which none of them may tell."""
    checks = list(model_checks(own(url), "own/m", "", {"OWN_API_KEY": KEY} if environ is None else environ))
    shown = repr(checks)
    assert not any(KEY[start : start + 6] in shown for start in range(len(KEY) - 5))
    return checks


def test_a_model_that_calls_the_tool_is_well(fake: FakeProvider) -> None:
    fake.answers = [chat("", reasoning="They want a ping.", calls=[PING])]
    key, model = told(f"{fake.url}/v1")
    assert (key.name, key.ok, key.found) == ("model key", True, "set in OWN_API_KEY")
    assert (model.name, model.ok) == ("model", True)
    times = r"first piece after \d\.\d s, all after \d\.\d s"
    assert re.fullmatch(rf"own/m called the tool; {times}; 100 tokens in, 20 out; \$0\.000140", model.found)
    [asked] = fake.asked
    assert (asked.body["stream"], [tool["function"]["name"] for tool in asked.body["tools"]]) == (True, ["ping"])
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_the_first_piece_is_timed(fake: FakeProvider) -> None:
    fake.answers = [Answer(chunks=chat("", calls=[PING]).chunks, silent_s=0.2)]
    model = ApiModel(choice(f"{fake.url}/v1"), None, QUICK)
    answer = probe(model)
    model.close()
    assert 0.2 <= answer.first_s <= answer.seconds < 2
    assert answer.cost_usd is None


def test_the_key_may_be_in_a_file_and_is_never_told(fake: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    fake.answers = [chat("", calls=[PING])]
    key, model = told(f"{fake.url}/v1", {"OWN_API_KEY_FILE": str(tmp_path / "key")})
    assert (key.found, model.ok) == ("set in OWN_API_KEY_FILE", True)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "OWN_API_KEY is not set"),
        ({"OWN_API_KEY_FILE": "/nowhere"}, "can't be read"),
        ({"OWN_API_KEY": "a b"}, "blanks"),
    ],
)
def test_without_a_key_nothing_is_asked(fake: FakeProvider, environ: dict[str, str], words: str) -> None:
    key, model = told(f"{fake.url}/v1", environ)
    assert words in key.found
    assert (key.ok, model.ok, model.found) == (False, False, "not asked: it lacks its key")
    assert "OWN_API_KEY" in key.remedy
    assert fake.asked == []


def test_a_server_of_ones_own_needs_no_key(fake: FakeProvider) -> None:
    fake.answers = [chat("", calls=[PING])]
    key, model = model_checks(Settings(), "openai-compatible/m", f"{fake.url}/v1", {})
    assert (key.ok, model.ok) == (True, True)
    assert "price unknown" in model.found


def test_anthropics_messages_are_proven_too(fake: FakeProvider) -> None:
    fake.answers = [anthropic("", call=PING)]
    settings = Settings(families={"anthropic": {"base_url": fake.url}})
    key, model = model_checks(settings, "anthropic/claude-sonnet-5-5", "", {"ANTHROPIC_API_KEY": KEY})
    assert (key.ok, model.ok) == (True, True)


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        (
            error(401, f"Incorrect API key provided: {KEY[:8]}*****{KEY[-4:]}"),
            "the key for own/m is refused",
            "OWN_API_KEY",
        ),
        (error(403, f"{KEY} has no access"), "the key for own/m is refused", "OWN_API_KEY"),
        (error(404, "The model `m` does not exist"), "doesn't know m", "--model own/NAME"),
        (error(400, "Model Not Exist"), "doesn't know m", "--model own/NAME"),
        (error(400, "registry/m does not support tools"), "can't call tools", "--model that can"),
        (error(400, '"auto" tool choice requires --enable-auto-tool-choice'), "can't call tools", "--enable-auto"),
        (error(500, "tools param requires --jinja flag"), "can't call tools", "--jinja"),
        (error(404, "No endpoints found that support tool use."), "can't call tools", "--model that can"),
        (
            error(400, "request (1 tokens) exceeds the available context size (1 tokens)"),
            "is too long",
            "larger window",
        ),
        (error(400, "Your request exceeded model token limit: 1"), "is too long", "larger window"),
        (error(400, "The input is longer than the model's context length"), "is too long", "larger window"),
        (error(402, "insufficient balance"), "no credit left", "top up"),
        (error(400, f"key {KEY[8:20]} of …{KEY[-4:]}"), "refused the request: HTTP 400: key [key] of …[key]", ""),
        (error(422, f"what is sk-f...{KEY[-3:]}?"), "refused the request: HTTP 422: what is [key]?", ""),
        (chat("I am a model without tools."), "calls no tool", "--model that can call tools"),
        (chat("", calls=[("c1", "bash", "{}")]), "calls tools wrongly: it called 'bash'", "chat template"),
        (
            chat("", calls=[("c1", "ping", "{word")]),
            "calls tools wrongly: it called 'ping' with '{word'",
            "chat template",
        ),
    ],
)
def test_a_model_that_is_of_no_use_is_told_with_its_remedy(
    fake: FakeProvider, answer: Answer, words: str, remedy: str
) -> None:
    fake.answers = [answer, answer]
    key, model = told(f"{fake.url}/v1")
    assert (key.ok, model.ok) == (True, False)
    assert words in model.found
    assert remedy in model.remedy


HTML = Answer(chunks=(b"<!doctype html><title>Welcome</title>",), content_type="text/html")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([error(404, "Not Found")], "is no model's endpoint: HTTP 404: Not Found"),
        ([Answer(404, chunks=HTML.chunks, content_type="text/html")], "is no model's endpoint: HTTP 404: a web page"),
        ([Answer(403, chunks=HTML.chunks, content_type="text/html")], "is no model's endpoint: HTTP 403: a web page"),
        ([error(405, "Method Not Allowed")], "is no model's endpoint: HTTP 405"),
        ([Answer(301, {"Location": "/elsewhere"})], "is no model's endpoint: Error code: 301"),
        ([HTML, HTML], "is cut or malformed"),
    ],
)
def test_an_address_that_is_no_endpoint_is_told_where_one_might_be(
    fake: FakeProvider, answers: list[Answer], words: str
) -> None:
    fake.answers = [*answers]
    _key, model = model_checks(Settings(), "openai-compatible/m", fake.url, {})
    assert words in model.found
    assert (model.ok, model.remedy) == (False, f"--base-url {fake.url}/v1")
    assert len(fake.asked) == len(answers)


def test_a_server_that_wants_a_key_is_told_so(fake: FakeProvider) -> None:
    fake.answers = [error(401, "who are you?")]
    _key, model = model_checks(Settings(), "openai-compatible/m", f"{fake.url}/v1", {})
    assert "wants a key" in model.found
    assert "OPENAI_COMPATIBLE_API_KEY" in model.remedy


@pytest.mark.parametrize(
    ("name", "base_url", "words", "remedy"),
    [
        ("scripted", "", "nobody to ask", "FAMILY/NAME"),
        ("scripted/plan.jsonl", "", "nobody to ask", "FAMILY/NAME"),
        ("nobody/m", "", "unknown model", "--model with one of"),
        ("openai-compatible/m", "", "needs an address", "--base-url"),
        ("openai-compatible/m", "ftp://x", "needs an address", "--base-url"),
        ("mimo/mimo-v2.5", "http://127.0.0.1:1/v1", "takes no --base-url", "openai-compatible/mimo-v2.5"),
    ],
)
def test_a_name_that_no_model_has_is_told_without_asking(name: str, base_url: str, words: str, remedy: str) -> None:
    [model] = model_checks(Settings(), name, base_url, {"MIMO_API_KEY": KEY})
    assert (model.name, model.ok) == ("model", False)
    assert words in model.found
    assert remedy in model.remedy


def choice(url: str) -> Choice:
    return catalog({}).choose("openai-compatible/m", base_url=url)


def failure_at(url: str, patience: Patience = QUICK) -> DreamdockError:
    model = ApiModel(choice(url), None, patience)
    with pytest.raises(DreamdockError) as caught:
        probe(model)
    model.close()
    return caught.value


def test_nobody_there_an_unknown_name_and_silence_are_told_apart() -> None:
    with FakeProvider() as gone:
        url = gone.url
    refused = failure_at(f"{url}/v1")
    assert refused.cause == f"nothing listens at {url.removeprefix('http://')}: connection refused"
    assert refused.hint == "start its server, or mend --base-url"
    unknown = failure_at("http://dreamdock-test.invalid/v1")
    assert "the name dreamdock-test.invalid can't be resolved" in unknown.cause
    with FakeProvider(Answer(silent_s=20), Answer(silent_s=20)) as silent:
        late = failure_at(f"{silent.url}/v1")
    assert "timed out" in late.cause
    assert {type(error) for error in (refused, unknown, late)} == {UnavailableError}


def test_a_probe_takes_no_minutes() -> None:
    with FakeProvider(Answer(silent_s=20)) as silent:
        model = ApiModel(choice(f"{silent.url}/v1"), None, Patience())
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="too slow"):
            probe(model, longest_s=0.5)
        assert time.monotonic() - began < 2
        model.close()


def test_a_certificate_that_is_not_trusted_is_told_and_not_asked_again(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with FakeProvider(tls=tls) as secure:
        error = failure_at(f"{secure.url}/v1")
    assert (error.message, error.cause) == ("the certificate of 127.0.0.1 is not trusted", "self-signed certificate")
    assert "SSL_CERT_FILE" in error.hint


def test_plain_http_where_tls_was_asked_for_is_told(fake: FakeProvider) -> None:
    error = failure_at(f"{fake.url}/v1".replace("http:", "https:"))
    assert (error.message, error.hint) == ("127.0.0.1 doesn't speak TLS", f"is it plain http? --base-url {fake.url}/v1")


def test_no_part_of_a_key_is_in_any_failure() -> None:
    for start in range(len(KEY) - 5):
        for end in range(start + 6, len(KEY) + 1):
            shown = read_failure(ValueError(f"<{KEY[start:end]}>"), choice("http://h/v1"), SecretStr(KEY)).error.cause
            assert shown == "<[key]>"


def dreamdock(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "orchestrator.cli", *arguments]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DREAMDOCK_")}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={**bare, **environ})


@pytest.mark.needs_redis
@pytest.mark.needs_root
@pytest.mark.needs_engine
def test_the_command_proves_everything_and_the_model_last(
    redis_server: str, client: Redis, tmp_path: Path, certificate: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    well = [
        Beat(client, Presence(kind=kind, name=kind, host="h", pid=1, version=version("dreamdock")))
        for kind in ("worker", "keeper")
    ]
    folders = {"DREAMDOCK_STATE_DIR": str(tmp_path / "s"), "DREAMDOCK_RUNTIME_DIR": str(tmp_path / "r")}
    environ = {"DREAMDOCK_REDIS_URL": redis_server, "SSL_CERT_FILE": str(certificate), **folders}
    with well[0], well[1], FakeProvider(chat("", calls=[PING]), chat("No."), tls=tls) as secure:
        url = secure.url.replace("127.0.0.1", "localhost") + "/v1"
        asked = ("doctor", "--json", "--model", "openai-compatible/m", "--base-url", url)
        done, again = dreamdock(*asked, **environ), dreamdock(*asked, **environ)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["schema"]) == (0, True, "dreamdock.doctor/1")
    names = [check["name"] for check in answer["checks"]]
    assert names[4:10] == ["own disks", "disk", "redis", "persistence", "eviction", "clock"]
    assert names[-2:] == ["model key", "model"]
    answer = json.loads(again.stdout)
    assert (again.returncode, answer["ok"]) == (1, False)
    assert [check["name"] for check in answer["checks"] if not check["ok"]] == ["model"]
    assert "calls no tool" in answer["checks"][-1]["found"]
    assert answer["checks"][-1]["try"].startswith("take a --model")


@pytest.mark.parametrize("arguments", [["--base-url", "http://127.0.0.1:1/v1"], ["--attack", "--model", "mimo/m"]])
def test_options_that_do_not_go_together_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 2
    assert "try:   dreamdock doctor --" in capsys.readouterr().err
