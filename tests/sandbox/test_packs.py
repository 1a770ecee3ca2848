from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.keeper import tidy
from orchestrator.settings import Settings
from sandbox import packs
from sandbox.checkpoints import Checkpointer
from sandbox.errors import QuotaFull, RevisionNotFound, WorkspaceError
from sandbox.objects import FILE, TREE, Entry, Objects
from sandbox.retention import prune

if TYPE_CHECKING:
    from collections.abc import Callable

    from repos import Opener, Repo

    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base
    from sandbox.store import Store

RUN, OTHER = "0123456789ab", "ba9876543210"


class Steps:
    """Makes commits as checkpoints do: one pack each, under no ref."""

    def __init__(self, store: Store, base: Base) -> None:
        self.git_dir = store.git_dir(base.project)
        self.objects = store.objects(base.project)
        self.parent = base.commit
        self.made: list[str] = []

    def take(self, content: bytes, *, parent: str | None = None) -> str:
        blob = self.objects.put(b"blob", content)
        src = self.objects.put_tree([(b"%d" % number, Entry(FILE, blob)) for number in range(20)])
        tree = self.objects.put_tree([(b"src", Entry(TREE, src))])
        who = "u <u> 0 +0000"
        text = f"tree {tree}\nparent {parent or self.parent}\nauthor {who}\ncommitter {who}\n\n{len(self.made)}\n"
        self.parent = self.objects.put(b"commit", text.encode())
        self.objects.flush()
        self.made.append(self.parent)
        return self.parent


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    return store.import_commit(repo.path)


@pytest.fixture
def steps(store: Store, base: Base) -> Steps:
    return Steps(store, base)


def pack_names(git_dir: Path) -> set[str]:
    return {item.name for item in (git_dir / "objects/pack").glob("*.pack")}


def read_whole(objects: Objects, commit: str) -> bytes:
    tree = objects.read(commit)[5:45].decode()
    return objects.read(objects.tree(objects.tree(tree)[b"src"].oid)[b"7"].oid)


def is_there(git_dir: Path, oid: str) -> bool:
    return subprocess.run(["git", "--git-dir", git_dir, "cat-file", "-e", oid], check=False).returncode == 0


def check(git_dir: Path) -> None:
    done = subprocess.run(["git", "--git-dir", git_dir, "fsck", "--full", "--strict"], check=False, capture_output=True)
    said = done.stdout + done.stderr
    assert (done.returncode, b"missing" in said, b"broken" in said) == (0, False, False), said.decode()


def test_many_packs_become_few_and_nothing_is_lost(store: Store, base: Base, steps: Steps) -> None:
    early = store.objects(base.project)
    for number in range(60):
        steps.take(b"%d\n" % number * 100)
    loose = subprocess.run(
        ["git", "--git-dir", steps.git_dir, "hash-object", "-w", "--stdin"],
        input=b"loose",
        check=True,
        capture_output=True,
        text=False,
    ).stdout.decode()
    assert store.consolidate(base.project)
    assert len(pack_names(steps.git_dir)) <= 2
    for objects in (early, steps.objects, store.objects(base.project)):
        for number, commit in enumerate(steps.made):
            assert read_whole(objects, commit) == b"%d\n" % number * 100
        assert objects.read(loose.strip()) == b"loose"
    assert not store.consolidate(base.project)
    check(steps.git_dir)


def test_a_large_pack_is_left_alone(store: Store, base: Base, steps: Steps) -> None:
    for number in range(400):
        steps.objects.put(b"blob", b"large %d" % number)
    steps.objects.flush()
    large = pack_names(steps.git_dir)
    for number in range(10):
        steps.take(b"%d\n" % number)
    assert store.consolidate(base.project, most=5)
    assert len(pack_names(steps.git_dir) & large) == 1
    assert len(pack_names(steps.git_dir)) <= 3


def test_packs_stay_readable_for_the_group(store: Store, base: Base, steps: Steps) -> None:
    for number in range(10):
        steps.take(b"%d\n" % number)
    assert store.consolidate(base.project, most=5)
    found = [item.stat() for item in (steps.git_dir / "objects/pack").iterdir()]
    assert all(status.st_mode & 0o040 for status in found)
    assert {status.st_gid for status in found} == {steps.git_dir.stat().st_gid}


