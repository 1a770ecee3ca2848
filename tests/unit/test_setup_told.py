"""Set-up as it is asked for and told: the commands' way into a request, and the event's into words."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.audit import audited
from orchestrator.cli.narrator import Narrator
from orchestrator.cli.submission import read_request
from orchestrator.cli.wording import describe

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs import RunSpec

NOBODY = io.StringIO()
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
LOG = "\n".join([f"$ make {number}" for number in range(30)])


def event(**more: Any) -> e.Event:
    body = e.SetUp(commands=("make deps", "make"), network="off", seconds=75, log=LOG, **more)
    return e.Event(seq=1, at=WHEN, who="w", body=body)


def told(**more: Any) -> list[str]:
    return [f"{line.label}|{line.text.plain}" for line in Narrator().tell(event(**more))]


@pytest.mark.parametrize(("flags", "expected"), [((), ("a", "b")), (("c",), ("c",)), (("",), ("",))])
def test_a_flag_wins_over_the_spec_file_and_an_empty_one_means_none(
    tmp_path: Path, flags: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    (tmp_path / "job.toml").write_text('task = "x"\nsetup = ["a", "b"]\n')
    assert read_request(None, str(tmp_path / "job.toml"), {"setup": flags}, NOBODY).setup == expected


def test_without_a_word_it_is_the_repositorys_own() -> None:
    assert read_request("x", None, {"setup": ()}, NOBODY).setup is None


def test_a_run_is_described_with_its_commands(spec: RunSpec) -> None:
    rows = [f"{line.label}|{line.text.plain}" for line in describe(spec.model_copy(update={"setup": ("a", "b")}))]
    assert "set-up|$ a" in rows
    assert rows[rows.index("set-up|$ a") + 1] == "|$ b"


def test_what_was_made_now_is_told_with_the_end_of_its_log() -> None:
    first, *rest = told()
    assert first == "set-up|✓ 1 min 15 s · 2 commands · network off"
    assert rest[-1] == "|  $ make 29"
    assert len(rest) == 6


def test_what_was_cached_is_told_in_a_line() -> None:
    assert told(cached=True) == ["set-up|✓ from the cache, once made in 1 min 15 s · 2 commands · network off"]


def test_a_failure_shows_more_of_the_log() -> None:
    first, *rest = told(failed="a set-up command failed: make")
    assert first == "set-up|✗ failed · 2 commands · network off"
    assert len(rest) == 13


def test_the_audit_names_the_commands() -> None:
    assert [entry.text for entry in audited([event(cached=True)])] == ["make deps; make (network off, from the cache)"]
