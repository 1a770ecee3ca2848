"""Replays: real bugs of real projects, each with a scripted repair and what its run's journal has to hold.

A folder of tests/e2e/replays has what orchestrator.demo.make reads, and in project.toml a table `journal`.
"""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from orchestrator.demo import make
from orchestrator.dialogue import Value
from orchestrator.errors import UnavailableError

if TYPE_CHECKING:
    from orchestrator.demo import Prepared

_TRIES: Final = 3
_PAUSE_S: Final = 2
ROOT: Final = Path(__file__).parents[1] / "e2e" / "replays"
NAMES: Final = sorted(path.parent.name for path in ROOT.glob("*/project.toml"))


class Error(Value):
    """An error that a command showed: what it says, `at` which place, `by` which frame, and its story."""

    says: str
    at: str
    by: str = ""
    story: str


class Journal(Value):
    """What has to be in a run's journal: the line that is the fix, errors and guards, the proof.

    `plan` counts the items of the plan by their last state, `not_taken` names the tools whose calls were no good,
    `weakened` what was done to tests, and where; `refused` has a place that each refused submission failed at.
    """

    fix: str
    errors: tuple[Error, ...]
    guards: tuple[str, ...] = ()
    plan: dict[str, int] = Field(default_factory=dict)
    not_taken: tuple[str, ...] = ()
    weakened: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    verdicts: int = 1


def expected(name: str) -> tuple[Journal, str]:
    """Return what a replay's journal has to hold, and the family of the image that it needs, empty for the base."""
    about = tomllib.loads((ROOT / name / "project.toml").read_text(encoding="utf-8"))
    return Journal.model_validate(about["journal"]), about.get("image", "")


def prepared(name: str, folder: Path) -> Prepared:
    """Make a replay's repository. Raises UnavailableError where its release can't be fetched, after a few tries."""
    for _ in range(_TRIES - 1):
        try:
            return make(ROOT / name, folder)
        except UnavailableError:
            time.sleep(_PAUSE_S)
    return make(ROOT / name, folder)
