"""A sealed sandbox, the bait on the host, and a place for containers that aren't sealed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox.attack.opening import opened
from sandbox.attack.suite import Bait, baited
from sandbox.images import base_image
from sandbox.mounts import share
from sandbox.spec import JOB_UID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.open import Sandbox


@pytest.fixture(scope="module")
def bait() -> Iterator[Bait]:
    """Yield what the checks try to reach on the host."""
    with baited() as bait:
        yield bait


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Yield a sandbox made the way a run's is made."""
    with opened(base_image(), tmp_path_factory.mktemp("sealed")) as box:
        yield box


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a directory of the job's, on a shared mount."""
    folder = tmp_path_factory.mktemp("slot")
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    share(folder)
    subprocess.run(["chown", f"{JOB_UID}:{JOB_UID}", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)
