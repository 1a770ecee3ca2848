"""Repositories, a store and mounted workspaces for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from repos import UID, Repo
from steps import Steps

from sandbox.mounts import share
from sandbox.spec import JOB_UID
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repos import NewRepo, Opener, SmallDisk

    from sandbox.spec import Base


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the property test of rewinds run longer than in CI."""
    parser.addoption("--sequences", type=int, help="random sequences of edits, rewinds and restarts")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def steps(store: Store, base: Base) -> Steps:
    """Return a maker of commits on the test's own base."""
    return Steps(store, base)


@pytest.fixture
def new_repo(tmp_path: Path) -> NewRepo:
    """Return a maker of empty repositories."""
    return lambda name: Repo(tmp_path / name)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Return a small repository with one commit."""
    made = Repo(tmp_path / "small")
    made.commit({"README.md": "hello\n", "src/a.py": "a = 1\n", "src/deep/b.py": "b = 2\n", "bin/run": "#!/bin/sh\n"})
    (made.path / "bin/run").chmod(0o755)
    (made.path / "link").symlink_to("src/a.py")
    made.commit()
    return made


@pytest.fixture
def open_workspace(store: Store, tmp_path: Path) -> Iterator[Opener]:
    """Return a maker of mounted workspaces; all are removed at the end."""
    opened: list[Workspace] = []

    def make(base: Base, name: str = "w", tree: str | None = None) -> Workspace:
        opened.append(Workspace.create(store, base, tmp_path / "worker", name=name, uid=UID, tree=tree))
        return opened[-1]

    yield make
    for workspace in opened:
        workspace.remove()


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Path]:
    """Yield a workspace without a repository."""
    folder = tmp_path / "slot"
    folder.mkdir()
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    share(folder)
    os.chown(folder, JOB_UID, JOB_UID)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Return a maker of small file systems, unmounted at the end."""
    mounted: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)  # A caught error may still hold a file open.
