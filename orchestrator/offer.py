"""What a worker offers for runs: the settings' words, and the images that its engine has."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orchestrator.events import FORMAT
from orchestrator.journal.asks import plain_image
from orchestrator.journal.presence import Offer
from sandbox import images
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.journal.presence import Beat
    from orchestrator.settings import Settings

_LOOK_SECONDS: Final = 30.0


def offer(settings: Settings, names: Sequence[str] = ()) -> Offer:
    """Return the offer of this host's workers, whose engine has images of these names."""
    return Offer(
        memory_mb=settings.sandbox.memory_mb,
        cpus=settings.sandbox.cpus,
        gpus=settings.gpus,
        labels=settings.labels,
        images=tuple(sorted({plain for name in names if (plain := plain_image(name))})),
        stores=("remote",) if settings.checkpoint_remote else (),
        format=FORMAT,
    )


@contextmanager
def kept_current(settings: Settings, beat: Beat) -> Iterator[None]:
    """Look at the engine's images now and every 30 s, and offer what is there, while the block runs.

    In a thread of its own: an engine that hangs mustn't make its worker seem dead. While it's away nothing changes.
    """
    ended = threading.Event()

    def look() -> None:
        while True:
            with suppress(SandboxError):
                beat.offer(offer(settings, images.names()))
            if ended.wait(_LOOK_SECONDS):
                return

    threading.Thread(target=look, name="images", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
