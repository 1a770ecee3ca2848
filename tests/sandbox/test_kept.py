from __future__ import annotations

import os
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from steps import OTHER, RUN, Steps, check, is_there, pack_names, read_whole

from sandbox import packs
from sandbox.checkpoints import Checkpointer
from sandbox.errors import RevisionNotFound, WorkspaceError
from sandbox.retention import prune

if TYPE_CHECKING:
    from repos import Opener, Repo

    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base
    from sandbox.store import Store


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    return store.import_commit(repo.path)


def test_a_run_keeps_its_steps_those_left_by_a_rewind_and_its_blobs(store: Store, base: Base, steps: Steps) -> None:
    first = steps.take(b"one")
    left = steps.take(b"left behind")
    shells = [steps.objects.put(b"blob", text) for text in (b"cd /a", b"cd /b")]
    steps.objects.flush()
    store.keep(base.project, RUN, base.commit)
    store.keep(base.project, RUN, first, [shells[0]])
    store.keep(base.project, RUN, left, [shells[1], shells[1]])
    gone_on = steps.take(b"another way", parent=first)
    store.keep(base.project, RUN, gone_on)
    unwanted = steps.take(b"never kept")
    assert list(store.kept(base.project)) == [RUN]
    assert time.time() - store.kept(base.project)[RUN] < 60
    assert store.collect(base.project, grace_s=0)
    for oid in (first, left, gone_on, *shells):
        assert is_there(steps.git_dir, oid)
    assert not is_there(steps.git_dir, unwanted)
    assert read_whole(store.objects(base.project), left) == b"left behind"
    check(steps.git_dir)


def test_a_dropped_run_goes_and_what_another_needs_stays(store: Store, base: Base, steps: Steps) -> None:
    shared = steps.take(b"shared")
    store.keep(base.project, RUN, shared)
    forked = steps.take(b"forked", parent=shared)
    store.keep(base.project, OTHER, forked)
    own = steps.take(b"own", parent=shared)
    store.keep(base.project, RUN, own)
    store.drop(base.project, RUN)
    store.drop(base.project, RUN)
    assert list(store.kept(base.project)) == [OTHER]
    before = store.disk_bytes(base.project)
    assert store.collect(base.project, grace_s=0)
    assert is_there(steps.git_dir, shared)
    assert is_there(steps.git_dir, forked)
    assert not is_there(steps.git_dir, own)
    assert store.disk_bytes(base.project) <= before
    store.drop(base.project, OTHER)
    assert store.collect(base.project, grace_s=0)
    assert not is_there(steps.git_dir, forked)
    assert store.list_files(base.project, base.tree)
    check(steps.git_dir)


def test_what_is_young_stays_and_goes_once_it_is_old(store: Store, base: Base, steps: Steps) -> None:
    step = steps.take(b"in flight")
    assert store.collect(base.project)
    assert is_there(steps.git_dir, step)
    assert store.consolidate(base.project, most=0)
    assert is_there(steps.git_dir, step)
    assert store.collect(base.project, grace_s=-1)
    assert not is_there(steps.git_dir, step)


def test_old_bases_go_but_the_latest_and_those_of_kept_runs(store: Store, repo: Repo, base: Base) -> None:
    (repo.path / "README.md").write_text("first\n")
    kept = store.import_commit(repo.path, dirty=True)
    (repo.path / "README.md").write_text("second\n")
    unwanted = store.import_commit(repo.path, dirty=True)
    store.keep(base.project, RUN, kept.commit)
    git_dir = store.git_dir(base.project)
    for number, commit in enumerate((kept.commit, unwanted.commit, base.commit)):
        os.utime(git_dir / f"refs/dreamdock/base/{commit}", (number + 1, number + 1))
    assert store.collect(base.project)
    assert not (git_dir / f"refs/dreamdock/base/{unwanted.commit}").exists()
    assert store.collect(base.project, grace_s=-1)
    assert not is_there(git_dir, unwanted.commit)
    assert is_there(git_dir, kept.commit)
    assert is_there(git_dir, base.commit)
    assert store.import_commit(repo.path, dirty=True) == unwanted
    check(git_dir)


