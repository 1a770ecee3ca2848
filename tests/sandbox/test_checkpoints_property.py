"""Random edits in a real sandbox, with rewinds and restarts: every tree must agree with a full walk by git.

50 sequences; more with `pytest tests/sandbox/test_checkpoints_property.py --sequences 500`.
"""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from edits import NAMES as SOME
from edits import edit, is_folder

from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from pathlib import Path

    from repos import NewRepo

    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

    Names = tuple[str, ...]

SEQUENCES = 50
NAMES = [*SOME, "out"]
RULES = "*.log\n/out/\n"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--sequences", None) or SEQUENCES))


class Rules:
    """What RULES mean, told from the names alone: a path that the base doesn't have is ignored, and all below it."""

    def __init__(self, base_files: list[str]) -> None:
        paths = [tuple(path.split("/")) for path in base_files]
        self._base = {path[:end] for path in paths for end in range(1, len(path) + 1)}

    def ignored(self, path: Names) -> Names | None:
        """Return the first part of a file's path that is ignored, None for none."""
        covered = False
        for end in range(1, len(path) + 1):
            covered = covered or path[end - 1].endswith(".log") or (end == 1 < len(path) and path[0] == "out")
            if covered and path[:end] not in self._base:
                return path[:end]
        return None


def leaves(top: Path) -> dict[Names, tuple[int, bytes]]:
    """Return everything that isn't a directory: its mode, and its content or where it points to."""
    found: dict[Names, tuple[int, bytes]] = {}
    for path in top.rglob("*"):
        name = path.relative_to(top).parts
        if not is_folder(path) and name[0] not in {".git", ".dreamdock"}:
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[name] = (path.lstat().st_mode, content)
    return found


def full_walk(top: Path, scratch: Path, rules: Rules) -> str:
    """Return the tree of a directory as git itself sees it, walking all of it into an empty index."""
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(scratch), "GIT_WORK_TREE": str(top)}
    env |= {"GIT_INDEX_FILE": str(scratch / "full-index"), "GIT_CONFIG_GLOBAL": "/dev/null"}
    (scratch / "full-index").unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", str(scratch)], check=True, env={"PATH": os.environ["PATH"]})
    (scratch / "info/attributes").write_text("* -text -ident -filter\n")

    def git(*args: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(["git", *args], check=True, env=env, cwd=top, input=stdin, capture_output=True).stdout

    git("add", "-A", "-f", "--", ".", ":(exclude,top).dreamdock")
    listed = git("ls-files", "-z").split(b"\0")[:-1]
    ignored = [path for path in listed if rules.ignored(tuple(os.fsdecode(path).split("/")))]
    git("update-index", "--force-remove", "-z", "--stdin", stdin=b"".join(path + b"\0" for path in ignored))
    return git("write-tree").decode().strip()


def surviving(before: dict[Names, tuple[int, bytes]], rules: Rules, tree: list[str]) -> dict[Names, tuple[int, bytes]]:
    """Return what of the ignored files a rewind has to keep: all but those whose place the tree needs."""
    files = {tuple(path.split("/")) for path in tree}
    used = {path[:end] for path in files for end in range(1, len(path) + 1)}
    kept = {}
    for path, value in before.items():
        first = rules.ignored(path)
        if first and first not in used and not any(first[:end] in files for end in range(1, len(first))):
            kept[path] = value
    return kept


def made_base(rng: random.Random, store: Store, new_repo: NewRepo) -> Base:
    repo = new_repo("r")
    for _ in range(25):
        folder = "/".join(f"{rng.choice(NAMES[:5])}_" for _ in range(rng.randrange(4)))
        repo.write({f"{folder}/{rng.choice(NAMES[:-1])}".lstrip("/"): rng.randbytes(20)})
    if rng.random() < 0.5:
        repo.write({"out/tracked": b"x"})
    repo.commit({".gitignore": RULES})
    return store.import_commit(repo.path)


def busy(rng: random.Random, box: Sandbox, step: int) -> None:
    """Change the shell's state, and leave something running in the workspace that holds a file there."""
    box.run(f"export STEP={step}; cd /workspace")
    if rng.random() < 0.5:
        box.run("cd -- */ 2>/dev/null; setsid -f sleep 60 </workspace/.git/HEAD >/dev/null 2>&1")


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_trees_agree_with_a_full_walk_whatever_happens(
    seed: int, store: Store, new_repo: NewRepo, tmp_path: Path
) -> None:
    rng = random.Random(seed)  # noqa: S311  # Has to be the same every time.
    base = made_base(rng, store, new_repo)
    rules = Rules(store.list_files(base.project, base.tree))
    spec, root, scratch = SandboxSpec(image=base_image()), tmp_path / "spaces", tmp_path / "scratch"
    with ExitStack() as opened:
        box = opened.enter_context(open_sandbox(spec, store, base, root))
        done = [(base.commit, base.tree, "", "")]
        for step in range(8):
            top = box._workspace.merged
            for _ in range(rng.randrange(1, 6)):
                edit(rng, top, NAMES)
            busy(rng, box, step)
            before, made = done[-1][1], box.checkpoint(note=f"step {step}")
            assert made.tree == full_walk(top, scratch, rules)
            assert store.compose(base.project, before, [made.patch]) == made.tree
            done.append((made.commit, made.tree, made.shell, f"{step}"))
            if rng.random() < 0.4:
                for _ in range(rng.randrange(4)):
                    edit(rng, top, NAMES)
                commit, tree, shell, told = rng.choice(done)
                kept = surviving(leaves(top), rules, store.list_files(base.project, tree))
                box.rewind(commit, shell=shell)
            elif rng.random() < 0.2:
                commit, tree, shell, told = done[-1]
                kept = {}
                opened.close()
                box = opened.enter_context(open_sandbox(spec, store, base, root, tree=tree, shell=shell))
            else:
                continue
            top = box._workspace.merged
            assert full_walk(top, scratch, rules) == tree
            assert {path: value for path, value in leaves(top).items() if rules.ignored(path)} == kept
            assert box.run("echo ${STEP-}; git log --oneline | wc -l").output == f"{told}\n1\n".encode()
            again = box.checkpoint(note="again")
            assert (again.tree, again.changes) == (tree, ())
            done.append((commit, tree, shell, told))
