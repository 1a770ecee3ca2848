"""`dreamdock dream` as it's typed: over real journals, a real library and a real repository."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from dreaming import DECISION, Project

from orchestrator.cli import main
from orchestrator.cli.dream_shown import Following
from orchestrator.dream.batch import Phase
from orchestrator.dream.pipeline import Progress
from orchestrator.library.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis


class Answer:
    """What one command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Return the one document."""
        return json.loads(self.out)


@pytest.fixture
def project(client: Redis, tmp_path: Path) -> Project:
    return Project(client, tmp_path)


@pytest.fixture
def typed(
    project: Project,
    redis_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Answer]:
    """Return what types a command in the project's repository."""
    for name in [name for name in os.environ if name.startswith("DREAMDOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DREAMDOCK_STATE_DIR", str(project.state))
    monkeypatch.setenv("DREAMDOCK_REDIS_URL", redis_server)
    monkeypatch.setenv("DREAMDOCK_DREAM__COMMANDS", "off")
    monkeypatch.chdir(project.repo.path)

    def run(*arguments: str) -> Answer:
        code = main(["dream", *arguments])
        return Answer(code, *capsys.readouterr())

    return run


def test_a_dream_from_the_first_look_to_its_revert(project: Project, typed: Callable[..., Answer]) -> None:
    run = project.run(DECISION)
    dry = typed("--dry-run")
    assert (dry.code, project.shelf.head()) == (0, "")
    assert DECISION in dry.out
    assert "nothing was written" in dry.err
    done = typed()
    assert done.out.startswith("✓ 1 run ended: 1 added")
    assert "next: dreamdock dream show" in done.err
    again = typed()
    assert again.out.startswith("· 0 runs ended since")
    assert again.out.count("\n") == 1
    listed = typed("log")
    assert "1 added" in listed.out
    name = typed("log", "--json").json["dreams"][0]["name"]
    shown = typed("show", name)
    assert f"+  - run {run}" in shown.out
    assert DECISION in shown.out
    assert "1 page as before" in typed("revert", name).out
    assert not project.entries
    assert "taken back" in typed("log").out
    refused = typed("revert", name)
    assert (refused.code, "taken back already" in refused.err) == (2, True)


def test_every_answer_is_a_document_with_a_schema(project: Project, typed: Callable[..., Answer]) -> None:
    project.run(DECISION)
    made = typed("--json").json
    assert (made["schema"], made["runs"], made["counts"]) == ("dreamdock.dream/1", 1, {"added": 1})
    log = typed("log", "--json").json
    assert (log["schema"], log["dreams"][0]["commit"]) == ("dreamdock.dream.log/1", made["commit"])
    shown = typed("show", "--json").json
    assert (shown["schema"], shown["pages"][0]["before"]) == ("dreamdock.dream.show/1", None)
    assert shown["pages"][0]["after"]["title"] == DECISION
    back = typed("revert", "--json").json
    assert (back["schema"], len(back["restored"]), back["kept"]) == ("dreamdock.dream.revert/1", 1, [])
    failed = typed("show", "nothing", "--json")
    assert (failed.code, failed.json["schema"]) == (3, "dreamdock.error/1")


def test_progress_says_how_far_it_is_in_words() -> None:
    told = Following()
    told.hear(Progress(Phase.COLLECT, 3, 200))
    assert told.line().plain.startswith("dreaming: collect · 3 of 200 runs · ")
    told.hear(Progress(Phase.VERIFY, 1, 4, "commands"))
    assert told.line().plain.startswith("dreaming: verify · 1 of 4 commands · ")


def test_a_dispute_is_put_to_the_person_who_dreams(project: Project, typed: Callable[..., Answer]) -> None:
    before = datetime.now(UTC) - timedelta(days=1)
    by_hand = {"id": "ports", "kind": "convention", "scope": "repo", "scope_id": project.id, "updated": before}
    project.shelf.put(Entry.model_validate({**by_hand, "title": "Ports are 8080 in staging"}), message="By hand")
    project.run("Ports are 9090 in staging")
    told = typed()
    assert "A person has to say which holds" in told.out
    assert "dreamdock memory show ports" in told.err


def test_which_repository(
    project: Project, typed: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(DECISION)
    monkeypatch.chdir(tmp_path)
    nowhere = typed()
    assert (nowhere.code, "one repository" in nowhere.err) == (3, True)
    assert typed("--repo", str(project.repo.path), "--dry-run", "--json").json["runs"] == 1
    assert typed("--project", project.id, "--dry-run", "--json").json["runs"] == 1
    assert typed("--project", "x").code == 2
    assert typed("--dry-run", "log").code == 2
    assert typed("--since", "yesterday", "--project", project.id).code == 2
    assert typed("--since", "2099-01-01", "--project", project.id).code == 2
    before = typed("--since", "2026-01-01", "--dry-run", "--project", project.id)
    assert f"next: dreamdock dream --since 2026-01-01T00:00:00.000Z --project {project.id}" in before.err
    later = typed("--since", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "--dry-run", "--project", project.id)
    assert "was left out, as --since asked" in later.err


def test_without_redis_it_says_so_and_the_past_is_still_told(
    project: Project, typed: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(DECISION)
    assert typed().code == 0
    monkeypatch.setenv("DREAMDOCK_REDIS_URL", "unix:///nonexistent/r.sock")
    away = typed()
    assert (away.code, "Redis" in away.err) == (5, True)
    assert typed("log").code == typed("show").code == 0


def test_a_repository_that_is_gone_is_told(project: Project, typed: Callable[..., Answer]) -> None:
    project.run(DECISION)
    (project.state / "repos" / f"{project.id}.git").rename(project.state / "elsewhere")
    told = typed("--project", project.id)
    assert (told.code, "nothing was changed" in told.out) == (5, True)
    assert typed("--project", project.id, "--json").json["refused"]
