"""Dreams over a library that several hosts have, and dreams that run out of time or have to stop."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from dreaming import DECISION, Project

from orchestrator.dream.batch import Phase
from orchestrator.dream.collect import collect
from orchestrator.dream.dreamer import Dreamer, carry_dream
from orchestrator.dream.report import Report, named, render
from orchestrator.dream.reports import dreams
from orchestrator.dreams import Dreams
from orchestrator.errors import ConfigError, DeniedError, LimitError, UnavailableError
from orchestrator.journal import index
from orchestrator.journal.connection import connect, redis_url
from orchestrator.library.entry import Entry, EntryKind, Scope
from orchestrator.library.sharing import share
from orchestrator.library.shelf import Shelf
from orchestrator.settings import DreamSettings, LibrarySettings
from orchestrator.stop import Stop, Stopped

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis
    from redis_team import Team

UTC_RULE = "Dates are kept in UTC everywhere"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Return an empty remote."""
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], check=True)
    return path


@pytest.fixture
def project(client: Redis, tmp_path: Path, remote: Path) -> Project:
    return Project(client, tmp_path, remote=str(remote))


def test_what_others_wrote_is_brought_before_and_the_dream_pushed_after(
    project: Project, remote: Path, tmp_path: Path
) -> None:
    other = Shelf(tmp_path / "other")
    mine = Entry(id="mine", kind=EntryKind.FACT, scope=Scope.REPO, scope_id=project.id, title="Ann's word")
    other.put(mine, message="Mine")
    share(other, str(remote))
    project.run(DECISION)
    report = project.dream()
    assert set(project.entries) == {"Ann's word", DECISION}
    share(other, str(remote))
    assert other.head() == report.commit == project.shelf.head()
    back = Dreams(project.client, project.settings, project.id).revert("@")
    share(other, str(remote))
    assert (other.head(), {one.title for one in other.entries()}) == (back.commit, {"Ann's word"})


def test_a_remote_that_is_away_is_told_and_the_dream_stays_here(project: Project, remote: Path) -> None:
    shutil.move(remote, f"{remote}.away")
    project.run(DECISION)
    report = project.dream()
    assert (report.commit, len(report.notes)) == (project.shelf.head(), 1)
    assert "what is written here is pushed by the next write" in report.notes[0]
    shutil.move(f"{remote}.away", remote)
    project.run(UTC_RULE)
    report = project.dream()
    told = subprocess.run(["git", "-C", remote, "rev-parse", "main"], capture_output=True, text=True, check=True)
    assert (told.stdout.strip(), report.notes) == (report.commit, ())
    assert len(dreams(project.shelf, project.id)) == 2


def test_a_remote_with_a_password_in_its_address_is_refused_before_anything_is_written(project: Project) -> None:
    project.run(DECISION)
    wrong = LibrarySettings(remote="https://ann:hunter2@example.org/lib.git")
    with pytest.raises(ConfigError):
        Dreamer(project.client, project.settings.model_copy(update={"library": wrong}), project.id).dream()
    assert project.shelf.head() == ""


def test_a_dream_that_is_stopped_or_takes_too_long_writes_nothing(project: Project) -> None:
    project.run(DECISION)
    stop = Stop()

    def end(progress: object) -> None:
        if Phase.RESOLVE in str(progress):
            stop.set("the worker was shut down")

    with pytest.raises(Stopped):
        Dreamer(project.client, project.settings, project.id, stop=stop).dream(progress=end)
    hurried = project.settings.model_copy(update={"dream": DreamSettings.model_construct(seconds=0.001)})
    with pytest.raises(LimitError, match="took too long"):
        Dreamer(project.client, hurried, project.id).dream()
    assert project.shelf.head() == ""
    assert project.dream().counts == {"added": 1}, "the lock is free, and nothing was taken for seen"


def test_runs_that_there_was_no_time_for_are_the_next_dreams(project: Project) -> None:
    runs = [project.run(f"Rule of run {number}") for number in range(3)]
    until = index.now_ms(project.client)
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return asked == 2

    first = collect(project.client, project.id, 0, until, tell=lambda _done, _of: None, enough=enough)
    assert ([one.run for one in first.lessons], first.left) == (runs[:2], 1)
    second = collect(project.client, project.id, first.until_ms, until, tell=lambda _done, _of: None, with_steps=True)
    assert list(second.said) == [(runs[2], 1)]
    assert "Rule of run 2" in second.said[runs[2], 1]
    assert ([one.run for one in second.lessons], second.left, second.until_ms) == (runs[2:], 0, until)


def test_the_queue_is_told_where_nothing_can_be_dreamt(project: Project) -> None:
    project.run(DECISION)
    assert isinstance(carry_dream(project.client, project.settings, project.id, stop=Stop()), Report)
    (project.state / "repos" / f"{project.id}.git").rename(project.state / "elsewhere")
    with pytest.raises(UnavailableError, match="nothing was dreamt"):
        carry_dream(project.client, project.settings, project.id)


def test_a_report_holds_no_secret_and_names_both_of_a_dispute(project: Project) -> None:
    project.run("Ports are 8080 in staging", "Use the token ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
    report = project.dream()
    text = render(report)
    assert "[redacted]" in text
    assert "ghp_a1B2" not in text + report.model_dump_json()
    change, other = report.changes[0], project.entries["Ports are 8080 in staging"]
    told = named([change.model_copy(update={"others": (other.id,), "why": "it contradicts"})], {other.id: other})
    assert told[0].why == "it contradicts: “Ports are 8080 in staging”"


def test_a_member_of_a_team_may_look_and_a_worker_may_dream(team: Team, admin: Redis, tmp_path: Path) -> None:
    project = Project(admin, tmp_path)
    project.run(DECISION)
    with connect(redis_url(team.settings("member"))) as member:
        theirs = Dreamer(member, project.settings, project.id)
        assert theirs.dream(dry_run=True).counts == {"added": 1}
        with pytest.raises(DeniedError):
            theirs.dream()
    with connect(redis_url(team.settings("worker"))) as worker:
        assert Dreamer(worker, project.settings, project.id).dream().commit
