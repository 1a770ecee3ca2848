"""Servers that aren't ours: aimock for what providers do, llama.cpp for what a model server does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import aimock
import pytest
from asking import Asker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aimock import Aimock

HERE = Path(__file__).parent


@pytest.fixture
def ask() -> Iterator[Asker]:
    """Yield our client, not yet bound to a model."""
    asker = Asker()
    yield asker
    asker.close()


@pytest.fixture(scope="session")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    """Yield a running aimock that has been told nothing yet."""
    with aimock.serve(HERE / "aimock", tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture
def providers(mock: Aimock) -> Aimock:
    """Return an aimock that answers by the words of the task, and was asked nothing yet."""
    mock.tell(HERE / "fixtures.json")
    return mock
