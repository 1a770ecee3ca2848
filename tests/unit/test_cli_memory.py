"""`dreamdock memory` as it's typed: with real libraries and remotes, and nothing else running."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.cli import main
from orchestrator.cli.memory import KINDS, SCOPES, STATUSES
from orchestrator.library.entry import EntryKind, Scope, Status

if TYPE_CHECKING:
    from collections.abc import Callable


def git(*args: str | Path, cwd: Path) -> str:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(["git", *identity, *args], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    folder = tmp_path / "repo"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/conftest.py").write_text("x = 1\n")
    git("init", "--quiet", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "start", cwd=folder)
    return folder


class Told:
    """What one command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Return the one document."""
        return json.loads(self.out)


@pytest.fixture
def typed(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Return what types a command in the repository, with a state of its own and Bob as git's user."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Bob\n\temail = bob@example.org\n")
    for name in [name for name in os.environ if name.startswith("DREAMDOCK_")] + ["VISUAL", "EDITOR"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DREAMDOCK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DREAMDOCK_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.chdir(repo)

    def run(*arguments: str) -> Told:
        code = main(["memory", *arguments])
        return Told(code, *capsys.readouterr())

    return run


def test_the_words_of_the_command_line_are_the_librarys() -> None:
    assert (tuple(EntryKind), tuple(Scope), tuple(Status)) == (KINDS, SCOPES, STATUSES)


def test_an_entry_is_written_found_shown_and_forgotten(typed: Callable[..., Told], tmp_path: Path) -> None:
    done = typed(
        "add", "pitfall", "Tests need a running Redis", "Start it with `make redis`.", "--path", "tests", "--json"
    )
    entry = done.json["entries"][0]
    assert (done.code, done.json["schema"]) == (0, "dreamdock.memory.added/1")
    assert (entry["origin"], entry["status"]) == ("person", "active")
    assert entry["paths"] == [{"path": "tests", "commit": git("rev-parse", "HEAD", cwd=Path.cwd())}]
    assert entry["id"] in typed("list").out
    assert [one["id"] for one in typed("search", "running the tests", "--json").json["entries"]] == [entry["id"]]
    shown = typed("show", entry["id"][:9])
    assert "Start it with `make redis`." in shown.out
    assert "Bob: Add a pitfall: Tests need a running Redis" in shown.out
    gone = typed("forget", entry["id"])
    assert gone.code == 0
    assert typed("list", "--json").json["entries"] == []
    library = tmp_path / "state/library"
    back = next(line for line in gone.err.splitlines() if "git -C" in line).removeprefix("next: ")
    subprocess.run(shlex.split(back), check=True)
    assert typed("list", "--json").json["entries"][0]["id"] == entry["id"], "what is said brings it back"
    assert not (tmp_path / "run").exists()
    assert sorted(path.name for path in library.parent.iterdir() if "index" not in path.name) == ["library"]
