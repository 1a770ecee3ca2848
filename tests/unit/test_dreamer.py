"""A dream from end to end: real journals in a real Redis, a real library, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dreaming import DECISION, Project

from orchestrator import events as e
from orchestrator.dream.batch import Action
from orchestrator.dream.report import ms
from orchestrator.dream.reports import dream_of, dreams, text_of, touched
from orchestrator.journal import dreams as locks
from orchestrator.journal import keys
from orchestrator.journal.archive import archive
from orchestrator.library.entry import Status
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis


@pytest.fixture
def project(client: Redis, tmp_path: Path) -> Project:
    return Project(client, tmp_path)


def test_what_a_run_noted_becomes_an_entry_and_the_dream_one_commit(project: Project) -> None:
    run = project.run(DECISION)
    report = project.dream()
    entry = project.entries[DECISION]
    assert [one.run for one in entry.evidence] == [run]
    assert (report.runs, report.counts, report.commit) == (1, {"added": 1}, project.shelf.head())
    (dreamt,) = dreams(project.shelf, project.id)
    assert (dreamt.commit, dreamt.until, dreamt.runs) == (report.commit, report.until, 1)
    assert DECISION in text_of(project.shelf, dreamt)
    (page,) = touched(project.shelf, dreamt)
    assert (page.before, page.after) == (None, entry)


def test_a_second_dream_commits_nothing_and_the_third_reads_only_what_is_new(project: Project) -> None:
    project.run(DECISION)
    first = project.dream()
    assert locks.seen(project.client, project.id) == ms(first.until), "no keeper asks for what somebody dreamt of"
    second = project.dream()
    assert (second.commit, second.runs, project.shelf.head()) == ("", 0, first.commit)
    assert locks.seen(project.client, project.id) == ms(second.until)
    project.run("Dates are kept in UTC everywhere")
    third = project.dream()
    assert (third.runs, third.since) == (1, second.until)
    assert [one.commit for one in dreams(project.shelf, project.id)] == [third.commit, first.commit]
    again = project.dream(since=datetime(2020, 1, 1, tzinfo=UTC))
    assert (again.runs, again.commit) == (2, ""), "what was learned once isn't learned again"


def test_a_dry_run_tells_the_same_and_writes_nothing(project: Project) -> None:
    project.run(DECISION)
    before = sorted(project.client.keys())
    report = project.dream(dry_run=True)
    assert (report.counts, report.commit) == ({"added": 1}, "")
    assert sorted(project.client.keys()) == before
    assert not project.shelf.root.exists()
    assert project.dream().counts == report.counts


def test_uses_are_counted_once_for_each_run_that_ended(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    entry = project.entries[DECISION]
    given = e.Given(id=entry.id, title=entry.title, scope="repo", scope_id=project.id)
    told = e.Recalled(step=0, query="cache", why="start", entries=(given,), text="…")
    project.run(begin=(told,))
    project.run(begin=(e.Within(child="one", body=told),) * 2, outcome=Outcome.FAILED)
    report = project.dream()
    assert (project.entries[DECISION].uses, project.entries[DECISION].accepted) == (2, 1)
    assert [change.action for change in report.changes] == [Action.COUNTED]
    project.dream(since=datetime(2020, 1, 1, tzinfo=UTC))
    assert project.entries[DECISION].uses == 2


def test_other_projects_and_damaged_journals_stop_nothing(project: Project, client: Redis, tmp_path: Path) -> None:
    other = Project(client, tmp_path / "other", name="other")
    other.run("Nothing of this is this one's")
    project.run(DECISION)
    bad, worse = project.run("Never seen"), project.run("Never read")
    last = client.xrevrange(keys.stream(bad), count=1)[0]
    client.xdel(keys.stream(bad), last[0])
    client.xadd(keys.stream(bad), {"e": b'{"seq":99,"type":"of tomorrow"}', "h": b"x"})
    client.hset(keys.record(worse), mapping={"view": "{", "spec": "{"})
    client.delete(keys.stream(worse))
    project.run("Sockets are closed by their owner", commit="no commit")
    report = project.dream()
    assert other.id != project.id
    assert {one.run for one in report.skipped} == {bad, worse}
    assert report.counts == {"added": 1}
    assert bad in text_of(project.shelf, dream_of(project.shelf, project.id))


def test_an_archived_journal_teaches_the_same(project: Project) -> None:
    run = project.run(DECISION)
    assert archive(project.client, run)
    assert (project.dream().runs, set(project.entries)) == (1, {DECISION})


def test_what_people_write_meanwhile_is_merged(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    page = project.shelf.root / f"repo/{project.id}/{project.entries[DECISION].id}.md"
    given = e.Given(id=project.entries[DECISION].id, title=DECISION, scope="repo", scope_id=project.id)
    project.run("Dates are kept in UTC", begin=(e.Recalled(step=0, query="q", why="start", entries=(given,), text=""),))

    def edit(progress: object) -> None:
        if "resolve" in str(progress):
            page.write_text(page.read_text() + "\nA person's own words.\n")

    project.dream(progress=edit)
    entry = project.entries[DECISION]
    assert (entry.uses, entry.text.strip()) == (1, "A person's own words.")
    assert "Dates are kept in UTC" in project.entries


def test_a_repository_that_is_gone_leaves_the_library_as_it_was(project: Project) -> None:
    project.run(DECISION)
    project.dream()
    project.run("Dates are kept in UTC")
    head = project.shelf.head()
    store = project.state / "repos" / f"{project.id}.git"
    store.rename(project.state / "elsewhere")
    report = project.dream()
    assert "no commit of the repository" in report.refused
    assert (project.shelf.head(), report.commit) == (head, "")
    (project.state / "elsewhere").rename(store)
    assert project.dream().runs == 1, "nothing of it was taken for seen"
    assert project.entries["Dates are kept in UTC"].status is Status.ACTIVE
