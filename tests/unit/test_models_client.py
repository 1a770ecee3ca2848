from __future__ import annotations

import gzip
import json
import resource
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import Answer, FakeProvider, anthropic, chat, error, responses
from pydantic import SecretStr

from orchestrator.dialogue import FailedRequest, Reply, Request, Sent, ToolResult, ToolSpec, Turn, Usage
from orchestrator.errors import ConfigError, DreamdockError, ModelError, UnavailableError
from orchestrator.models.client import ApiModel, Patience
from orchestrator.models.fallback import FallbackModel
from orchestrator.models.families import Choice, catalog
from orchestrator.models.port import OutOfTime
from orchestrator.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.port import Kind

KNOWN = catalog({})
KEY = "sk-fake-0123456789abcdef"
QUICK = Patience(first_token_s=5, total_s=10, attempts=3, backoff_s=0.01, longest_wait_s=2)
TOOL = ToolSpec(
    name="bash",
    description="Run a command.",
    parameters={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
)
FIRST = Request(system="You are tested.", tools=(TOOL,), dialogue=(Turn(text="Do it."),))
CALL = ("c1", "bash", '{"command": "ls"}')


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def ask(fake: FakeProvider) -> Iterator[Any]:
    opened: list[ApiModel] = []

    def ask(request: Request = FIRST, *, model: str = "mimo/mimo-v2.5-pro", patience: Patience = QUICK) -> Reply:
        opened.append(ApiModel(at(fake.url, model), SecretStr(KEY), patience))
        return opened[-1].ask(request, Stop())

    yield ask
    for model in opened:
        model.close()


def at(url: str, model: str) -> Choice:
    """The model as chosen, but asked at the fake."""
    family = model.partition("/")[0]
    base = url if family == "anthropic" else f"{url}/v1"
    return KNOWN.choose(model, base_url=base if family == "openai-compatible" else "").model_copy(
        update={"base_url": base}
    )


def answered(reply: Reply, content: str = "a.py") -> Request:
    results = tuple(ToolResult(call_id=call.id, name=call.name, content=content) for call in reply.calls)
    return FIRST.model_copy(update={"dialogue": (*FIRST.dialogue, reply, Turn(results=results))})


def test_a_streamed_reply_arrives_whole(fake: FakeProvider, ask: Any) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "total_tokens": 1050,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    second = ("c2", "bash", '{"command": "pwd"}')
    fake.answers = [chat("I look around.", reasoning="Where am I?", calls=[CALL, second], usage=usage)]
    reply = ask()
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("I look around.", "Where am I?", "tool_call")
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == [
        ("c1", "bash", {"command": "ls"}),
        ("c2", "bash", {"command": "pwd"}),
    ]
    assert reply.usage.model_dump() == {
        "input_tokens": 1000,
        "output_tokens": 50,
        "cached_tokens": 600,
        "cache_write_tokens": 0,
        "reasoning_tokens": 30,
    }
    assert reply.cost_usd == pytest.approx((400 * 0.435 + 600 * 0.0036 + 50 * 0.87) / 1e6)


def test_what_goes_out_is_what_the_family_says(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.")]
    ask()
    [asked] = fake.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "mimo-v2.5-pro"
    assert asked.body["thinking"] == {"type": "enabled"}
    assert asked.body["max_completion_tokens"] == 32_768
    assert [message["role"] for message in asked.body["messages"]] == ["system", "user"]
    told = asked.body["tools"][0]["function"]
    assert (told["name"], told["parameters"]["properties"]) == ("bash", TOOL.parameters["properties"])


@pytest.mark.parametrize(
    "model", ["mimo/mimo-v2.5", "deepseek/deepseek-flash", "kimi/kimi-k2.6", "glm/glm-5.3", "openai-compatible/m"]
)
def test_reasoning_goes_back_unchanged_and_requests_extend_one_another(
    fake: FakeProvider, ask: Any, model: str
) -> None:
    fake.answers = [chat("One.", reasoning=" First\n thought. ", calls=[CALL]), chat("Done.")]
    request = answered(ask(model=model))
    stored = Request.model_validate_json(request.model_dump_json())  # As a resumed attempt reads it from the journal.
    ask(stored, model=model)
    first, second = (asked.body["messages"] for asked in fake.asked)
    assert second[: len(first)] == first
    assert second[2]["reasoning_content"] == " First\n thought. "
    assert json.loads(second[2]["tool_calls"][0]["function"]["arguments"]) == {"command": "ls"}
    assert second[3] == {"role": "tool", "tool_call_id": "c1", "content": "a.py"}
    bare = [{key: value for key, value in asked.body.items() if key != "messages"} for asked in fake.asked]
    assert bare[0] == bare[1]


def test_a_self_hosted_server_gets_reasoning_back_in_its_own_field(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", reasoning="Mm.", field_name="reasoning", calls=[CALL]), chat("Done.")]
    ask(answered(ask(model="openai-compatible/m")), model="openai-compatible/m")
    assert fake.asked[1].body["messages"][2]["reasoning"] == "Mm."
    assert "reasoning_content" not in fake.asked[1].body["messages"][2]


def test_a_family_that_insists_gets_empty_reasoning_where_none_came(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", calls=[CALL]), chat("Done.")]
    ask(answered(ask()))
    assert fake.asked[1].body["messages"][2]["reasoning_content"] == ""


def test_openai_goes_over_responses_with_its_sealed_reasoning(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [responses("One.", call=CALL), responses("Done.")]
    reply = ask(model="openai/gpt-6.1-sol")
    assert reply.calls[0].arguments == {"command": "ls"}
    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (64, 8)
    assert reply.cost_usd is not None
    ask(answered(reply), model="openai/gpt-6.1-sol")
    first, second = (asked.body for asked in fake.asked)
    assert (fake.asked[0].path, first["store"]) == ("/v1/responses", False)
    assert second["input"][: len(first["input"])] == first["input"]
    assert [item["encrypted_content"] for item in second["input"] if item.get("type") == "reasoning"] == ["SEALED"]


def test_anthropic_thinks_signed_and_caches(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [anthropic("One.", thinking="Hm.", call=CALL), anthropic("Done.")]
    reply = ask(model="anthropic/claude-sonnet-5-5")
    assert (reply.reasoning, reply.calls[0].arguments) == ("Hm.", {"command": "ls"})
    assert (reply.usage.input_tokens, reply.usage.cached_tokens) == (100, 64)
    assert reply.cost_usd == pytest.approx((36 * 2 + 64 * 0.1 + 20 * 10) / 1e6)
    ask(answered(reply), model="anthropic/claude-sonnet-5-5")
    second = fake.asked[1].body
    assert fake.asked[1].path.startswith("/v1/messages")
    assert second["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "SIGNED"}
    assert "cache_control" in json.dumps(second)
    assert second["max_tokens"] == 32_768


def test_arguments_that_are_no_json_object_are_kept_as_text(fake: FakeProvider, ask: Any) -> None:
    broken, listed = ("c1", "bash", '{"command": "ls'), ("c2", "bash", '["ls"]')
    fake.answers = [chat("", calls=[broken, listed]), chat("Done.")]
    reply = ask()
    assert [(call.arguments, call.invalid) for call in reply.calls] == [({}, broken[2]), ({}, listed[2])]
    assert ask(answered(reply)).text == "Done."


def test_an_unknown_price_is_unknown(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm."), chat("Hm.")]
    assert ask(model="openai-compatible/anything").cost_usd is None
    assert ask(model="deepseek/not-listed-anywhere").cost_usd is None


@pytest.mark.parametrize("passing", [error(429, "slow down"), error(503, "overloaded"), error(500, "oops")])
def test_a_passing_failure_is_tried_again(fake: FakeProvider, ask: Any, passing: Answer) -> None:
    fake.answers = [passing, passing, chat("At last.")]
    assert ask().text == "At last."
    assert len({asked.raw for asked in fake.asked}) == 1


def test_retry_after_is_waited_for(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(429, "slow down", headers={"Retry-After": "1"}), chat("At last.")]
    started = time.monotonic()
    assert ask().text == "At last."
    assert time.monotonic() - started >= 1.0


def test_who_asks_for_too_long_a_wait_is_unavailable(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(429, "slow down", headers={"Retry-After": "3600"})]
    with pytest.raises(UnavailableError, match="doesn't answer") as caught:
        ask()
    assert "slow down" in caught.value.cause
    assert len(fake.asked) == 1


def test_retries_are_bounded(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [error(500, "oops")] * 9
    with pytest.raises(UnavailableError):
        ask()
    assert len(fake.asked) == QUICK.attempts


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(400, "reasoning_content must be passed back"), ModelError, "refused the request"),
        (error(401, f"Incorrect API key provided: {KEY[:8]}…{KEY[-4:]}"), ConfigError, "key for mimo"),
        (error(403, f"key {KEY} has no access"), ConfigError, "key for mimo"),
        (error(404, "no such model"), ConfigError, "doesn't know mimo-v2.5-pro"),
        (error(402, "insufficient balance"), ModelError, "no credit"),
        (error(429, "no credit", code="insufficient_quota"), ModelError, "no credit"),
        (error(400, "maximum context length is 1000 tokens", code="context_length_exceeded"), ModelError, "too long"),
        (error(422, f"bad key {KEY}"), ModelError, "refused the request"),
    ],
)
def test_a_refusal_is_never_repeated(
    fake: FakeProvider, ask: Any, answer: Answer, kind: type[DreamdockError], words: str
) -> None:
    fake.answers = [answer, chat("No.")]
    with pytest.raises(kind, match=words) as caught:
        ask()
    assert len(fake.asked) == 1
    shown = f"{caught.value.message} {caught.value.cause} {caught.value.hint}"
    assert KEY not in shown
    assert KEY[:8] not in shown
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "answer",
    [
        chat("A beginning", cut=True),
        chat("No reason given", finish=None),
        Answer(chunks=(b"data: {not json\n\n",)),
        Answer(chunks=(b"<html>hello</html>",), content_type="text/html"),
        Answer(),
    ],
    ids=["cut", "no finish reason", "malformed", "html", "empty"],
)
def test_an_unfinished_stream_is_an_error_after_retries(fake: FakeProvider, ask: Any, answer: Answer) -> None:
    fake.answers = [answer, chat("Whole.")]
    assert ask().text == "Whole."
    fake.answers = [answer] * QUICK.attempts
    with pytest.raises(DreamdockError, match=r"cut or malformed|doesn't answer"):
        ask()


def test_silence_is_a_time_out(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [Answer(silent_s=20), chat("Awake.")]
    assert ask(patience=Patience(first_token_s=0.3, total_s=5, attempts=2, backoff_s=0.01)).text == "Awake."


def test_nobody_there_is_unavailable() -> None:
    with FakeProvider() as gone:
        url = gone.url
    model = ApiModel(KNOWN.choose("openai-compatible/m", base_url=f"{url}/v1"), None, QUICK)
    with pytest.raises(UnavailableError):
        model.ask(FIRST, Stop())
    model.close()


@pytest.mark.parametrize("answer", [Answer(silent_s=20), error(429, "wait", headers={"Retry-After": "2"})])
def test_a_stop_ends_a_request_at_once(fake: FakeProvider, answer: Answer) -> None:
    fake.answers = [answer]
    stop, model = Stop(), ApiModel(at(fake.url, "mimo/m"), SecretStr(KEY), QUICK)
    set_at: list[float] = []

    def cancel() -> None:
        set_at.append(time.monotonic())
        stop.set("cancelled by ann")

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(Stopped, match="cancelled by ann"):
        model.ask(FIRST, stop)
    assert time.monotonic() - set_at[0] < 0.2
    timer.join()
    with pytest.raises(Stopped):
        model.ask(FIRST, stop)
    assert len(fake.asked) == 1
    model.close()
    model.close()


class Heard:
    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []
        self.failures: list[FailedRequest] = []

    def said(self, kind: Kind, piece: str) -> None:
        self.pieces.append((kind, piece))

    def failed(self, failure: FailedRequest) -> None:
        self.failures.append(failure)
        self.pieces.clear()

    def all(self, kind: str) -> str:
        return "".join(piece for said, piece in self.pieces if said == kind)


def opened(fake: FakeProvider, model: str = "mimo/m", patience: Patience = QUICK) -> ApiModel:
    return ApiModel(at(fake.url, model), SecretStr(KEY), patience, cache_key="abc")


def test_who_listens_hears_a_reply_as_it_comes(fake: FakeProvider) -> None:
    fake.answers = [chat("I look around.", reasoning="Where am I?", calls=[CALL])]
    heard, model = Heard(), opened(fake)
    reply = model.ask(FIRST, Stop(), heard)
    model.close()
    assert (heard.all("text"), heard.all("reasoning"), heard.all("call")) == (reply.text, reply.reasoning, "bash")
    assert len(heard.pieces) > 4, "in pieces, not at the end"


def test_who_listens_is_told_of_each_failure_before_the_next_request(fake: FakeProvider) -> None:
    fake.answers = [error(503, "overloaded"), chat("A beginning", cut=True), chat("Whole.")]
    heard, model = Heard(), opened(fake)
    assert model.ask(FIRST, Stop(), heard).text == heard.all("text") == "Whole."
    model.close()
    assert [failure.model for failure in heard.failures] == ["mimo/m"] * 2
    assert "overloaded" in heard.failures[0].cause
    assert 0 < heard.failures[0].wait_s < heard.failures[1].wait_s


def test_each_request_keeps_all_of_the_one_before_and_says_so(fake: FakeProvider) -> None:
    for name, answer in (
        ("mimo/m", chat),
        ("openai/gpt-6.1-sol", responses),
        ("anthropic/claude-sonnet-5-5", anthropic),
    ):
        call: dict[str, Any] = {"calls": [CALL]} if answer is chat else {"call": CALL}
        fake.asked, fake.answers = [], [answer("One.", **call), error(503, "again"), answer("Two.", **call)]
        fake.answers += [answer("Three.", **call)]
        model, request, sent = opened(fake, name), FIRST, []
        for _ in range(3):
            reply = model.ask(request, Stop())
            sent.append(reply.sent)
            results = tuple(ToolResult(call_id=call.id, name=call.name, content="a.py") for call in reply.calls)
            request = request.model_copy(update={"dialogue": (*request.dialogue, reply, Turn(results=results))})
        model.close()
        sizes = [len(asked.raw) for asked in fake.asked]
        assert sizes[1] == sizes[2], "what is asked again is the same request"
        assert sent == [
            Sent(size=sizes[0]),
            Sent(size=sizes[1], previous=sizes[0], kept=sizes[0]),
            Sent(size=sizes[3], previous=sizes[1], kept=sizes[1]),
        ], name


def test_a_changed_beginning_is_seen_on_the_wire(fake: FakeProvider) -> None:
    fake.answers = [chat("One."), chat("Two.")]
    model = opened(fake)
    model.ask(FIRST, Stop())
    sent = model.ask(FIRST.model_copy(update={"system": "12:04. You are tested."}), Stop()).sent
    model.close()
    assert sent is not None
    assert sent.kept < sent.previous / 2


def test_the_runs_id_is_the_cache_key_where_the_provider_takes_one(fake: FakeProvider) -> None:
    for name in ("kimi/kimi-k2.6", "mimo/m"):
        fake.answers = [chat("Hm.")]
        model = opened(fake, name)
        model.ask(FIRST, Stop())
        model.close()
    assert [asked.body.get("prompt_cache_key") for asked in fake.asked] == ["abc", None]


def test_a_reply_of_ten_megabytes_is_an_error_and_not_asked_for_again(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("0123456789abcdef" * 655_360, pieces_of=65_536), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()
    assert len(fake.asked) == 1


def test_a_line_without_end_is_cut_off(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [Answer(chunks=(b'data: {"choices": "', *[b"x" * 1_000_000] * 80)), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()


def test_a_reply_that_never_ends_is_asked_for_once_more_and_no_more(fake: FakeProvider) -> None:
    endless = Answer(chunks=(b": keep-alive\n\n",) * 1000, pause_s=0.05)
    fake.answers = [endless, endless, chat("No.")]
    heard, model = Heard(), opened(fake, patience=Patience(first_token_s=5, total_s=0.4, attempts=5, backoff_s=0.01))
    with pytest.raises(ModelError, match="doesn't end"):
        model.ask(FIRST, Stop(), heard)
    model.close()
    assert (len(fake.asked), len(heard.failures)) == (2, 1)


def test_the_runs_time_ends_a_request(fake: FakeProvider) -> None:
    fake.answers = [Answer(silent_s=20)]
    model, began = opened(fake), time.monotonic()
    with pytest.raises(OutOfTime):
        model.ask(FIRST, Stop(), within_s=0.3)
    assert time.monotonic() - began < 1
    model.close()


def test_tokens_are_found_wherever_the_provider_counts_them(fake: FakeProvider, ask: Any) -> None:
    counted = {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005, "cached_tokens": 900}
    expected = Usage(input_tokens=1000, output_tokens=5, cached_tokens=900)
    fake.answers = [chat("Hm.", usage=counted), chat("Hm.", usage=counted, usage_in_choice=True)]
    assert [ask(model="kimi/kimi-k2.6").usage for _ in range(2)] == [expected, expected]


def test_what_was_not_counted_has_no_known_cost(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})]
    assert ask().cost_usd is None


@pytest.mark.parametrize("answer", [error(401, "no"), error(402, "no credit"), error(503, "down"), error(400, "what?")])
def test_a_second_model_is_asked_once_the_first_cannot_answer_and_stays(fake: FakeProvider, answer: Answer) -> None:
    heard = Heard()
    with FakeProvider() as other:
        fake.answers = [answer] * QUICK.attempts
        other.answers = [anthropic("One.", call=CALL), anthropic("Two.")]
        model = FallbackModel(opened(fake), opened(other, "anthropic/claude-sonnet-5-5"))
        reply = model.ask(FIRST, Stop(), heard)
        assert (reply.text, reply.model) == ("One.", "anthropic/claude-sonnet-5-5")
        assert heard.failures[-1].instead == model.name == "anthropic/claude-sonnet-5-5"
        asked = len(fake.asked)
        assert model.ask(answered(reply), Stop(), heard).text == "Two."
        assert len(fake.asked) == asked
        model.close()


def test_where_both_fail_the_seconds_error_is_told(fake: FakeProvider) -> None:
    fake.answers = [error(402, "no credit"), error(401, "bad key")]
    heard, model = Heard(), FallbackModel(opened(fake), opened(fake, "glm/glm-5.3"))
    with pytest.raises(ConfigError, match="key for glm"):
        model.ask(FIRST, Stop(), heard)
    model.close()
    assert [failure.error for failure in heard.failures] == ["the account for mimo/m has no credit left"]


def test_a_stop_does_not_wake_the_second_model(fake: FakeProvider) -> None:
    fake.answers = [Answer(silent_s=20)]
    stop, model = Stop(), FallbackModel(opened(fake), opened(fake, "glm/glm-5.3"))
    timer = threading.Timer(0.3, stop.set, ("cancelled",))
    timer.start()
    with pytest.raises(Stopped):
        model.ask(FIRST, stop)
    timer.join()
    model.close()
    assert len(fake.asked) == 1


def test_a_dialogue_moves_between_families_with_what_each_wants_of_reasoning(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("One.", reasoning="Hm.", calls=[CALL])]
    request = answered(ask())
    fake.answers = [chat("Two."), responses("Two."), anthropic("Two.")]
    for name in ("deepseek/deepseek-v4-pro", "openai/gpt-6.1-sol", "anthropic/claude-sonnet-5-5"):
        assert ask(request, model=name).text == "Two."
    assert fake.asked[1].body["messages"][2]["reasoning_content"] == "Hm."
    assert fake.asked[2].body["input"][-1] == {"type": "function_call_output", "call_id": "c1", "output": "a.py"}
    assert fake.asked[3].body["messages"][-1]["content"][0]["tool_use_id"] == "c1"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_not_followed_with_the_key(fake: FakeProvider, ask: Any, status: int) -> None:
    with FakeProvider(chat("Thanks for the key.")) as other:
        fake.answers = [error(status, "moved", headers={"Location": f"{other.url}/v1/chat/completions"})]
        with pytest.raises(ConfigError, match="no model's endpoint"):
            ask()
        assert other.asked == []
    assert len(fake.asked) == 1


def test_counts_of_a_hostile_provider_are_brought_to_what_can_be(fake: FakeProvider, ask: Any) -> None:
    counted = {"prompt_tokens": 1000, "completion_tokens": 4, "total_tokens": 3, "cached_tokens": 10**9}
    fake.answers = [chat("Hm.", usage=counted)]
    reply = ask()
    assert reply.usage == Usage(input_tokens=1000, cached_tokens=1000, output_tokens=4)
    assert reply.cost_usd >= 0


@pytest.mark.filterwarnings("ignore:Failed to extract usage")
def test_counts_that_are_none_count_as_not_counted(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("Hm.", usage={"prompt_tokens": 1000, "completion_tokens": -4, "total_tokens": 3})]
    reply = ask()
    assert (reply.usage, reply.cost_usd) == (Usage(), None)


def test_what_is_packed_is_not_unpacked(fake: FakeProvider, ask: Any) -> None:
    bomb = gzip.compress(gzip.compress(b"0" * 50_000_000))
    fake.answers = [Answer(chunks=(bomb,), headers={"Content-Encoding": "gzip, gzip"})] * QUICK.attempts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DreamdockError, match=r"cut or malformed|doesn't answer"):
        ask()
    fake.answers = [Answer(400, {"Content-Encoding": "gzip, gzip"}, (bomb,), "application/json")]
    with pytest.raises(ModelError, match="refused"):
        ask()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000, "KiB"


def test_calls_of_one_id_get_ids_of_their_own_and_their_own_results(fake: FakeProvider, ask: Any) -> None:
    calls = [("same", "bash", '{"command": "echo 1"}'), ("same", "bash", '{"command": "echo 2"}')]
    fake.answers = [chat("", calls=calls), chat("Done.")]
    reply = ask()
    first, second = (call.id for call in reply.calls)
    assert first != second
    results = (
        ToolResult(call_id=first, name="bash", content="1"),
        ToolResult(call_id=second, name="bash", content="2"),
    )
    ask(FIRST.model_copy(update={"dialogue": (*FIRST.dialogue, reply, Turn(results=results))}))
    sent = fake.asked[1].body["messages"]
    assert [call["id"] for call in sent[2]["tool_calls"]] == [first, second]
    assert [(message["tool_call_id"], message["content"]) for message in sent[3:]] == [(first, "1"), (second, "2")]


def test_a_flood_of_calls_is_an_error(fake: FakeProvider, ask: Any) -> None:
    fake.answers = [chat("", calls=[(f"c{number}", "bash", "{}") for number in range(600)]), chat("No.")]
    with pytest.raises(ModelError, match="too large"):
        ask()


@pytest.mark.parametrize("chunk", ["[1, 2, 3]", '{"choices": [{"delta": {"tool_calls": {"a": 1}}}]}', '"text"', "7"])
def test_a_stream_of_other_kinds_of_values_is_malformed_and_asked_for_again(
    fake: FakeProvider, ask: Any, chunk: str
) -> None:
    fake.answers = [Answer(chunks=(f"data: {chunk}\n\n".encode(),)), chat("Whole.")]
    assert ask().text == "Whole."
