"""The image that runs use: the configured one, else our own base image, built where it's missing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.stack.packages import install
from sandbox import images, rootfs
from sandbox.errors import EngineUnavailable

if TYPE_CHECKING:
    from orchestrator.settings import Settings
    from orchestrator.stack.report import Reporter


def ensure_image(settings: Settings, reporter: Reporter) -> str:
    """Return the name of an image that the engine has. Raises the sandbox's errors and UnavailableError."""
    if settings.image is not None:
        images.check(settings.image)
        return settings.image
    if found := images.find_base():
        return found
    public = images.public_base()
    if public is None and not rootfs.have_program():
        install([rootfs.PROGRAM], reporter, why="build the base image, because no image registry can be reached")
    source = f"from {public}" if public else "from this machine's Debian mirror"
    with reporter.step(f"building the base image of the sandboxes {source} (once, a minute or two)") as detail:
        return images.ensure_base(detail, scratch=settings.state_dir / "tmp", public=public)


def check_image(name: str) -> None:
    """Raise ImageMissing where this machine's engine doesn't have an image; say nothing where it may not be asked."""
    with suppress(EngineUnavailable):
        images.check(name)
