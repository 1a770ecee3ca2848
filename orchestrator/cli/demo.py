"""`dreamdock demo`: the main job on a real bug, and what memory is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@with_screen
def demo(screen: Screen, /) -> int:
    """Fix a real bug of a real project, end to end.

    An open-source package at a release with a known bug is fetched; the bug is found and fixed in a sealed container.
    Then two short runs show what memory is for: the second does in fewer steps what the first had to find out.
    The stack stays up afterwards, until `dreamdock down`.
    """
    from orchestrator.cli import showing

    return showing.carry_out(screen)
