"""What `dreamdock images check` does: start a sandbox from an image and look around in it."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sandbox import images
from sandbox.attack.opening import opened
from sandbox.errors import ImageUnusable

if TYPE_CHECKING:
    from orchestrator.settings import Settings

TOOLS: Final = ("bash", "python3", "pip3", "node", "npm", "gcc", "g++", "make", "cmake", "cargo", "go", "git", "rg")
_LOOK: Final = f"""
(. /etc/os-release && echo "$PRETTY_NAME") 2>/dev/null || uname -s
for tool in {shlex.join(TOOLS)}; do command -v "$tool" >/dev/null && echo "$tool"; done; :
"""
_SECONDS: Final = 30.0


class Trial(NamedTuple):
    """What an image is and has. `system` and `tools` come from inside: they are data.

    `fallback` says why commands don't go through the resident runner; empty where they do. `seconds` is the time from
    nothing to the first command done.
    """

    name: str
    id: str
    architecture: str
    size_bytes: int
    system: str
    tools: tuple[str, ...]
    fallback: str
    seconds: float


def tried(image: str, settings: Settings) -> Trial:
    """Start a sealed sandbox from an image, as a run's is, and run a command in it. For root, who may mount.

    Raises ImageMissing, ImageUnusable and the other errors of opening a sandbox.
    """
    name = images.named(image)
    images.check(name)
    if (facts := images.facts(name)) is None:
        raise images.missing(name)  # Since the check.
    began = time.monotonic()
    with opened(name, settings.state_dir / "attack") as box:
        answer = box.run(_LOOK, timeout_s=_SECONDS)
        fallback, seconds = box.fallback, time.monotonic() - began
    system, *found = answer.output.decode("utf-8", "replace").strip().splitlines() or [""]
    if answer.exit_code != 0 or not system:
        cause = system or f"it ended with {answer.exit_code}"
        raise ImageUnusable(f"a command fails in a sandbox of {name}", cause=cause, hint="use another image")
    return Trial(
        name=name,
        id=facts.id,
        architecture=facts.architecture,
        size_bytes=facts.size_bytes,
        system=system,
        tools=tuple(tool for tool in TOOLS if tool in found),
        fallback=fallback,
        seconds=seconds,
    )
