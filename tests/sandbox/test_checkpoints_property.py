"""Random edits through a mounted overlay: the fold must agree with a full walk, and a rewind with the fold."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox.checkpoints import Checkpointer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repos import NewRepo, Opener

    from sandbox.store import Store

SEQUENCES = int(os.environ.get("DREAMDOCK_TEST_SEQUENCES", "30"))
NAMES = ["a", "b", "c", "d.txt", "e\n\x1b[31m", os.fsdecode(b"\xff\xfe"), "Case", "case", " sp ace ", "x.log"]


def is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def is_free(path: Path) -> bool:
    return not os.path.lexists(path)


def remove(path: Path) -> None:
    if is_folder(path):
        shutil.rmtree(path)
    elif not is_free(path):
        path.unlink()


def write(rng: random.Random, _: Path, new: Path) -> None:
    if is_free(new):
        new.write_bytes(rng.randbytes(rng.randrange(40)))


def modify(_: random.Random, old: Path, __: Path) -> None:
    if is_file(old):
        with old.open("ab") as file:
            file.write(b"more\n")


def delete(_: random.Random, old: Path, __: Path) -> None:
    remove(old)


def mkdir(_: random.Random, __: Path, new: Path) -> None:
    if is_free(new):
        new.mkdir()


def rename(_: random.Random, old: Path, new: Path) -> None:
    if not is_free(old) and not new.is_relative_to(old):
        remove(new)
        if not is_free(old):  # It may have lain below what was just removed.
            old.rename(new)


def chmod(rng: random.Random, old: Path, _: Path) -> None:
    if is_file(old):
        old.chmod(rng.choice([0o644, 0o755, 0o600, 0o700]))
    elif is_folder(old):
        old.chmod(rng.choice([0o755, 0o700]))


def link(rng: random.Random, _: Path, new: Path) -> None:
    if is_free(new):
        new.symlink_to(rng.choice(["/etc/passwd", "..", "nowhere", NAMES[5]]))


def swap(_: random.Random, old: Path, __: Path) -> None:
    if is_folder(old):
        remove(old)
        old.write_bytes(b"was a directory\n")
    elif not is_free(old):
        remove(old)
        old.mkdir()
        (old / "inner").write_bytes(b"was a file\n")


def hard_link(_: random.Random, old: Path, new: Path) -> None:
    if is_file(old) and is_free(new):
        new.hardlink_to(old)


EDITS: list[Callable[[random.Random, Path, Path], None]] = [
    *(write, write, modify, delete, mkdir, rename, rename, chmod, link, swap, hard_link)
]


def edit(rng: random.Random, top: Path) -> None:
    """Do one random thing to a random path, or nothing where it makes no sense."""
    reserved = [top / ".git", top / ".dreamdock"]
    paths = sorted(path for path in top.rglob("*") if not any(path.is_relative_to(name) for name in reserved))
    new = rng.choice([top, *filter(is_folder, paths)]) / rng.choice(NAMES)
    rng.choice(EDITS)(rng, rng.choice([new, *paths]), new)


def full_walk(top: Path, scratch: Path) -> str:
    """Return the tree of a directory as git itself sees it, walking all of it into an empty index."""
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(scratch), "GIT_WORK_TREE": str(top)}
    env |= {"GIT_INDEX_FILE": str(scratch / "full-index"), "GIT_CONFIG_GLOBAL": "/dev/null"}
    (scratch / "full-index").unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", str(scratch)], check=True, env={"PATH": os.environ["PATH"]})
    (scratch / "info/attributes").write_text("* -text -ident -filter\n")
    subprocess.run(["git", "add", "-A", "-f", "--", ".", ":(exclude,top).dreamdock"], check=True, env=env, cwd=top)
    done = subprocess.run(["git", "write-tree"], check=True, env=env, cwd=top, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.needs_root
@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_fold_agrees_with_a_full_walk_and_rewinds_to_the_same(
    seed: int, store: Store, new_repo: NewRepo, open_workspace: Opener, tmp_path: Path
) -> None:
    rng = random.Random(seed)  # noqa: S311  # Has to be the same every time.
    repo = new_repo("r")
    for _ in range(25):
        folder = "/".join(f"{rng.choice(NAMES[:5])}_" for _ in range(rng.randrange(4)))
        repo.write({f"{folder}/{rng.choice(NAMES)}".lstrip("/"): rng.randbytes(20)})
    repo.commit()
    base = store.import_commit(repo.path)
    workspace = open_workspace(base)
    checkpointer = Checkpointer(store, workspace)
    tree = base.tree
    for step in range(8):
        for _ in range(rng.randrange(1, 6)):
            edit(rng, workspace.merged)
        before, made = tree, checkpointer.checkpoint(note=f"step {step}")
        tree = made.tree
        assert tree == full_walk(workspace.merged, tmp_path / "scratch")
        assert store.compose(base.project, before, [made.patch]) == tree
        if rng.random() < 0.3:  # A rewind, which is also what a crash and an acceptance run do.
            again = open_workspace(base, name=f"again{step}", tree=tree)
            assert full_walk(again.merged, tmp_path / "scratch") == tree
            workspace.remove()
            workspace, checkpointer = again, Checkpointer(store, again, parent=made.commit)
            assert checkpointer.fold().tree == tree
