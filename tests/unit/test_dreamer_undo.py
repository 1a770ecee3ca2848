"""A dream taken back: what it wrote goes, what people changed since stays, and what can't be taken back is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dreaming import DECISION, Project

from orchestrator import events as e
from orchestrator.dream.reports import dream_of, dreams, touched
from orchestrator.dream.undo import Reverted, revert, undone
from orchestrator.errors import NotFoundError, UsageError
from orchestrator.library.entry import Entry, EntryKind, Evidence, Scope, Status

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

NOW = datetime(2026, 11, 26, tzinfo=UTC)
UTC_RULE = "Dates are kept in UTC everywhere"


@pytest.fixture
def project(client: Redis, tmp_path: Path) -> Project:
    return Project(client, tmp_path)


def take_back(project: Project, which: str = "@") -> Reverted:
    return revert(project.shelf, dream_of(project.shelf, project.id, which), NOW)


def page_of(project: Project, title: str) -> Path:
    return project.shelf.root / f"repo/{project.id}/{project.entries[title].id}.md"


def use(project: Project, title: str) -> None:
    """Have a run end that was given the entry of this title."""
    entry = project.entries[title]
    given = e.Given(id=entry.id, title=title, scope="repo", scope_id=project.id)
    project.run(begin=(e.Recalled(step=0, query="q", why="start", entries=(given,), text="…"),))


def test_what_nobody_changed_since_is_as_it_was_to_the_byte(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    before = page_of(project, DECISION).read_bytes()
    use(project, DECISION)
    project.run(UTC_RULE)
    project.dream()
    assert project.entries[DECISION].uses == 1
    done = take_back(project)
    assert (len(done.restored), done.kept) == (2, ())
    assert page_of(project, DECISION).read_bytes() == before
    assert set(project.entries) == {DECISION}
    assert [one.reverted for one in dreams(project.shelf, project.id)] == [NOW, None]
    with pytest.raises(UsageError, match="taken back already"):
        take_back(project)
    assert project.dream().runs == 0, "its runs aren't dreamt of again by themselves"
    assert UTC_RULE not in project.entries
    project.dream(since=datetime(2020, 1, 1, tzinfo=UTC))
    assert UTC_RULE in project.entries


def test_what_people_changed_since_stays_and_what_cant_be_taken_back_is_told(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    use(project, DECISION)
    project.run(UTC_RULE)
    report = project.dream()
    for title in (DECISION, UTC_RULE):
        page = page_of(project, title)
        page.write_text(f"{page.read_text().rstrip()}\n\nA person's own words.\n")
    done = take_back(project, report.commit[:8])
    assert [(one.path, one.why) for one in done.kept] == [
        (f"repo/{project.id}/{project.entries[UTC_RULE].id}.md", "the dream added it, and a person changed it since")
    ]
    decision = project.entries[DECISION]
    assert (decision.uses, decision.text) == (0, "A person's own words.")


def test_what_only_later_dreams_changed_goes_with_the_dream_that_added_it(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    use(project, DECISION)
    project.dream()
    assert project.entries[DECISION].uses == 1
    assert (len(take_back(project, "@-").restored), project.entries) == (1, {})


def test_which_dream_is_meant(project: Project) -> None:
    with pytest.raises(NotFoundError, match="has no dream yet"):
        dream_of(project.shelf, project.id)
    reports = []
    for title in (DECISION, UTC_RULE):
        project.run(title)
        reports.append(project.dream())
    first, last = (dream_of(project.shelf, project.id, one.commit[:10]) for one in reports)
    assert dream_of(project.shelf, project.id) == last == dream_of(project.shelf, project.id, last.name)
    assert dream_of(project.shelf, project.id, "@-") == first
    assert [one.after is not None and one.after.title for one in touched(project.shelf, first)] == [DECISION]
    with pytest.raises(UsageError, match="may be 2 dreams"):
        dream_of(project.shelf, project.id, first.name[:5])
    with pytest.raises(NotFoundError, match="no dream nothing"):
        dream_of(project.shelf, project.id, "nothing")


def test_each_field_that_is_as_the_dream_left_it_becomes_what_it_was() -> None:
    one, two, three = (Evidence(run="r", step=step) for step in (1, 2, 3))
    was = Entry(id="one", kind=EntryKind.FACT, scope=Scope.TEAM, scope_id="red", title="A", uses=1, evidence=(one,))
    dreamt = was.changed(title="B", status=Status.STALE, uses=3, evidence=(one, two), confidence=0.5)
    now = dreamt.changed(text="More.", confidence=0.7, uses=4, evidence=(one, two, three))
    result, left = undone(was, dreamt, now)
    assert (result.title, result.status, result.uses, result.text) == ("A", Status.ACTIVE, 2, "More.")
    assert (result.evidence, result.confidence, left) == ((one, three), 0.7, ["confidence"])
