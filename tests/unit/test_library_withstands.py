"""What lies in a library's folders, and what a git that was killed leaves: nobody else's entries are lost by it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UsageError
from orchestrator.librarian import Librarian
from orchestrator.library.entry import EntryKind, Scope
from orchestrator.library.lookup import Lookup
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "0123456789ab"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(state_dir=tmp_path)
    Librarian(settings, "ann").add(EntryKind.FACT, "The cache is one file", scope=Scope.USER)
    return settings


def recalled(settings: Settings) -> list[str]:
    found = Lookup(settings, "ann", PROJECT).recall("cache", budget=2_000, now=datetime.now(UTC))
    assert not found.failure
    return [one.entry.title for one in found.entries]


@pytest.mark.parametrize("name", [b"x\xff.md", b"a\nb.md", b"\xed\xa0\x80.md"])
def test_a_page_with_any_name_costs_nobody_the_recall(settings: Settings, name: bytes) -> None:
    folder = settings.library_dir / "repo" / PROJECT
    folder.mkdir(parents=True)
    (folder / os.fsdecode(name)).write_text("---\nkind: fact\ntitle: The cache is two files\n---\n")
    librarian = Librarian(settings, "ann", PROJECT)
    assert librarian.take_in() == ""
    (problem,) = librarian.listed().problems
    assert problem.message.isprintable()
    assert recalled(settings) == ["The cache is one file"]


@pytest.mark.parametrize("lock", ["HEAD", "refs/heads/main", "refs/dreamdock/seen"])
def test_a_ref_that_a_killed_git_left_locked_holds_up_no_write(settings: Settings, lock: str) -> None:
    (settings.library_dir / f".git/{lock}.lock").touch()
    Librarian(settings, "ann").add(EntryKind.FACT, "The cache is cleared at midnight", scope=Scope.USER)
    assert len(recalled(settings)) == 2


@pytest.mark.parametrize("folder", ["user/", "user/ann/", "/"])
def test_a_folder_is_no_way_to_name_an_entry_even_if_it_has_one_alone(settings: Settings, folder: str) -> None:
    with pytest.raises(UsageError):
        Librarian(settings, "ann").forget([folder])
    assert recalled(settings) == ["The cache is one file"]
