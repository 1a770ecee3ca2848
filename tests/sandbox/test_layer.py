"""What set-up made, below a run's own changes: checkpoints and fresh workspaces must come to the same tree."""

from __future__ import annotations

import os
import random
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edits import NAMES, edit, full_walk, is_file, is_folder, is_free, mkdir, remove, swap
from repos import UID

from sandbox.cache import hold
from sandbox.checkpoints import Checkpointer
from sandbox.layer import Layer, settle
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repos import NewRepo, Repo

    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = pytest.mark.needs_root
SEQUENCES = 20
MADE = b"made by set-up\n"


class Maker:
    """Makes layers and workspaces over them below one root; removes the workspaces at the end."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store = store
        self.root = root.resolve()
        self.opened: list[Workspace] = []
        self.layers: list[Layer] = []

    def layer(self, base: Base, produce: Callable[[Path], object]) -> Layer:
        """Return the layer that `produce` makes in a workspace."""
        held = hold(self.root / "layers", "l", partial(self._make, base, produce))
        self.layers.append(Layer.read(held, cached=False))
        return self.layers[-1]

    def open(self, base: Base, layer: Layer, *, tree: str | None = None) -> Workspace:
        """Return a workspace over a layer."""
        name = f"w{len(self.opened)}"
        self.opened.append(Workspace.create(self.store, base, self.root, name=name, uid=UID, tree=tree, layer=layer))
        return self.opened[-1]

    def _make(self, base: Base, produce: Callable[[Path], object], part: Path) -> None:
        workspace = Workspace.create(self.store, base, self.root, name="setup", uid=UID)
        try:
            produce(workspace.merged)
            workspace.keep(part / "tree")
        finally:
            workspace.remove()
        settle(self.store.objects(base.project), base.tree, part, log="", seconds=0.0)


@pytest.fixture
def maker(store: Store, tmp_path: Path) -> Iterator[Maker]:
    made = Maker(store, tmp_path / "worker")
    yield made
    for workspace in made.opened:
        workspace.remove()
    for layer in made.layers:
        layer.held.release()


def products(top: Path) -> list[Path]:
    """Return what set-up made that shows in a workspace."""
    reserved = [top / ".git", top / ".dreamdock"]
    files = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in files if not any(path.is_relative_to(name) for name in reserved)]
    return [path for path in files if path.read_bytes() == MADE]


def delivered(workspace: Workspace, scratch: Path) -> str:
    """Return the tree of a full walk, without what is in it from set-up alone."""
    full_walk(workspace.merged, scratch)
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(scratch), "GIT_INDEX_FILE": str(scratch / "full-index")}
    env["GIT_WORK_TREE"] = str(workspace.merged)
    names = [path.relative_to(workspace.merged) for path in products(workspace.merged)]
    # The upper layer has what the run wrote, at the path where it shows.
    untouched = b"".join(os.fsencode(name) + b"\0" for name in names if not os.path.lexists(workspace.upper / name))
    remove_them = ["git", "update-index", "-z", "--force-remove", "--stdin"]
    subprocess.run(remove_them, input=untouched, env=env, cwd=workspace.merged, check=True)
    return subprocess.run(["git", "write-tree"], check=True, env=env, capture_output=True, text=True).stdout.strip()


def set_up(rng: random.Random, top: Path) -> None:
    """Do some random things of set-up: mostly it adds, sometimes it changes or removes what the base has."""
    for _ in range(25):
        set_up_once(rng, top)


def set_up_once(rng: random.Random, top: Path) -> None:
    reserved = [top / ".git", top / ".dreamdock"]
    paths = sorted(path for path in top.rglob("*") if not any(path.is_relative_to(name) for name in reserved))
    new = rng.choice([top, *filter(is_folder, paths)]) / rng.choice(NAMES)
    old = rng.choice([new, *paths])
    what = rng.randrange(8)
    if what == 0:
        remove(old)
    elif what == 1 and is_folder(old):  # An opaque directory, with something new in it.
        remove(old)
        old.mkdir()
        (old / "made").write_bytes(MADE)
    elif what == 2 and is_file(old):
        old.write_bytes(MADE)
    elif what == 3:
        mkdir(rng, old, new)
    elif is_free(new):
        new.write_bytes(MADE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--sequences", None) or SEQUENCES))


def test_fold_and_fresh_workspaces_agree_with_a_full_walk_without_what_set_up_made(
    seed: int, store: Store, new_repo: NewRepo, maker: Maker, tmp_path: Path
) -> None:
    rng = random.Random(seed)  # noqa: S311  # Has to be the same every time.
    repo = new_repo("r")
    for _ in range(25):
        folder = "/".join(f"{rng.choice(NAMES[:5])}_" for _ in range(rng.randrange(4)))
        repo.write({f"{folder}/{rng.choice(NAMES)}".lstrip("/"): rng.randbytes(20)})
    repo.commit()
    base = store.import_commit(repo.path)
    layer = maker.layer(base, lambda top: set_up(rng, top))
    workspace = maker.open(base, layer)
    made = {path.relative_to(workspace.merged) for path in products(workspace.merged)}
    checkpointer = Checkpointer(store, workspace)
    assert checkpointer.fold().tree == delivered(workspace, tmp_path / "scratch") == base.tree
    tree = base.tree
    for step in range(8):
        for _ in range(rng.randrange(1, 6)):
            edit(rng, workspace.merged)
        before, checkpoint = tree, checkpointer.checkpoint(note=f"step {step}")
        tree = checkpoint.tree
        assert tree == delivered(workspace, tmp_path / "scratch")
        assert store.compose(base.project, before, [checkpoint.patch]) == tree
        if rng.random() < 0.4:
            workspace.remove()
            workspace = maker.open(base, layer, tree=tree)
            checkpointer = Checkpointer(store, workspace, parent=checkpoint.commit)
            assert checkpointer.fold().tree == tree == delivered(workspace, tmp_path / "scratch")
            files = [Path(name) for name in store.list_files(base.project, tree)]
            taken = {part for file in files for part in (file, *file.parents[:-1])}
            for path in made:  # It is as set-up left it, but where the tree has something else.
                shadowed = path in taken or not {Path(), *path.parents}.isdisjoint(files)
                assert shadowed or (workspace.merged / path).read_bytes() == MADE


def test_it_adds_and_changes_nothing_of_the_base(store: Store, repo: Repo, maker: Maker) -> None:
    base = store.import_commit(repo.path)

    def produce(top: Path) -> None:
        (top / "README.md").write_text("changed\n")
        (top / "link").unlink()
        (top / "src").rename(top / "moved")
        swap(random.Random(0), top / "bin", top)  # noqa: S311  # Not used.
        (top / ".git/config").write_text("[core]\n\tpager = evil\n")
        (top / ".deps").mkdir()
        (top / ".deps/x").write_bytes(MADE)

    layer = maker.layer(base, produce)
    top = maker.open(base, layer).merged
    assert (top / "README.md").read_text() == "hello\n"
    assert (top / "link").is_symlink()
    assert (top / "src/deep/b.py").read_text() == (top / "moved/deep/b.py").read_text() == "b = 2\n"
    assert (top / "bin/run").read_text() == "#!/bin/sh\n"
    assert "evil" not in (top / ".git/config").read_text()
    assert (top / ".deps/x").read_bytes() == MADE
    for name in ("README.md", "link", "src", "bin"):
        assert name in layer.log
    assert not layer.shared


def test_what_it_has_inside_the_bases_directories_stays_when_the_run_empties_them(
    store: Store, repo: Repo, maker: Maker, tmp_path: Path
) -> None:
    base = store.import_commit(repo.path)
    layer = maker.layer(base, lambda top: (top / "src/deep/made").write_bytes(MADE))
    assert layer.shared == {b"src", b"src/deep"}
    workspace = maker.open(base, layer)
    (workspace.merged / "src/a.py").unlink()
    (workspace.merged / "src/deep/b.py").unlink()
    tree = Checkpointer(store, workspace).fold().tree
    assert store.list_files(base.project, tree) == ["README.md", "bin/run", "link"]
    again = maker.open(base, layer, tree=tree)
    assert [path.name for path in (again.merged / "src/deep").iterdir()] == ["made"]
    assert delivered(again, tmp_path / "scratch") == tree


def test_what_the_run_does_to_it_stays_out_of_it(store: Store, repo: Repo, maker: Maker) -> None:
    base = store.import_commit(repo.path)
    layer = maker.layer(base, lambda top: [(top / name).write_bytes(MADE) for name in ("a", "b", "c")])
    first = maker.open(base, layer)
    (first.merged / "a").write_text("mine\n")
    (first.merged / "b").unlink()
    (first.merged / "c").rename(first.merged / "d")
    tree = Checkpointer(store, first).fold().tree
    assert store.list_files(base.project, tree) == [
        "README.md",
        "a",
        "bin/run",
        "d",
        "link",
        "src/a.py",
        "src/deep/b.py",
    ]
    second = maker.open(base, layer)
    assert [(second.merged / name).read_bytes() for name in ("a", "b", "c")] == [MADE, MADE, MADE]
    assert not (second.merged / "d").exists()


def test_a_directory_of_its_own_that_the_run_renames_is_not_delivered(store: Store, repo: Repo, maker: Maker) -> None:
    base = store.import_commit(repo.path)

    def produce(top: Path) -> None:
        (top / "build").mkdir()
        (top / "build/out").write_bytes(MADE)
        (top / "src/gen").write_bytes(MADE)

    workspace = maker.open(base, maker.layer(base, produce))
    (workspace.merged / "build").rename(workspace.merged / "dist")
    (workspace.merged / "dist/new").write_text("mine\n")
    (workspace.merged / "src").rename(workspace.merged / "lib")
    tree = Checkpointer(store, workspace).fold().tree
    found = store.list_files(base.project, tree)
    assert found == ["README.md", "bin/run", "dist/new", "lib/a.py", "lib/deep/b.py", "link"]


def test_submodules_that_set_up_fills_stay_filled(store: Store, repo: Repo, new_repo: NewRepo, maker: Maker) -> None:
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    repo.git("submodule", "add", "-q", str(inner.path), "sub")
    repo.commit()
    base = store.import_commit(repo.path)
    layer = maker.layer(base, lambda top: (top / "sub/x").write_bytes(MADE))
    workspace = maker.open(base, layer)
    assert (workspace.merged / "sub/x").read_bytes() == MADE
    assert Checkpointer(store, workspace).fold().tree == base.tree