def test_an_import_again_makes_its_ref_young(store: Store, repo: Repo, base: Base) -> None:
    ref = store.git_dir(base.project) / f"refs/dreamdock/base/{base.commit}"
    os.utime(ref, (1, 1))
    store.import_commit(repo.path)
    assert time.time() - ref.stat().st_mtime < 60


def test_a_collection_waits_for_imports_and_imports_for_a_collection(store: Store, repo: Repo, base: Base) -> None:
    git_dir = store.git_dir(base.project)
    with packs.importing(git_dir):
        assert not store.collect(base.project, grace_s=0)
    found: list[Base] = []
    thread = threading.Thread(target=lambda: found.append(store.import_commit(repo.path)))
    with packs._alone(packs._imports(git_dir)):
        thread.start()
        time.sleep(0.5)
        assert found == []
    thread.join()
    assert found == [base]


def test_imports_and_collections_side_by_side(store: Store, repo: Repo, base: Base) -> None:
    ended = threading.Event()

    def collect() -> None:
        while not ended.is_set():
            store.collect(base.project, grace_s=-1)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for number in range(12):
            # One of three contents: most are there already, unwanted, when they are imported again.
            (repo.path / "README.md").write_text(f"{number % 3}\n")
            found = store.import_commit(repo.path, dirty=True)
            store.keep(found.project, f"run{number}", found.commit)
            assert is_there(store.git_dir(found.project), found.tree)
            store.drop(found.project, f"run{number}")
    finally:
        ended.set()
        thread.join()
    check(store.git_dir(base.project))


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "A", ".x"])
def test_a_name_that_is_no_runs_is_refused(store: Store, base: Base, run_id: str) -> None:
    with pytest.raises(WorkspaceError, match="no run's id"):
        store.keep(base.project, run_id, base.commit)
    with pytest.raises(WorkspaceError, match="no run's id"):
        store.drop(base.project, run_id)


def test_only_commits_and_blobs_that_are_there_can_be_kept(store: Store, base: Base) -> None:
    for unknown in ("0" * 40, base.tree, "x"):
        with pytest.raises(RevisionNotFound):
            store.keep(base.project, RUN, unknown)
    with pytest.raises(WorkspaceError, match="no object"):
        store.keep(base.project, RUN, base.commit, ["0" * 40])
    assert store.kept(base.project) == {}


def test_what_killed_imports_left_goes_after_a_day(store: Store, base: Base) -> None:
    for name, age in (("incoming-old", 90_000), ("incoming-new", 60)):
        (store.root / name / "r.git").mkdir(parents=True)
        os.utime(store.root / name, (time.time() - age,) * 2)
    assert store.sweep() == ["incoming-old"]
    assert store.projects() == [base.project]
    assert (store.root / "incoming-new").is_dir()


def test_runs_over_for_long_go_and_those_that_run_stay(store: Store, base: Base, steps: Steps) -> None:
    now = time.time()
    ends = {"old": now - 1000, "fresh": now - 10, "running": None, "unknown": 0.0, "lost": 0.0}
    commits = {run_id: steps.take(run_id.encode(), parent=base.commit) for run_id in ends}
    for run_id, commit in commits.items():
        store.keep(base.project, run_id, commit)
    os.utime(steps.git_dir / "refs/dreamdock/run/lost", (now - 1000, now - 1000))
    assert prune(store, ends.get, retention_s=500, dry_run=True) == ["lost", "old"]
    assert set(store.kept(base.project)) == set(ends)
    assert prune(store, ends.get, retention_s=500) == ["lost", "old"]
    assert set(store.kept(base.project)) == {"fresh", "running", "unknown"}
    assert is_there(steps.git_dir, commits["old"])  # It's young: written a moment ago.
    assert store.dropped(base.project) > now - 1
    assert prune(store, ends.get, retention_s=500, grace_s=-1) == []
    assert not is_there(steps.git_dir, commits["old"])
    assert store.dropped(base.project) == 0
    for run_id in ("fresh", "running", "unknown"):
        assert read_whole(store.objects(base.project), commits[run_id]) == run_id.encode()
    check(steps.git_dir)


