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

    from sandbox.store import Store
    from sandbox.workspace import Workspace

SEQUENCES = int(os.environ.get("DREAMDOCK_TEST_SEQUENCES", "30"))
NAMES = [b"a", b"b", b"c", b"d.txt", b"e\n\x1b[31m", b"\xff\xfe", b"Case", b"case", b" sp ace ", b"x.log"]


def walk(top: Path, at: Path) -> list[bytes]:
    """Return all paths below `at`, directories first, the reserved ones left out."""
    found = []
    for folder, folders, files in os.walk(os.fsencode(at)):
        if os.fsencode(top) == folder:
            folders[:] = [name for name in folders if name not in (b".git", b".dreamdock")]
        found += [os.path.join(folder, name) for name in folders + files]
    return sorted(found)


def edit(rng: random.Random, top: Path) -> None:
    paths = walk(top, top)
    folders = [os.fsencode(top), *(path for path in paths if os.path.isdir(path) and not os.path.islink(path))]
    new = os.path.join(rng.choice(folders), rng.choice(NAMES))
    old = rng.choice(paths) if paths else new
    kind = rng.choice(
        ["write", "write", "modify", "delete", "mkdir", "rename", "rename", "chmod", "link", "swap", "hard"]
    )
    inside = os.path.isdir(old) and not os.path.islink(old)
    if kind == "write" and not os.path.lexists(new):
        with open(new, "wb") as file:
            file.write(rng.randbytes(rng.randrange(40)))
    elif kind == "modify" and os.path.isfile(old) and not os.path.islink(old):
        with open(old, "ab") as file:
            file.write(b"more\n")
    elif kind == "delete" and os.path.lexists(old):
        shutil.rmtree(old) if inside else os.unlink(old)
    elif kind == "mkdir" and not os.path.lexists(new):
        os.mkdir(new)
    elif kind == "rename" and os.path.lexists(old) and not (new + b"/").startswith(old + b"/"):
        if os.path.lexists(new):
            shutil.rmtree(new) if os.path.isdir(new) and not os.path.islink(new) else os.unlink(new)
        if os.path.lexists(old):
            os.rename(old, new)
    elif kind == "chmod" and os.path.lexists(old) and not os.path.islink(old):
        os.chmod(old, 0o755 if inside else rng.choice([0o644, 0o755, 0o600, 0o700]))
    elif kind == "link" and not os.path.lexists(new):
        os.symlink(rng.choice([b"/etc/passwd", b"..", b"nowhere", b"\xff"]), new)
    elif kind == "swap" and os.path.lexists(old):
        shutil.rmtree(old) if inside else os.unlink(old)
        if inside:
            with open(old, "wb") as file:
                file.write(b"was a directory\n")
        else:
            os.mkdir(old)
            with open(os.path.join(old, b"inner"), "wb") as file:
                file.write(b"was a file\n")
    elif kind == "hard" and os.path.isfile(old) and not os.path.islink(old) and not os.path.lexists(new):
        os.link(old, new)


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
    rng = random.Random(seed)
    repo = new_repo("r")
    for _ in range(25):
        folder = b"/".join(rng.choice(NAMES[:5]) + b"_" for _ in range(rng.randrange(4)))
        repo.write({os.path.join(folder, rng.choice(NAMES)): rng.randbytes(20)})
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
