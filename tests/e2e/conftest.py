"""A stack of the session's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit import SECRET
from running import own_repo, repo, script, until

from benchmarks.stack import Stack, own_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["own_repo", "repo", "script", "until"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Yield a running stack with one worker; nothing of it is left afterwards."""
    with own_stack({"MIMO_API_KEY": SECRET}) as running:
        yield running
