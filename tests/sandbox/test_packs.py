from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from steps import RUN, Steps, check, pack_names, read_whole

from orchestrator.keeper import tidy
from orchestrator.settings import Settings
from sandbox import packs
from sandbox.checkpoints import Checkpointer
from sandbox.errors import QuotaFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from repos import Opener, Repo

    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base
    from sandbox.store import Store


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    return store.import_commit(repo.path)


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
