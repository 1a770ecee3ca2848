"""Entries on a terminal of 80 columns: nothing is wider, and an id that is shown means one page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli import memory_shown
from orchestrator.cli.screen import Screen
from orchestrator.librarian import Librarian
from orchestrator.library.entry import Entry, EntryKind, Evidence, Scope, SeenPath, Status
from orchestrator.library.shelf import Shelf
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "0123456789ab"
NOW = datetime.now(UTC)


class Terminal(StringIO):
    """A terminal that keeps what it's sent."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def librarian(tmp_path: Path) -> Librarian:
    """Return a library with an entry of each status, all of them as wide as entries can be."""
    entries = [
        Entry(
            id=f"02v7y1b{place}{place}same",
            kind=EntryKind.CONVENTION,
            scope=Scope.REPO,
            scope_id=PROJECT,
            title=f"{status} {'words ' * 30}".strip(),
            text="It is so. " * 40,
            status=status,
            created=NOW - timedelta(days=1000 * place),
            uses=9_999,
            evidence=(Evidence(run="k3v0q8z1m4xa", step=14, commit="4f2ab90c" * 5),) * 2,
            paths=(SeenPath(path="a/long/path/" * 20 + "x", commit="4f2ab90c" * 5),),
        )
        for place, status in enumerate(Status)
    ]
    Shelf(tmp_path / "library").put(*entries, message="Fill")
    return Librarian(Settings(state_dir=tmp_path), "ann", PROJECT)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, Terminal]:
    """Return a screen of 80 columns, and what it shows."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    return Screen(json=False, color="never", answer=terminal, talk=StringIO()), terminal


def test_a_list_fits(librarian: Librarian, screen: tuple[Screen, Terminal]) -> None:
    memory_shown.listing(screen[0], librarian, librarian.listed(everything=True))
    rows = screen[1].getvalue().splitlines()
    assert len(rows) == 2 + len(Status)
    assert max(map(len, rows)) <= 80
    assert all(f" {status} " in row for status in Status for row in rows if f" {status} words" in row)


def test_an_id_that_is_shown_means_one_page(librarian: Librarian, screen: tuple[Screen, Terminal]) -> None:
    memory_shown.listing(screen[0], librarian, librarian.listed(status=Status.ACTIVE))
    shown = screen[1].getvalue().splitlines()[2].split()[0]
    assert shown == "02v7y1b0", "there are others in view that aren't listed"
    assert librarian.shown(shown).entry.status is Status.ACTIVE


def test_an_entry_is_shown_in_whole_lines(librarian: Librarian, screen: tuple[Screen, Terminal]) -> None:
    memory_shown.entry(screen[0], librarian, librarian.shown("02v7y1b0"))
    rows = screen[1].getvalue().splitlines()
    path = str(librarian.root / f"repo/{PROJECT}/02v7y1b00same.md")
    assert sum(row.count("It is so.") for row in rows) >= 36, "the text is whole"
    assert sum(row.count("words") for row in rows[:4]) == 30, "the title, too"
    assert any(path in row for row in rows), "a path can be copied in one piece"
    assert all(len(row) <= 80 for row in rows if path not in row)
