"""What a run may look up, and that nothing that is wrong with a library, its index or its remote stops it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.library.entry import Entry, EntryKind, Origin, Scope, Status
from orchestrator.library.lookup import Found, Lookup
from orchestrator.library.opened import open_library
from orchestrator.library.sharing import share
from orchestrator.library.shelf import Shelf
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OURS, THEIRS = "0123456789ab", "ba9876543210"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def entry(name: str, scope: Scope = Scope.REPO, scope_id: str = OURS, **fields: Any) -> Entry:
    said = {"id": name, "kind": EntryKind.FACT, "scope": scope, "scope_id": scope_id, "title": f"Redis of {name}"}
    return Entry.model_validate({**said, "text": "The tests need a running Redis.", **fields})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    users = {name: {"team": "red"} for name in ("ann", "bob")}
    return Settings.model_validate({"state_dir": tmp_path / "state", "queue": {"users": users}})


@pytest.fixture
def shelf(settings: Settings) -> Shelf:
    shelf = Shelf(settings.library_dir)
    shelf.put(
        entry("ours"),
        entry("theirs", scope_id=THEIRS),
        entry("red", Scope.TEAM, "red"),
        entry("blue", Scope.TEAM, "blue"),
        entry("ann", Scope.USER, "ann"),
        entry("bob", Scope.USER, "bob"),
        *(entry(status.value, status=status) for status in Status if status is not Status.ACTIVE),
        entry("web", origin=Origin.WEB, status=Status.QUARANTINED),
        message="Begin",
    )
    return shelf


def ask(settings: Settings, user: str = "ann", project: str = OURS, **more: Any) -> Found:
    return Lookup(settings, user, project).recall("which Redis?", **{"budget": 10_000, "now": NOW, **more})


def ids(found: Found) -> set[str]:
    return {one.entry.id for one in found.entries}


@pytest.mark.usefixtures("shelf")
def test_a_run_sees_its_repository_its_team_and_its_user(settings: Settings) -> None:
    mine = {"ours", "unverified", "red"}
    assert ids(ask(settings)) == mine | {"ann"}
    assert ids(ask(settings, "bob")) == mine | {"bob"}
    assert ids(ask(settings, "eve")) == {"ours", "unverified"}
    assert ids(ask(settings, "../ann", "")) == set()
    assert ids(ask(settings, "eve", THEIRS)) == {"theirs"}


def test_what_is_told_already_costs_a_line(settings: Settings, shelf: Shelf) -> None:
    found = ask(settings, budget=60, known={"ours", "unverified", "red", "ann"})
    assert len(found.entries) > len(ask(settings, budget=60).entries)
    assert found.head == shelf.head()
    assert not found.failure


def test_a_library_that_isnt_there_has_nothing_and_isnt_made(settings: Settings) -> None:
    assert ask(settings) == Found()
    assert not settings.state_dir.exists()


def _no_objects(shelf: Shelf, _index: Path) -> None:
    shutil.rmtree(shelf.git_dir / "objects")


def _no_head(shelf: Shelf, _index: Path) -> None:
    (shelf.git_dir / "refs/heads/main").write_text("f" * 40 + "\n")


def _index_of_nothing(_shelf: Shelf, index: Path) -> None:
    index.mkdir()


@pytest.mark.parametrize("spoil", [_no_objects, _no_head, _index_of_nothing])
def test_a_library_that_cant_be_read_is_told_and_no_more(
    settings: Settings, shelf: Shelf, spoil: Callable[[Shelf, Path], None]
) -> None:
    spoil(shelf, settings.state_dir / "library.index")
    found = ask(settings)
    assert found.entries == ()
    assert found.failure.startswith("long-term memory can't be read: ")
    assert "\n" not in found.failure


def test_a_broken_index_is_made_anew(settings: Settings, shelf: Shelf) -> None:
    assert shelf.head()
    (settings.state_dir / "library.index").write_bytes(os.urandom(10_000))
    assert ids(ask(settings)) >= {"ours", "red"}


def test_an_index_that_another_process_writes_to_is_waited_for_a_while(settings: Settings, shelf: Shelf) -> None:
    ask(settings)
    shelf.put(entry("new"), message="More")
    with sqlite3.connect(settings.state_dir / "library.index", isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        assert ask(settings).failure.startswith("long-term memory can't be read: ")
        db.execute("ROLLBACK")
    db.close()
    assert "new" in ids(ask(settings))


@pytest.mark.usefixtures("shelf")
def test_threads_may_ask_at_once(settings: Settings) -> None:
    lookup, found = Lookup(settings, "ann", OURS), list[Found]()
    threads = [
        threading.Thread(target=lambda: found.append(lookup.recall("Redis", budget=10_000, now=NOW))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ids(one) for one in found] == [{"ours", "unverified", "red", "ann"}] * 6
    assert not any(one.failure for one in found)


@pytest.fixture
def shared(settings: Settings, tmp_path: Path) -> Settings:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "remote"], check=True)
    return settings.model_copy(
        update={"library": settings.library.model_copy(update={"remote": str(tmp_path / "remote")})}
    )


def test_what_others_wrote_is_pulled_once_before_the_first_question(shared: Settings, tmp_path: Path) -> None:
    other = Shelf(tmp_path / "other")
    other.put(entry("first"), message="One")
    share(other, str(shared.library.remote))
    lookup = Lookup(shared, "ann", OURS)
    assert ids(lookup.recall("Redis", budget=10_000, now=NOW)) == {"first"}
    other.put(entry("second"), message="Two")
    share(other, str(shared.library.remote))
    assert ids(lookup.recall("Redis", budget=10_000, now=NOW)) == {"first"}, "once for an attempt"
    assert ids(ask(shared)) == {"first", "second"}


def test_without_its_remote_what_is_here_is_looked_through(shared: Settings, shelf: Shelf, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "remote")
    lookup = Lookup(shared, "ann", OURS)
    assert lookup.skills() == ()
    found = lookup.recall("Redis", budget=10_000, now=NOW)
    assert ids(found) == {"ours", "unverified", "red", "ann"}
    assert found.failure.startswith("long-term memory isn't up to date: ")
    assert not lookup.recall("Redis", budget=10_000, now=NOW).failure, "told once"
    assert shelf.head() == found.head


def test_a_merge_under_way_keeps_nobody_from_reading(shared: Settings, shelf: Shelf) -> None:
    (shelf.git_dir / "MERGE_HEAD").write_text(shelf.head() + "\n")
    (shelf.root / f"repo/{OURS}/ours.md").write_text("<<<<<<< HEAD\nRedis\n=======\nredis\n>>>>>>> other\n")
    found = ask(shared)
    assert ids(found) == {"ours", "unverified", "red", "ann"}
    assert "isn't up to date" in found.failure


def test_the_index_is_that_of_the_library_that_people_search(settings: Settings, shelf: Shelf) -> None:
    ask(settings)
    library = open_library(settings)
    library.index.refresh(shelf)
    assert library.index.problems() == []
