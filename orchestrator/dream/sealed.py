"""Where a dream tries commands: fresh sealed containers at the repository's head, as the newest run there had them.

No container of a dream belongs to a run. It's its process's: it ends by itself with the one that opened it, and then
the keeper removes what is left of it, as of every sandbox of this stack that has ended.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.host import SPARE_BYTES
from sandbox import images
from sandbox.errors import DiskFull, ImageMissing
from sandbox.open import open_sandbox
from sandbox.setup import SetUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.stop import Stop
    from sandbox.layer import Layer
    from sandbox.spec import Base, CommandResult, SandboxSpec, SetupSpec
    from sandbox.store import Store

DREAM_LABEL: Final = "dreamdock.dream"
"""Label of a dream's containers, with the project's id; beside the stack's."""


class Box(Protocol):
    """Runs commands in one workspace."""

    def run(self, command: str, *, timeout_s: float | None = None) -> CommandResult:
        """Return how it ended. Raises SandboxError."""


class Sealing(Protocol):
    """Makes ready what all boxes need."""

    def ready(self, stop: Stop, seconds: float) -> AbstractContextManager[Callable[[], AbstractContextManager[Box]]]:
        """Return what opens a fresh box, for as long as the block runs. Raises SandboxError, Stopped."""


@dataclass(frozen=True)
class Sealed:
    """Boxes of one commit: its image, its set-up commands, limits and labels.

    `build` is the path of a Dockerfile that the image is built from: it's used where it's built, and isn't built.
    """

    store: Store
    base: Base
    root: Path
    spec: SandboxSpec
    setup: SetupSpec | None = None
    build: str = ""

    @contextmanager
    def ready(self, stop: Stop, seconds: float) -> Iterator[Callable[[], AbstractContextManager[Box]]]:
        """See `Sealing.ready`; what set-up makes comes from the cache, or takes at most `seconds`."""
        stop.check()
        spec = self.spec
        if self.build:
            spec = spec.model_copy(update={"image": self._built()})
        images.check(spec.image)
        layer = self._layer(self.setup, spec.image, stop, seconds) if self.setup is not None else None
        try:
            yield lambda: self._opened(spec, layer, stop)
        finally:
            if layer is not None:
                layer.held.release()

    def _built(self) -> str:
        name = images.repo_image(self.base, self.build)
        if images.facts(name) is None:
            raise ImageMissing(f"the image of {self.build} isn't built on this host for the repository's head")
        return name

    def _layer(self, setup: SetupSpec, image: str, stop: Stop, seconds: float) -> Layer:
        update = {"image": image, "seconds": min(setup.seconds, seconds)}
        making = SetUp(setup.model_copy(update=update), self.store, self.base, self.root)
        forget = stop.on_set(making.kill)
        try:
            return making.layer()
        finally:
            forget()

    @contextmanager
    def _opened(self, spec: SandboxSpec, layer: Layer | None, stop: Stop) -> Iterator[Box]:
        """Open a fresh sandbox; a stop removes its container at once."""
        stop.check()
        with open_sandbox(spec, self.store, self.base, self.root, layer=layer) as box:
            forget = stop.on_set(box.kill)
            try:
                yield box
            finally:
                forget()
            if shutil.disk_usage(self.root).free < SPARE_BYTES:  # A workspace takes its room as it's written to.
                raise DiskFull("the host's disk was full, or nearly so: nobody can say what that did to a command")
