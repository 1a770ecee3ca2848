"""One thing that `dreamdock doctor` tried, and how it went."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import DreamdockError
from sandbox import engine
from sandbox.errors import EngineUnavailable, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class HostCheck:
    """One thing that was tried: what was found, and what to type where it isn't as it should be."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def tried(name: str, check: Callable[[], HostCheck]) -> HostCheck:
    """Carry out a check. Raises nothing: an error is a check that isn't ok, and its hint the remedy."""
    try:
        return check()
    except EngineUnavailable as error:
        if os.geteuid() == 0 or not engine.is_there():
            return failed(name, error)
        found = "not tried: only root and the group docker may ask the engine"
        return HostCheck(name, ok=True, found=found, remedy="sudo dreamdock doctor")
    except (DreamdockError, SandboxError) as error:
        return failed(name, error)
    except OSError as error:
        return HostCheck(name, ok=False, found=str(error), remedy="dreamdock up")


def failed(name: str, error: DreamdockError | SandboxError) -> HostCheck:
    """Return an error as a check that isn't ok."""
    return HostCheck(name, ok=False, found=f"{error.message}: {error.cause}".rstrip(": "), remedy=error.hint)