def test_a_damaged_project_does_not_stop_the_others(store: Store, base: Base, steps: Steps) -> None:
    store.keep(base.project, RUN, steps.take(b"old"))
    damaged = store.root / "000000000000.git"
    (damaged / "refs/dreamdock/run").mkdir(parents=True)
    (damaged / "refs/dreamdock/run" / OTHER).write_text("no commit\n")
    with pytest.raises(WorkspaceError):
        prune(store, {RUN: 1.0, OTHER: 1.0}.get, retention_s=10, grace_s=-1)
    assert store.kept(base.project) == {}
    assert not is_there(steps.git_dir, steps.made[0])


def test_what_it_takes_is_measured_and_noted(store: Store, base: Base, steps: Steps) -> None:
    assert store.measured() == 0
    before = store.measure()
    assert store.disk_bytes(base.project) <= before < store.disk_bytes(base.project) + 100_000
    steps.take(os.urandom(500_000))
    assert store.measured() == before
    assert store.measure() > before + 400_000
    (store.root / "bytes").write_text("no number")
    assert store.measured() == 0


@pytest.mark.needs_root
def test_checkpoints_of_a_run_are_kept_with_what_a_rewind_left_and_its_shell(
    store: Store, base: Base, open_workspace: Opener
) -> None:
    git_dir = store.git_dir(base.project)
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace, run_id=RUN)
    assert list(store.kept(base.project)) == [RUN]
    made: list[Checkpoint] = []
    for number in range(4):
        if number == 2:
            checkpoints.rewind(made[0].commit)
        (workspace.merged / "README.md").write_text(f"{number}\n")
        before = pack_names(git_dir)
        made.append(checkpoints.checkpoint(note="step", held=nullcontext(b"cd /%d" % number)))
        assert len(pack_names(git_dir) - before) == 1
    unkept = Checkpointer(store, workspace, parent=made[-1].commit)
    (workspace.merged / "README.md").write_text("unkept\n")
    lost = unkept.checkpoint(note="step")
    assert store.collect(base.project, grace_s=-1)
    check(git_dir)
    for number, step in enumerate(made):
        assert store.read_file(base.project, step.tree, "README.md") == b"%d\n" % number
        assert checkpoints.tree_of(step.commit) == step.tree
        assert store.objects(base.project).read(step.shell) == b"cd /%d" % number
    assert not is_there(git_dir, lost.commit)
    again = Checkpointer(store, workspace, parent=made[-1].commit, run_id=RUN)
    assert again.checkpoint(note="step").commit
    store.drop(base.project, RUN)
    assert store.collect(base.project, grace_s=-1)
    assert not is_there(git_dir, made[-1].commit)
    assert is_there(git_dir, base.commit)


def test_steps_of_two_sandboxes_of_a_run_are_both_kept(store: Store, base: Base, steps: Steps) -> None:
    store.keep(base.project, RUN, base.commit)
    one, two = steps.take(b"one"), steps.take(b"two", parent=base.commit)
    objects, git_dir = steps.objects, steps.git_dir
    links = [packs.link(objects, git_dir, RUN, commit) for commit in (one, two)]  # Before either is the end.
    objects.flush()
    for link in links:
        packs.advance(objects, git_dir, RUN, link)
    assert store.leads_to(base.project, RUN, [one, two]) == {one, two}
    assert store.collect(base.project, grace_s=0)
    assert is_there(git_dir, one)
    assert is_there(git_dir, two)
    check(git_dir)
