"""The images that runs use: the configured one, else our own base image; our own are built where they're missing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.stack.packages import install
from sandbox import images, probe, rootfs
from sandbox.errors import EngineUnavailable

if TYPE_CHECKING:
    from orchestrator.settings import Settings
    from orchestrator.stack.report import Reporter


class Listed(NamedTuple):
    """One image of the list. `family` is the bare name that means it, empty for one that isn't ours.

    `size_bytes` is None where the engine doesn't have it. `lacking` says what the resident runner misses in it, so that
    commands go through the engine's exec; empty where it misses nothing, None where nobody knows.
    """

    family: str
    name: str
    configured: bool
    size_bytes: int | None
    lacking: str | None


def ensure_image(settings: Settings, reporter: Reporter) -> str:
    """Return the name of an image that the engine has. Raises the sandbox's errors and UnavailableError."""
    image = settings.image or images.BASE
    if image in images.FAMILIES:
        return build_image(image, settings, reporter)
    images.check(image)
    return image


def build_image(family: str, settings: Settings, reporter: Reporter) -> str:
    """Return the name of our own image, built where it's missing. Raises as `ensure_image` does."""
    if found := images.find(family):
        return found
    public, scratch = None, settings.state_dir / "tmp"
    if images.find(images.BASE) is None:
        public = images.public_base()
        if public is None and not rootfs.have_program():
            install([rootfs.PROGRAM], reporter, why="build the base image, because no image registry can be reached")
        source = f"from {public}" if public else "from this machine's Debian mirror"
        with reporter.step(f"building the base image of the sandboxes {source} (once, a minute or two)") as detail:
            base = images.ensure(images.BASE, detail, scratch=scratch, public=public)
        if family == images.BASE:
            return base
    with reporter.step(f"building the {family} image of the sandboxes (once, up to a minute)") as detail:
        return images.ensure(family, detail, scratch=scratch, public=public)


def check_image(name: str) -> None:
    """Raise where this machine's engine can't start an image; say nothing where it may not be asked."""
    with suppress(EngineUnavailable):
        images.check(name)


def listed(settings: Settings) -> tuple[Listed, ...]:
    """Return our own images and the configured one. Raises EngineUnavailable."""
    found = [_listed(images.image_name(family), family, settings) for family in images.FAMILIES]
    if settings.image is not None and settings.image not in images.FAMILIES:
        found.append(_listed(settings.image, "", settings))
    return tuple(found)


def _listed(name: str, family: str, settings: Settings) -> Listed:
    facts = images.facts(name)
    return Listed(
        family=family,
        name=name,
        configured=name == images.named(settings.image or images.BASE),
        size_bytes=facts.size_bytes if facts else None,
        lacking="" if family else probe.lacking_runner(name) if facts else None,
    )
