from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from repos import Repo

from orchestrator.dialogue import Usage
from orchestrator.errors import ConfigError, UsageError
from orchestrator.models import Price, catalog
from orchestrator.models.listing import listed
from orchestrator.models.prices import cost_usd, is_known, price
from orchestrator.requests import RunRequest
from orchestrator.resolve import resolve
from orchestrator.settings import Settings, load
from sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

OWN = {
    "wire": "chat",
    "base_url": "http://127.0.0.1:8000/v1",
    "key": "LAB_API_KEY",
    "models": {"tuned": {"window": 32_768, "output": 8192, "price": [0, 0, 0]}},
}
USAGE = Usage(input_tokens=1_000_000, cached_tokens=600_000, output_tokens=100_000)
SELF_HOSTED = {"model": "openai-compatible/m", "base_url": "http://127.0.0.1:8000/v1"}


def test_a_family_of_ones_own_comes_behind_ours() -> None:
    known = catalog({"lab": OWN})
    chosen = known.choose("lab/tuned")
    assert (chosen.base_url, chosen.data.window, chosen.price) == (OWN["base_url"], 32_768, Price(0, 0, 0))
    assert list(known.families)[-1] == "lab"
    assert known.default({"LAB_API_KEY": "k"}) == "lab/tuned"


def test_a_family_of_ours_is_changed_field_by_field() -> None:
    before = catalog({}).families["glm"]
    own = {"base_url": "https://gateway.invalid/v4", "models": {"glm-4.7": {"price": [1, 0.1, 2]}, "glm-9": {}}}
    after = catalog({"glm": own}).families["glm"]
    assert (after.base_url, after.key, after.body) == ("https://gateway.invalid/v4", before.key, before.body)
    assert after.models["glm-4.7"] == before.models["glm-4.7"].model_copy(update={"price": Price(1, 0.1, 2)})
    assert list(after.models) == [*before.models, "glm-9"]


@pytest.mark.parametrize(
    ("family_id", "fields", "words"),
    [
        ("lab", {"wire": "carrier pigeon"}, "wire"),
        ("lab", {**OWN, "endpoint": "x"}, "endpoint"),
        ("lab", {**OWN, "key": "not a variable"}, "key"),
        ("lab", {**OWN, "models": {"m": {"window": -1}}}, "window"),
        ("lab", {**OWN, "models": {"m": {"price": [-1, 0, 0]}}}, "price"),
        ("lab", {**OWN, "models": {"m": {"price": [float("nan"), 0, 0]}}}, "price"),
        ("lab", {**OWN, "models": {"m": {"price": [1e308, 0, 0]}}}, "price"),
        ("lab", {**OWN, "models": ["m"]}, "models"),
        ("lab", {**OWN, "models": {"m": "large"}}, "models"),
        ("a/b", OWN, "its name"),
        ("scripted", OWN, "its name"),
    ],
)
def test_what_is_no_family_is_refused_with_its_name(family_id: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match="is not a model family") as caught:
        catalog({family_id: fields})
    assert family_id in caught.value.message
    assert words in caught.value.cause


def test_families_come_from_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMDOCK_FAMILIES", '{"lab": {"wire": "chat", "base_url": "http://127.0.0.1:1/v1"}}')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert catalog(load().families).choose("lab/any").base_url == "http://127.0.0.1:1/v1"


def test_a_window_that_is_too_small_is_refused() -> None:
    known = catalog({"lab": {**OWN, "models": {"tiny": {"window": 2048, "output": 512}}}})
    with pytest.raises(ConfigError, match="window of lab/tiny is too small") as caught:
        known.choose("lab/tiny")
    assert "2048" in caught.value.cause


def test_prices_are_ours_the_settings_or_those_of_genai_prices() -> None:
    known = catalog({"lab": {**OWN, "models": {"dear": {"price": [10, 1, 100]}}}})
    assert cost_usd(known.choose("lab/dear"), USAGE) == pytest.approx(4 + 0.6 + 10)
    assert price(known.choose("anthropic/claude-sonnet-5-5")) == Price(2.0, 0.1, 10.0)
    assert price(known.choose("openai/gpt-6.1-sol")) == Price(2.0, 0.1, 10.0), "the lowest step of several"
    assert price(known.choose("deepseek/not-listed-anywhere")) is None
    assert not is_known(known.choose("deepseek/not-listed-anywhere"))
    given = known.choose("openai-compatible/m", base_url="http://127.0.0.1:1/v1", price=Price(1, 1, 1))
    assert (is_known(given), cost_usd(given, USAGE)) == (True, pytest.approx(1.1))


