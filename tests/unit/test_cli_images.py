from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from made_image import made_image

from orchestrator.cli import images, main
from orchestrator.stack.image import Listed
from orchestrator.stack.image_trial import Trial
from sandbox import engine
from sandbox.images import FAMILIES, image_name

if TYPE_CHECKING:
    from pathlib import Path

TRIAL = Trial(
    name="dreamdock/c:1",
    id="sha256:1",
    architecture="amd64",
    size_bytes=541_000_000,
    system="Debian \x1b[2J",
    tools=("bash", "gcc"),
    fallback="",
    seconds=0.4,
)


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("DREAMDOCK_STATE_DIR", str(tmp_path / "state"))


def test_images_are_listed_with_what_is_missing_and_what_falls_back() -> None:
    told = (
        Listed("c", "dreamdock/c:1", configured=False, size_bytes=None, lacking=""),
        Listed("", "alpine:3", configured=True, size_bytes=7_000_000, lacking="no bash"),
        Listed("", "gone:\x1b1", configured=False, size_bytes=None, lacking=None),
    )
    _, family, foreign, gone = (line.plain.split() for line in images.table(told))
    assert family == ["c", "·", "missing", "dreamdock/c:1", "the", "runner"]
    assert foreign == ["alpine:3", "(default)", "✓", "there", "7.0MB", "alpine:3", "docker", "exec:", "no", "bash"]
    assert gone == ["gone:␛1", "·", "missing", "gone:␛1", "?"]


def test_a_trial_is_told_line_by_line_and_nothing_from_inside_is_obeyed() -> None:
    told = {line.label: line.text.plain for line in images.facts(TRIAL)}
    assert told["✓ works"] == "dreamdock/c:1, first command done after 0.4 s"
    assert told["built for"] == "amd64, 541.0MB"
    assert told["system"] == "Debian ␛[2J"
    assert told["tools"] == "bash, gcc"
    assert told["commands"] == "the resident runner"
    fallen = {line.label: line.text.plain for line in images.facts(TRIAL._replace(fallback="no bash", tools=()))}
    assert fallen["commands"] == "! no bash"
    assert fallen["tools"] == "none of those that are looked for"


@pytest.mark.parametrize(
    ("arguments", "words"), [(["perl"], "ours are base, python, node, c"), ([], "images build python")]
)
def test_only_our_own_images_are_built(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["images", "build", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.needs_engine
def test_the_list_in_json_has_every_family_and_the_configured_image(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMDOCK_IMAGE", "nobody/has-this:1")
    assert main(["images", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "dreamdock.images/1"
    assert [found["family"] for found in document["images"]] == [*FAMILIES, ""]
    base, own = document["images"][0], document["images"][-1]
    assert (base["name"], base["built"], base["runner"], base["configured"]) == (image_name("base"), True, True, False)
    assert (own["name"], own["built"], own["runner"], own["configured"]) == ("nobody/has-this:1", False, None, True)


@pytest.mark.needs_engine
def test_a_bare_family_name_in_the_settings_is_our_own_image(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMDOCK_IMAGE", "node")
    assert main(["images", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["images"]
    assert [found["family"] for found in told if found["configured"]] == ["node"]


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_an_image_is_tried_in_a_real_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "check", "base", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["runner"], told["fallback"]) == (image_name("base"), True, "")
    assert {"python3", "bash", "git", "rg"} <= set(told["tools"])
    assert told["id"].startswith("sha256:")
    assert "GNU/Linux" in told["system"] or "Ubuntu" in told["system"]


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("name", "files", "architecture", "words"),
    [
        ("dreamdock-test/foreign:2", {"bin/sh": b"x"}, "s390x", "for another architecture"),
        ("dreamdock-test/empty:2", {"data": b"x"}, "", "can't be started"),
    ],
)
def test_an_image_that_can_not_be_a_sandbox_is_an_error_with_its_reason(
    capsys: pytest.CaptureFixture[str], name: str, files: dict[str, bytes], architecture: str, words: str
) -> None:
    with made_image(name, files, architecture=architecture or engine.client().version()["Arch"]):
        assert main(["images", "check", name]) == 4
    assert words in capsys.readouterr().err


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_an_image_that_is_not_there_is_an_error_that_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "check", "dreamdock/python:older"]) == 4
    assert "try:   dreamdock images build python" in capsys.readouterr().err