def test_a_second_one_at_the_same_time_leaves_it_to_the_first(store: Store, base: Base, steps: Steps) -> None:
    for number in range(10):
        steps.take(b"%d\n" % number)
    with packs._alone(packs._packs(steps.git_dir)) as alone:
        assert alone
        assert not store.consolidate(base.project, most=1)
        assert not store.collect(base.project, grace_s=0)
    assert store.consolidate(base.project, most=1)


_LOOP = """
import sys
from pathlib import Path
from sandbox import packs
while True:
    packs.consolidate(Path(sys.argv[1]), most=1)
    print(flush=True)
"""


@pytest.fixture
def consolidating(store: Store, base: Base) -> Callable[[], subprocess.Popen[str]]:
    """Return a starter of a process that consolidates the project's packs again and again."""
    argv = [sys.executable, "-c", _LOOP, str(store.git_dir(base.project))]
    return lambda: subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and the git that it may be running, in the middle of whatever they do."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        try:
            os.killpg(int(child), signal.SIGKILL)  # Git and its helpers have a session of their own.
        except ProcessLookupError:
            continue
    process.communicate()


def test_steps_and_old_commits_are_whole_while_packs_are_put_together(
    store: Store, base: Base, steps: Steps, consolidating: Callable[[], subprocess.Popen[str]]
) -> None:
    process = consolidating()
    try:
        early = store.objects(base.project)
        choose = random.Random(4)  # noqa: S311  # Not for secrets.
        until = time.monotonic() + 6
        while time.monotonic() < until:
            number = len(steps.made)
            steps.take(b"%d\n" % number * 50)
            for objects in (early, steps.objects, store.objects(base.project)):
                wanted = choose.randrange(len(steps.made))
                objects._trees.clear()
                assert read_whole(objects, steps.made[wanted]) == b"%d\n" % wanted * 50
    finally:
        end(process)
    assert len(steps.made) > 50
    assert len(pack_names(steps.git_dir)) < len(steps.made) / 2
    fresh = store.objects(base.project)
    assert [read_whole(fresh, commit) for commit in steps.made] == [b"%d\n" % n * 50 for n in range(len(steps.made))]
    check(steps.git_dir)


def test_a_kill_at_any_moment_loses_nothing(
    store: Store, base: Base, steps: Steps, consolidating: Callable[[], subprocess.Popen[str]]
) -> None:
    choose = random.Random(5)  # noqa: S311  # Not for secrets.
    for _ in range(12):
        for _ in range(15):
            steps.take(os.urandom(2000))
        process = consolidating()
        time.sleep(0.1 + choose.random() * 0.4)
        end(process)
        objects = store.objects(base.project)
        assert all(len(read_whole(objects, commit)) == 2000 for commit in steps.made)
    check(steps.git_dir)
    packs._clear(steps.git_dir, age_s=-1)
    assert store.consolidate(base.project, most=1)
    names = {item.suffix for item in (steps.git_dir / "objects/pack").iterdir()}
    assert names <= {".pack", ".idx", ".rev"}
    assert len(list((steps.git_dir / "objects/pack").glob("*.pack"))) <= 5
    check(steps.git_dir)


def test_rubbish_goes_and_what_is_being_written_stays(steps: Steps) -> None:
    folder = steps.git_dir / "objects/pack"
    before = {item.name for item in folder.iterdir()}
    for name in ("tmp_pack_x", ".tmp-1-pack-x.pack", "pack_git2_x", "pack-halfmoved.pack"):
        (folder / name).write_bytes(b"half")
    packs._clear(steps.git_dir)
    assert len(list(folder.iterdir())) == len(before) + 4
    packs._clear(steps.git_dir, age_s=-1)
    assert {item.name for item in folder.iterdir()} == before


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


