"""A run that something is done to: `with disturbed() as run`."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from disturbed import on_own_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from disturbed import Disturbed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let each fault be tried at several random moments."""
    parser.addoption("--seeds", type=int, default=1, help="random moments at which each fault is tried")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try each fault with each seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, metafunc.config.getoption("seeds") + 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the long run, and the outages, which do nothing meanwhile."""
    items.sort(key=lambda item: item.path.name not in {"test_long_run.py", "test_outages.py"})


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> str:
    """Return what an undisturbed run ends with; one run finds it out for all processes of this session."""
    shared = tmp_path_factory.getbasetemp().parent / f"undisturbed-{testrun_uid}"
    with shared.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if found := file.read():
            return found
        with on_own_stack(tmp_path_factory.mktemp("undisturbed"), Random(0), {}, None) as run:  # noqa: S311  # No secret.
            run.begin()
        assert run.final.attempt == 1
        file.write(run.final.tree)
        return run.final.tree


@pytest.fixture
def disturbed(
    request: pytest.FixtureRequest, seed: int, tree: str, tmp_path: Path
) -> Callable[..., AbstractContextManager[Disturbed]]:
    """Return a context in which a run is at a random step; afterwards all is as if it had never been disturbed.

    With `begun` false the block begins it.
    """

    @contextmanager
    def disturbed(*, begun: bool = True, **environ: str) -> Iterator[Disturbed]:
        random = Random(f"{request.function.__name__} {seed}")  # noqa: S311  # The same moments each time.
        with on_own_stack(tmp_path, random, environ, tree) as run:
            if begun:
                run.begin()
                run.reach_a_step()
            yield run

    return disturbed
