"""Each test of `engine_at` runs against every engine but the machine's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import engines
import pytest
from repos import Repo

from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.spec import Base

ENGINES = {"podman": engines.podman, "remapping": engines.remapping_docker}


@pytest.fixture(scope="session", params=sorted(ENGINES))
def started(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Yield an engine's name and address; pytest runs all tests of one before the next is started."""
    with ENGINES[request.param]() as address:
        yield request.param, address


@pytest.fixture
def engine_at(started: tuple[str, str]) -> Iterator[str]:
    """Let DOCKER_HOST name the engine, and yield its name."""
    with engines.at(started[1]):
        yield started[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def base(store: Store, tmp_path: Path) -> Base:
    """Return a small commit in the store."""
    repo = Repo(tmp_path / "source")
    files = {"a.txt": "one\n", "src/b.txt": "two\n", "src/deep/c.txt": "three\n", ".gitignore": "build/\n"}
    repo.commit(files)
    return store.import_commit(repo.path)