def test_the_keeper_tidies_each_project_even_where_one_is_damaged(
    store: Store, base: Base, steps: Steps, tmp_path: Path
) -> None:
    for number in range(60):
        steps.take(b"%d\n" % number)
    store.root.rename(tmp_path / "repos")
    damaged = tmp_path / "repos/000000000000.git"
    (damaged / "objects/pack").mkdir(parents=True)
    for number in range(60):
        (damaged / f"objects/pack/pack-{number}.idx").write_bytes(b"no index")
    tidy(Settings(state_dir=tmp_path))
    assert len(pack_names(tmp_path / f"repos/{base.project}.git")) <= 3
    assert len(list((damaged / "objects/pack").iterdir())) == 60


@pytest.mark.needs_root
def test_a_checkpointer_goes_on_while_packs_are_put_together(
    store: Store, base: Base, open_workspace: Opener, consolidating: Callable[[], subprocess.Popen[str]]
) -> None:
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace, run_id=RUN)
    made: list[Checkpoint] = []
    process = consolidating()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            (workspace.merged / "README.md").write_text(f"{len(made)}\n")
            (workspace.merged / f"src/{len(made)}.py").write_text(f"{len(made)}\n")
            made.append(checkpoints.checkpoint(note="step"))
    finally:
        end(process)
    assert store.consolidate(base.project, most=1) in {True, False}
    assert store.collect(base.project, grace_s=-1)
    for number, checkpoint in enumerate(made):
        assert store.read_file(base.project, checkpoint.tree, "README.md") == f"{number}\n".encode()
    assert store.compose(base.project, base.tree, [item.patch for item in made]) == made[-1].tree
    check(store.git_dir(base.project))


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


@pytest.mark.needs_root
def test_keeping_costs_a_step_next_to_nothing(store: Store, base: Base, open_workspace: Opener) -> None:
    def fastest(run_id: str) -> float:
        workspace = open_workspace(base, name=f"w{run_id}")
        checkpoints = Checkpointer(store, workspace, run_id=run_id)
        times = []
        for number in range(200):
            (workspace.merged / "README.md").write_text(f"{number}\n")
            began = time.perf_counter()
            checkpoints.checkpoint(note="step")
            times.append(time.perf_counter() - began)
        return sorted(times)[20]

    without = fastest("")
    assert fastest(RUN) < without + 0.001


@pytest.mark.needs_root
def test_large_files_cost_no_comparison_and_nothing_of_them_is_lost(
    store: Store, base: Base, open_workspace: Opener
) -> None:
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace)
    (workspace.merged / "large").write_bytes(os.urandom(9_000_000))
    checkpoints.checkpoint(note="1")
    content = os.urandom(9_000_000)
    (workspace.merged / "large").write_bytes(content)
    (workspace.merged / "README.md").write_text("changed\n")
    step = checkpoints.checkpoint(note="2")
    assert step.patch == b""
    assert [(change.path, change.status, change.added) for change in step.changes] == [
        ("README.md", "M", 0),
        ("large", "M", 0),
    ]
    assert store.read_file(base.project, step.tree, "large") == content
    assert store.diff(base.project, base.tree, step.tree, most=1000) == b""
    whole = store.diff(base.project, base.tree, step.tree)
    assert store.compose(base.project, base.tree, [whole]) == step.tree
    (workspace.merged / "README.md").write_text("again\n")
    assert checkpoints.checkpoint(note="3").patch.count(b"\n+") == 2


@pytest.mark.needs_root
def test_a_run_that_writes_without_end_fills_its_own_quota(store: Store, base: Base, open_workspace: Opener) -> None:
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace, run_id=RUN)
    checkpoints.limit(1 << 20)
    kept: list[Checkpoint] = []

    def fill() -> None:
        for number in range(20):
            (workspace.merged / "large").write_bytes(os.urandom(300_000))
            kept.append(checkpoints.checkpoint(note=str(number)))

    with pytest.raises(QuotaFull) as caught:
        fill()
    assert (len(kept), caught.value.exit_code) == (3, 7)
    assert caught.value.hint
    (workspace.merged / "large").unlink()
    assert [change.status for change in checkpoints.checkpoint(note="small").changes] == ["D"]
    assert store.disk_bytes(base.project) < 1_500_000
    check(store.git_dir(base.project))
