"""`dreamdock images`: the images of the sandboxes, listed, built and tried."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.cli.wording import Line
    from orchestrator.stack.image import Listed
    from orchestrator.stack.image_trial import Trial

_HEADER: Final = ("IMAGE", "STATE", "SIZE", "NAME", "COMMANDS VIA")


@click.group()
def images() -> None:
    """List, build and check the images of the sandboxes.

    `run --image` and the setting `image` take the name of any image that the engine has.
    The bare names base, python, node and c mean our own, built on this machine.
    """


@images.command("list")
@with_screen
def list_(screen: Screen, /) -> None:
    """List our own images and the configured one.

    An image without python3 (3.8 or later) and bash works too, more slowly: commands go through the engine's exec.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.stack import image

    told = image.listed(settings.load())
    if screen.json:
        document.write("dreamdock.images/1", {"images": [_fields(found) for found in told]})
        return
    for line in table(told):
        screen.line(line)
    absent = next((found.family for found in told if found.family and found.size_bytes is None), None)
    screen.next(f"dreamdock images build {absent}" if absent else f"dreamdock images check {told[-1].name}")


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Build all of them.")
@with_screen
def build(screen: Screen, /, names: tuple[str, ...], every: bool) -> None:
    """Build our own images where they are missing: base, python, node, c.

    Each is built from Debian's packages, and anew only when its recipe or the base's has changed.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.cli.reporter import TalkReporter
    from orchestrator.errors import UsageError
    from orchestrator.stack import image
    from sandbox.images import FAMILIES

    wanted = FAMILIES if every else names
    if unknown := [name for name in names if name not in FAMILIES]:
        cause = f"ours are {', '.join(FAMILIES)}"
        raise UsageError(f"there is no image {unknown[0]!r} of ours", cause=cause, hint="dreamdock images build --all")
    if not wanted:
        raise UsageError("nothing says which image to build", hint=f"dreamdock images build {FAMILIES[1]}")
    loaded, reporter, built = settings.load(), TalkReporter(screen), dict[str, str]()
    for name in wanted:
        built[name] = image.build_image(name, loaded, reporter)
    if screen.json:
        document.write("dreamdock.images_built/1", {"images": built})
        return
    for name in built.values():
        screen.line(name)
    screen.next(f"dreamdock images check {wanted[0]}", f'dreamdock run --image {wanted[0]} "…"')


@images.command(short_help="Try a sealed sandbox of IMAGE; say what is there.")
@click.argument("image")
@with_screen
def check(screen: Screen, /, image: str) -> None:
    """Start a sealed sandbox from IMAGE, run a command in it, and say what is there.

    The exit code is 4 where the engine doesn't have it, can't start it, or it is for another architecture.
    """
    from orchestrator import settings
    from orchestrator.cli import document, layout
    from orchestrator.errors import DeniedError
    from orchestrator.stack.image_trial import tried

    if os.geteuid() != 0:
        again = f"sudo {Path(sys.executable).with_name('dreamdock')} images check {image}"
        raise DeniedError("only root may start a sandbox", cause="root mounts what a sandbox works on", hint=again)
    trial = tried(image, settings.load())
    if screen.json:
        document.write("dreamdock.image/1", {**trial._asdict(), "runner": not trial.fallback})
        return
    layout.put(screen, facts(trial))
    screen.next(f'dreamdock run --image {image} "…"')


def table(told: Iterable[Listed]) -> list[Text]:
    """Return the images as aligned lines under a header."""
    from rich.text import Text

    from orchestrator.cli import layout

    return layout.table([[Text(word, "dim") for word in _HEADER], *map(_row, told)], right=(2,))


def facts(trial: Trial) -> list[Line]:
    """Return what was found, as labelled lines."""
    from rich.text import Text

    from orchestrator.cli.text import count, duration, visible
    from orchestrator.cli.wording import Line

    way = Text.assemble(("! ", "yellow"), visible(trial.fallback)) if trial.fallback else Text("the resident runner")
    return [
        Line("✓ works", Text(f"{visible(trial.name)}, first command done after {duration(trial.seconds)}")),
        Line("id", Text(trial.id)),
        Line("built for", Text(f"{trial.architecture}, {count(trial.size_bytes)}B")),
        Line("system", Text(visible(trial.system))),
        Line("tools", Text(", ".join(trial.tools) or "none of those that are looked for"), prose=True),
        Line("commands", way, prose=True),
    ]


def _row(found: Listed) -> list[Text]:
    from rich.text import Text

    from orchestrator.cli.text import count, visible

    built = found.size_bytes is not None
    state = Text("✓ built" if found.family else "✓ there", "green") if built else Text("· missing", "yellow")
    name = Text(visible(found.family or found.name), "bold")
    if found.configured:
        name.append(" (default)", "dim")
    way = {None: Text("?", "dim"), "": Text("the runner")}.get(found.lacking)
    return [
        name,
        state,
        Text(f"{count(found.size_bytes)}B" if found.size_bytes is not None else ""),
        Text(visible(found.name), "dim"),
        way or Text(visible(f"docker exec: {found.lacking}"), "yellow"),
    ]


def _fields(found: Listed) -> dict[str, object]:
    runner = None if found.lacking is None else not found.lacking
    return {**found._asdict(), "built": found.size_bytes is not None, "runner": runner}