def test_counts_that_cannot_be_cost_what_they_can() -> None:
    wild = Usage.counted(input_tokens=1000, cached_tokens=10**12, output_tokens=-5, reasoning_tokens=10**40)
    assert wild == Usage(input_tokens=1000, cached_tokens=1000)
    contradiction = Usage(input_tokens=1, cached_tokens=1000)
    for name in ("mimo/mimo-v2.5", "anthropic/claude-sonnet-5-5"):
        assert (cost_usd(catalog({}).choose(name), contradiction) or 0) >= 0


def test_the_list_tells_windows_prices_and_keys_but_no_key() -> None:
    told = {model.name: model for model in listed(catalog({"lab": OWN}), {"LAB_API_KEY": "secret-0815"})}
    assert (told["lab/tuned"].key_set, told["lab/tuned"].window, told["lab/tuned"].prompt_limit) == (
        True,
        32_768,
        24_576,
    )
    assert (told["mimo/mimo-v2.5-pro"].key_set, told["mimo/mimo-v2.5-pro"].key_optional) == (False, False)
    assert "secret-0815" not in str(told)


@pytest.fixture
def spec_of(tmp_path: Path) -> Any:
    repo = Repo(tmp_path / "small")
    repo.commit({"a.txt": "a\n"})
    store = Store(tmp_path / "store")

    def resolved(settings: Settings | None = None, **asked: Any) -> Any:
        request = RunRequest(task="x", repo=str(repo.path), **asked)
        return resolve(request, settings or Settings(state_dir=tmp_path), store, {})

    return resolved


@pytest.mark.parametrize("asked", [SELF_HOSTED, {"model": "deepseek/of-tomorrow"}])
def test_a_money_limit_that_could_not_be_kept_refuses_to_start(spec_of: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="money limit couldn't be kept") as caught:
        spec_of(**asked)
    assert "--price" in caught.value.hint
    assert spec_of(**asked, price="unknown").unpriced
    assert spec_of(**asked, price="0").price == (0, 0, 0)
    assert spec_of(**asked, price="0.6, 0.1,2").price == (0.6, 0.1, 2)


@pytest.mark.parametrize("price", ["1", "1,2", "1,2,x", "-1,0,0", "nan,0,0", "inf,1,1", "1e308,1,1", "1,2,3,4", "free"])
def test_what_is_no_price_is_refused(spec_of: Any, price: str) -> None:
    with pytest.raises(UsageError, match="is no price"):
        spec_of(**SELF_HOSTED, price=price)


@pytest.mark.parametrize("model", ["mimo/mimo-v2.5-pro", "glm/glm-5.3", "deepseek/deepseek-chat"])
def test_a_known_price_is_not_for_a_run_to_say(spec_of: Any, model: str) -> None:
    with pytest.raises(UsageError, match="takes no --price"):
        spec_of(model=model, price="0")


def test_a_fallback_is_resolved_with_its_price(spec_of: Any, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, fallback="glm/glm-5.3")
    assert spec_of(settings, model="mimo/mimo-v2.5").fallback == "glm/glm-5.3"
    assert spec_of(settings, model="mimo/mimo-v2.5", fallback="").fallback == ""
    with pytest.raises(ConfigError, match="unknown model"):
        spec_of(model="mimo/mimo-v2.5", fallback="nobody/x")
    with pytest.raises(UsageError, match="needs an address"):
        spec_of(model="mimo/mimo-v2.5", fallback="openai-compatible/x")
    with pytest.raises(ConfigError, match="money limit"):
        spec_of(model="mimo/mimo-v2.5", fallback="deepseek/of-tomorrow")


def test_a_judge_is_the_runs_own_model_another_one_or_none(spec_of: Any, tmp_path: Path) -> None:
    known = "mimo/mimo-v2.5-pro"
    scripted, own = spec_of(model="scripted"), spec_of(model=known)
    assert (scripted.judge, own.judge, own.judge_always) == ("", known, False)
    named = spec_of(Settings(state_dir=tmp_path, judge="off"), model="scripted", judge=known)
    assert (named.judge, named.judge_always) == (known, True)
    assert spec_of(Settings(state_dir=tmp_path, judge=known), model=known, judge="off").judge == ""
    with pytest.raises(ConfigError, match="money limit"):
        spec_of(model=known, judge="openai/no-such-model")
    with pytest.raises(ConfigError, match="unknown model"):
        spec_of(model=known, judge="nobody/x")
    mine = spec_of(**SELF_HOSTED, price="0", judge=SELF_HOSTED["model"])
    assert (mine.judge, mine.judge_always) == (mine.model, True)
