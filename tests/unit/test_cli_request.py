from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli import attacks, doctor, layout
from orchestrator.cli.screen import Screen
from orchestrator.cli.submission import read_request
from orchestrator.errors import ConfigError, NotFoundError, UsageError
from orchestrator.stack.checks import HostCheck
from sandbox.attack.suite import Verdict

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
task = "mend it"
repo = "/src/x"
rev = "v1"
model = "kimi/kimi-k2"
accept = "make check"
[limits]
steps = 10
money_usd = 2
[sandbox]
memory_mb = 512
"""
NOTHING: dict[str, Any] = dict.fromkeys(
    ["repo", "rev", "model", "base_url", "accept", "steps", "money", "seconds", "image"]
) | {"dirty": False}


NOBODY = io.StringIO()


def asked(**flags: Any) -> dict[str, Any]:
    return NOTHING | flags


def screen(answer: io.StringIO, *, as_json: bool = False) -> Screen:
    return Screen(json=as_json, color="never", answer=answer, talk=io.StringIO())


def test_flags_make_a_request() -> None:
    request = read_request(
        "mend it", None, asked(repo="r", steps=5, money=0.5, seconds=60, dirty=True, accept="true"), NOBODY
    )
    assert (request.task, request.repo, request.rev, request.dirty) == ("mend it", "r", "HEAD", True)
    assert request.limits == {"steps": 5, "money_usd": 0.5, "seconds": 60}
    assert (request.accept, request.accept_origin) == ("true", "flag")


def test_an_empty_acceptance_command_is_one_that_was_asked_for() -> None:
    assert read_request("x", None, asked(accept=""), NOBODY).accept == ""
    assert read_request("x", None, asked(), NOBODY).accept is None


def test_no_memory_at_all_is_asked_for_with_zero() -> None:
    assert read_request("x", None, asked(recall=0), NOBODY).recall == 0
    assert read_request("x", None, asked(recall=None), NOBODY).recall is None


def test_a_spec_file_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(SPEC)
    request = read_request(None, str(tmp_path / "job.toml"), asked(), NOBODY)
    assert (request.task, request.repo, request.rev, request.model) == ("mend it", "/src/x", "v1", "kimi/kimi-k2")
    assert (request.accept, request.accept_origin) == ("make check", "spec file")
    assert (request.limits, request.sandbox) == ({"steps": 10, "money_usd": 2}, {"memory_mb": 512})


def test_a_flag_wins_over_the_spec_file(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(SPEC)
    flags = asked(steps=3, accept="make lint", repo="here", dirty=True)
    request = read_request("another task", str(tmp_path / "job.toml"), flags, NOBODY)
    assert (request.task, request.repo, request.rev, request.dirty) == ("another task", "here", "v1", True)
    assert (request.accept, request.accept_origin) == ("make lint", "flag")
    assert request.limits == {"steps": 3, "money_usd": 2}


def test_a_text_file_is_the_task(tmp_path: Path) -> None:
    (tmp_path / "task.md").write_text("# Mend it\n\nall of it\n")
    assert read_request(None, str(tmp_path / "task.md"), asked(), NOBODY).task == "# Mend it\n\nall of it\n"


def test_a_dash_reads_standard_input() -> None:
    for task, file in (("-", None), (None, "-")):
        assert read_request(task, file, asked(), io.StringIO("from a pipe")).task == "from a pipe"


@pytest.mark.parametrize(
    ("task", "file", "error"),
    [
        (None, None, UsageError),
        (" \n", None, UsageError),
        ("x", "task.md", UsageError),
        (None, "empty.toml", UsageError),
        (None, "binary.md", UsageError),
        (None, "missing.md", NotFoundError),
        (None, "missing.toml", NotFoundError),
        (None, "broken.toml", ConfigError),
        (None, "unknown.toml", ConfigError),
        (None, "folder", UsageError),
    ],
)
def test_what_is_no_task_is_refused(tmp_path: Path, task: str | None, file: str | None, error: type[Exception]) -> None:
    (tmp_path / "empty.toml").write_text('repo = "x"\n')
    (tmp_path / "broken.toml").write_text("task = \n")
    (tmp_path / "unknown.toml").write_text('task = "x"\nnetwork = true\n')
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error):
        read_request(task, file and str(tmp_path / file), asked(), NOBODY)


def test_the_doctor_says_what_is_wrong_and_what_to_type() -> None:
    checks = [
        HostCheck("engine", ok=True, found="20.10"),
        HostCheck("disk", ok=False, found="full\x1b", remedy="prune"),
        HostCheck("redis", ok=False, found="away", remedy="up"),
        HostCheck("clock", ok=False, found="away", remedy="up"),
    ]
    answer = io.StringIO()
    assert doctor.report(screen(answer), checks) == 1
    assert answer.getvalue().splitlines() == [
        "✓ ok     engine          20.10",
        "✗ wrong  disk            full␛",
        "   try:  prune",
        "✗ wrong  redis           away",
        "   try:  up",
        "✗ wrong  clock           as above",
    ]


def test_the_doctor_in_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [HostCheck("engine", ok=True, found="20.10", remedy="never shown")]
    assert doctor.report(screen(io.StringIO(), as_json=True), checks) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["ok"]) == ("dreamdock.doctor/1", True)
    assert told["checks"] == [{"name": "engine", "ok": True, "found": "20.10", "try": ""}]


def test_an_attack_is_told_as_promise_attempt_and_result() -> None:
    answer = io.StringIO()
    verdict = Verdict("dns", "No name can be resolved.", "look up example.com", "resolved\x1b[2J", held=False)
    layout.put(screen(answer), attacks.lines(verdict))
    assert answer.getvalue().splitlines() == [
        "✗ NOT HELD    No name can be resolved.  dns",
        "  attempt     look up example.com",
        "  result      resolved␛[2J",
    ]


def test_requirements_of_flags_and_of_the_spec_file_are_put_together(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('task = "mend it"\npriority = "low"\n[requires]\nlabels = ["ssd"]\nmemory_mb = 1024\n')
    request = read_request(None, str(file), asked(require=("label=eu", "memory_mb=8192", "gpus=1")), NOBODY)
    assert request.requires.labels == ("ssd", "eu")
    assert (request.requires.memory_mb, request.requires.gpus, request.priority) == (8192, 1, "low")
    assert read_request(None, str(file), asked(priority="high"), NOBODY).priority == "high"


@pytest.mark.parametrize(
    "bad", ["ssd", "label=", "label=a b", "memory_mb=much", "memory_mb=-1", "cpus=nan", "gpus=1.5", "image=x", "=x"]
)
def test_a_requirement_that_cannot_be_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="requirement"):
        read_request("x", None, asked(require=(bad,)), NOBODY)
