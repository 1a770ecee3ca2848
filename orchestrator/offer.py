"""What a worker offers for runs: the settings' words, and the images that its engine has."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UnavailableError
from orchestrator.events import FORMAT
from orchestrator.holdings import Holdings
from orchestrator.journal.asks import plain_image
from orchestrator.journal.presence import Offer
from orchestrator.standing import wanted_images
from sandbox import images
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

    from orchestrator.journal.presence import Beat
    from orchestrator.settings import Settings

_LOOK_SECONDS: Final = 30.0
_WANTED_SECONDS: Final = 2.0


def offer(settings: Settings, names: Sequence[str] = ()) -> Offer:
    """Return the offer of this host's workers, whose engine has images of these names."""
    return Offer(
        memory_mb=settings.sandbox.memory_mb,
        cpus=settings.sandbox.cpus,
        gpus=settings.gpus,
        labels=settings.labels,
        images=tuple(sorted({plain for name in names if (plain := plain_image(name))})),
        stores=Holdings(settings).offered,
        format=FORMAT,
    )


@contextmanager
def kept_current(settings: Settings, client: Redis, beat: Beat) -> Iterator[None]:
    """Offer the engine's images, as they are now and each 30 s, and sooner where one is waited for, during the block.

    In a thread of its own: an engine that hangs mustn't make its worker seem dead. While it's away nothing changes.
    """
    ended = threading.Event()

    def look() -> None:
        looked, offered = -_LOOK_SECONDS, offer(settings)
        while not ended.is_set():
            with suppress(SandboxError, UnavailableError):
                due = time.monotonic() - looked >= _LOOK_SECONDS
                if due or wanted_images(client) - {*offered.images}:
                    offered, looked = offer(settings, images.names()), time.monotonic()
                    beat.offer(offered)
            ended.wait(_WANTED_SECONDS)

    threading.Thread(target=look, name="images", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
