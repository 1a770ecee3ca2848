"""What of the library still holds, by real repositories; commands are tried by a table of how they end."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from repos import Repo

from orchestrator.dream.batch import Action, Batch
from orchestrator.dream.verifier import Verifier
from orchestrator.dream.verify import verify
from orchestrator.library.entry import Entry, EntryKind, Evidence, Origin, Scope, SeenPath
from orchestrator.stop import Stop
from sandbox.errors import SandboxError
from sandbox.spec import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.dream.sealed import Box

PROJECT = "0123456789ab"
LONG = "".join(f"line {number} of a file that is long enough to be known again\n" for number in range(30))
EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def entry(name: str = "e1x", **fields: Any) -> Entry:
    known = {"kind": EntryKind.FACT, "scope": Scope.REPO, "scope_id": PROJECT, "title": "so it is"}
    return Entry(**{"id": name, **known, "origin": Origin.AGENT, "confidence": 0.6, **fields})


def seen(*paths: str, at: str) -> tuple[SeenPath, ...]:
    return tuple(SeenPath(path=path, commit=at) for path in paths)


def batch_of(*entries: Entry) -> Batch:
    return Batch({one.id: one for one in entries})


def removed(repo: Repo, *paths: str) -> str:
    repo.git("rm", "-q", "--", *paths)
    return repo.commit()


def at_head(repo: Repo, sealing: Any = None, *, head: str = "", seconds: float = 600.0) -> Verifier:
    return Verifier(
        git_dir=repo.path / ".git",
        head=head or repo.git("rev-parse", "HEAD"),
        sealing=sealing,
        command_seconds=300.0,
        until=time.monotonic() + seconds,
    )


class Table:
    """Boxes in which each command ends as the table says: an exit code, `hangs`, or an error; counts them."""

    def __init__(self, **ends: Any) -> None:
        self.ends = {name.replace("_", " "): end for name, end in ends.items()}
        self.ran: list[str] = []
        self.unready: SandboxError | None = None

    @contextmanager
    def ready(self, stop: Stop, seconds: float) -> Iterator[Callable[[], Any]]:
        stop.check()
        assert seconds > 0
        if self.unready is not None:
            raise self.unready
        yield self._fresh

    @contextmanager
    def _fresh(self) -> Iterator[Box]:
        yield self

    def run(self, command: str, *, timeout_s: float | None = None) -> CommandResult:
        assert timeout_s
        assert timeout_s <= 300
        self.ran.append(command)
        end = self.ends[command]
        if isinstance(end, list):
            end = end.pop(0)
        if isinstance(end, Exception):
            raise end
        hangs, code = end == "hangs", end if isinstance(end, int) else None
        output = b"some lines\nAssertionError: no\n\n" if code else b""
        told = {"signal": None if code is not None else 9, "total_bytes": 0, "duration_s": 0.1, "cwd": "/workspace"}
        return CommandResult(exit_code=code, timed_out=hangs, output=output, **told)


def test_a_renamed_file_takes_its_new_name_and_the_head(repo: Repo) -> None:
    start = repo.commit({"conf.py": LONG})
    repo.git("mv", "conf.py", "settings.py")
    head = repo.commit()
    proof = (Evidence(run="r1", step=3, commit=start),)
    given = entry(paths=seen("conf.py", at=start), evidence=proof)
    found = verify(batch_of(given), at_head(repo))
    assert found.entries["e1x"] == given.changed(paths=seen("settings.py", at=head))
    (change,) = found.changes
    assert (change.action, change.why) == (Action.MOVED, "conf.py is settings.py now")
    assert verify(Batch(found.entries), at_head(repo)) == Batch(found.entries), "once more changes nothing"
