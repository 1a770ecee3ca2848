from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError
from orchestrator.settings import RunLimits, changed, load, narrowed, parse_project_file
from sandbox.spec import Limits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at no file of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("DREAMDOCK_REDIS_URL", "DREAMDOCK_STATE_DIR", "DREAMDOCK_RUNTIME_DIR", "DREAMDOCK_MODEL"):
        monkeypatch.delenv(name, raising=False)


def user_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config" / "dreamdock").mkdir(parents=True)
    (tmp_path / "config" / "dreamdock" / "config.toml").write_text(text)


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file(tmp_path, 'model = "mimo/a"\nworkers = 5\n[limits]\nsteps = 7\n')
    assert (load().model, load().workers, load().limits.steps) == ("mimo/a", 5, 7)
    monkeypatch.setenv("DREAMDOCK_MODEL", "kimi/b")
    monkeypatch.setenv("DREAMDOCK_LIMITS__STEPS", "8")
    assert (load().model, load().limits.steps) == ("kimi/b", 8)
    assert load(model="glm/c").model == "glm/c"
    assert load(model=None).model == "kimi/b"


@pytest.mark.parametrize("text", ["modle = 'x'", "workers = 0", "[limits]\nstep = 3", "not toml at all ="])
def test_a_bad_file_is_refused_with_its_reason(tmp_path: Path, text: str) -> None:
    user_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.exit_code == 4
    assert caught.value.cause
    assert "config.toml" in caught.value.hint


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREAMDOCK_MODLE", "x")
    with pytest.raises(ConfigError, match="DREAMDOCK_MODLE"):
        load()


def test_a_project_narrows_and_never_widens() -> None:
    project = parse_project_file(
        'accept = "make check"\n[limits]\nsteps = 9999\nseconds = 60\n[sandbox]\nmemory_mb = 64'
    )
    limits = narrowed(RunLimits(), project.limits, who="dreamdock.toml")
    assert (limits.steps, limits.seconds) == (RunLimits().steps, 60)
    assert narrowed(Limits(), project.sandbox, who="dreamdock.toml").memory_mb == 64


def test_a_project_names_its_set_up_and_has_no_say_in_its_network() -> None:
    assert parse_project_file('setup = ["make deps", "make"]').setup == ("make deps", "make")
    for text in ('setup = "make"', 'setup = ["\\u0000"]', '[setup]\nnetwork = "on"'):
        with pytest.raises(ConfigError, match=r"dreamdock\.toml"):
            parse_project_file(text)


def test_set_up_has_no_network_unless_the_operator_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().setup.network, load().setup.environment) == ("off", {})
    user_file(
        tmp_path, '[setup]\nnetwork = "on"\nseconds = 60\n[setup.environment]\nPIP_INDEX_URL = "https://i/simple"\n'
    )
    spec = load().setup.container(("make",), image="i", limits=Limits())
    assert (spec.network, spec.seconds, spec.environment) == (True, 60, {"PIP_INDEX_URL": "https://i/simple"})
    monkeypatch.setenv("DREAMDOCK_SETUP__NETWORK", "off")
    monkeypatch.setenv("DREAMDOCK_SETUP__ENVIRONMENT", '{"GOPROXY": "https://g/"}')
    assert (load().setup.network, load().setup.environment["GOPROXY"]) == ("off", "https://g/")


@pytest.mark.parametrize(
    "variable", ['MIMO_API_KEY = "sk-1"', 'NPM_TOKEN = "x"', 'PIP_INDEX_URL = "https://ann:pw@i/simple"', '"A B" = "x"']
)
def test_set_up_is_given_no_secret(tmp_path: Path, variable: str) -> None:
    user_file(tmp_path, f"[setup.environment]\n{variable}\n")
    with pytest.raises(ConfigError) as caught:
        load()
    assert "setup.environment" in caught.value.cause
    assert "sk-1" not in caught.value.cause
    assert "pw" not in caught.value.cause


def test_a_person_may_raise_a_default() -> None:
    assert changed(RunLimits(), {"steps": 1000}, who="the request").steps == 1000


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"stepz": 3}, "unknown limit: stepz"), ({"steps": 0}, "not valid"), ({"steps": -1}, "not valid")],
)
def test_a_limit_that_cannot_be_is_refused(asked: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        narrowed(RunLimits(), asked, who="dreamdock.toml")


@pytest.mark.parametrize("text", ['model = "mimo/x"', 'redis_url = "redis://evil"', "accept = 3", "["])
def test_a_project_cannot_set_anything_else(text: str) -> None:
    with pytest.raises(ConfigError, match=r"dreamdock\.toml"):
        parse_project_file(text)
