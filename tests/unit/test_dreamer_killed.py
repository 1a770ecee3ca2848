"""Dreams killed in each phase, real processes by SIGKILL; two at once; libraries that aren't as they should be."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest
from dreaming import DECISION, Project

from orchestrator.dream.batch import Phase
from orchestrator.dream.reports import dreams
from orchestrator.errors import UnavailableError
from orchestrator.journal import dreams as locks
from orchestrator.journal import keys
from orchestrator.library.shelf import LibraryError, Shelf
from sandbox.git import git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

CHILD = textwrap.dedent(
    """
    import sys, time
    from orchestrator.dream.dreamer import Dreamer
    from orchestrator.journal.connection import connect
    from orchestrator.settings import Settings

    url, settings, project, phase, seconds = sys.argv[1:]

    def stay(progress):
        if progress.phase == phase:
            print(progress.phase, flush=True)
            time.sleep(float(seconds))

    with connect(url) as client:
        Dreamer(client, Settings.model_validate_json(settings), project).dream(progress=stay)
    """
)


@pytest.fixture
def project(client: Redis, tmp_path: Path) -> Project:
    return Project(client, tmp_path)


def files(root: Path) -> dict[str, bytes]:
    """Return what lies in a library, but for git's own."""
    found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def killed(project: Project, url: str, phase: Phase, *, stays_s: float, after_s: float) -> None:
    """Have a process dream, and kill it some seconds after it said that it's in this phase, where it stays for some."""
    what = (project.settings.model_dump_json(), project.id, phase, str(stays_s))
    with subprocess.Popen([sys.executable, "-c", CHILD, url, *what], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == phase
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL or (not stays_s and child.returncode == 0)


@pytest.mark.parametrize("phase", list(Phase))
def test_killed_in_any_phase_the_library_is_as_it_was(project: Project, redis_server: str, phase: Phase) -> None:
    project.run(DECISION)
    first = project.dream()
    before = files(project.shelf.root)
    project.run("Dates are kept in UTC")
    if phase is Phase.WORD:  # It's come to where there's a model; that this one has no family is told, and no matter.
        dream = project.settings.dream.model_copy(update={"model": "nobody/nothing"})
        project.settings = project.settings.model_copy(update={"dream": dream})
    killed(project, redis_server, phase, stays_s=600, after_s=0)
    assert (project.shelf.head(), files(project.shelf.root)) == (first.commit, before)
    with pytest.raises(UnavailableError, match="somebody else dreams"):
        project.dream()
    project.client.delete(keys.DREAMING)  # Its lease runs out by itself; nobody waits for that here.
    report = project.dream()
    assert (report.runs, report.counts, project.shelf.head()) == (1, {"added": 1}, report.commit)
    assert len(dreams(project.shelf, project.id)) == 2


def test_killed_at_any_moment_of_the_commit_it_is_there_whole_or_not_at_all(
    project: Project, redis_server: str
) -> None:
    for number in range(6):
        project.run(f"Rule {number}: the module m{number}.py belongs to team {number}")
        before = project.shelf.head()
        killed(project, redis_server, Phase.COMMIT, stays_s=0, after_s=0.01 * number)
        project.client.delete(keys.DREAMING)
        project.dream()
        names = [title for title in project.entries if title.startswith("Rule")]
        assert len(names) == number + 1
        told = git("log", "--format=%s", f"{before}..main" if before else "main", git_dir=project.shelf.git_dir)
        (subject,) = told.out.decode().splitlines()  # The killed one's commit, or the one after it.
        assert subject.startswith("Dream of ")
    assert git("fsck", "--strict", "--no-dangling", git_dir=project.shelf.git_dir).code == 0


def test_two_at_once_and_the_second_is_refused(project: Project) -> None:
    project.run(DECISION)
    begun, go_on = threading.Event(), threading.Event()

    def wait(progress: object) -> None:
        if Phase.RESOLVE in str(progress):
            begun.set()
            assert go_on.wait(20)

    first = threading.Thread(target=project.dream, kwargs={"progress": wait})
    first.start()
    assert begun.wait(20)
    with pytest.raises(UnavailableError, match="somebody else dreams") as refused:
        project.dream()
    assert refused.value.exit_code == 5
    assert project.dream(dry_run=True).counts == {"added": 1}, "looking is always possible"
    go_on.set()
    first.join()
    assert len(dreams(project.shelf, project.id)) == len(project.entries) == 1


def test_who_lost_the_lock_writes_nothing(project: Project) -> None:
    project.run(DECISION)

    def lose(progress: object) -> None:
        if Phase.RESOLVE in str(progress):
            project.client.delete(keys.DREAMING)
            deadline = threading.Event()
            deadline.wait(locks.LEASE_SECONDS / 4 + 1)  # Its next renewal finds out.

    with pytest.raises(UnavailableError, match="wrote nothing"):
        project.dream(progress=lose)
    assert project.shelf.head() == ""


@pytest.fixture
def dreamt(project: Project) -> Iterator[Shelf]:
    """Yield a library with a dream in it, and a run that isn't dreamt of yet; afterwards a dream is well again."""
    project.run(DECISION)
    project.dream()
    project.run("Dates are kept in UTC")
    yield project.shelf
    assert "Dates are kept in UTC" in {entry.title for entry in project.shelf.entries()}


def test_a_library_in_the_middle_of_a_merge_stays_as_it_is(project: Project, dreamt: Shelf) -> None:
    before, head = files(dreamt.root), dreamt.head()
    mark = dreamt.git_dir / "MERGE_HEAD"
    mark.write_text(f"{head}\n")
    with pytest.raises(LibraryError, match="in the middle of a merge") as told:
        project.dream()
    assert "MERGE_HEAD" in told.value.cause
    assert (files(dreamt.root), dreamt.head()) == (before, head)
    mark.unlink()
    project.dream()


def test_a_broken_index_of_git_or_of_the_search_is_no_matter(project: Project, dreamt: Shelf) -> None:
    for index in (dreamt.git_dir / "index", dreamt.git_dir / "dreamdock.index", project.state / "library.index"):
        index.write_bytes(b"\0broken" * 100)
    before = files(dreamt.root)
    assert project.dream().counts == {"added": 1}
    assert files(dreamt.root).items() > before.items()


def test_pages_of_another_schema_stay_as_they_are_and_are_told(project: Project, dreamt: Shelf) -> None:
    folder = dreamt.root / "repo" / project.id
    strange = {
        "newer": b"---\nkind: fact\nmood: blue\n---\nOf tomorrow.\n",
        "half": b"<<<<<<< ours\n=======\n>>>>>>> theirs\n",
        "bytes": b"\xff\xfe\x00",
    }
    for name, page in strange.items():
        (folder / f"{name}.md").write_bytes(page)
    report = project.dream()
    assert report.counts == {"added": 1}
    assert all(any(f"{name}.md" in note for note in report.notes) for name in strange)
    assert all((folder / f"{name}.md").read_bytes() == page for name, page in strange.items())


def test_a_library_whose_objects_are_broken_is_told_and_left(project: Project, dreamt: Shelf) -> None:
    packs = sorted((dreamt.git_dir / "objects").rglob("*.pack"))
    loose = [path for path in (dreamt.git_dir / "objects").glob("[0-9a-f][0-9a-f]/*") if path.is_file()]
    kept = {path: path.read_bytes() for path in (*packs, *loose)}
    for path in kept:
        path.chmod(0o644)
        path.write_bytes(b"rubbish")
    head = dreamt.head()
    with pytest.raises(LibraryError):
        project.dream()
    assert dreamt.head() == head
    for path, data in kept.items():
        path.write_bytes(data)
    project.dream()
