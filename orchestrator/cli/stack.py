"""`dreamdock up` and `dreamdock down`: what runs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.option(
    "--print-acl", is_flag=True, help="Start nothing: print the rules that a team's Redis gives worker, member, viewer."
)
@with_screen
def up(screen: Screen, /, print_acl: bool) -> None:
    """Start what is missing on this machine.

    A container engine, the base image, Redis, a keeper, the workers and one for dreams. Twice is as good as once.
    """
    if print_acl:
        _print_acl(screen)
        return
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.cli.reporter import TalkReporter
    from orchestrator.stack.up import ensure_up

    started = ensure_up(settings.load(), TalkReporter(screen))
    if screen.json:
        document.write("dreamdock.up/1", {"up": True, "started": started})
        return
    screen.line("up" if started else "everything was up")
    screen.next('dreamdock run "fix the failing tests"', "dreamdock down")


def _print_acl(screen: Screen) -> None:
    from orchestrator.cli import document
    from orchestrator.journal.acl import DEFAULT, ROLES

    if screen.json:
        roles = {role.name: {"meant": role.meant, "rules": role.rules, "line": role.line} for role in ROLES}
        document.write("dreamdock.acl/1", {"roles": roles, "default": DEFAULT})
        return
    for role in ROLES:
        screen.line(role.line)
    screen.line(DEFAULT)
    screen.say("These are lines of an aclfile (ACL LOAD takes it); for ACL SETUSER leave out `user`. Redis 7 or newer.")
    screen.say(
        "Nobody gets in before a password is added: >PASSWORD, or # and its SHA-256. Copy a line for each person."
    )
    screen.say("Whoever is to use it has redis_url = rediss://NAME@HOST:PORT/0 and redis_password_file.")


@click.command()
@with_screen
def down(screen: Screen, /) -> None:
    """Stop what `up` started.

    Runs under way are released and resumed after the next `up`; the container engine stays.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.stack.up import take_down

    stopped = take_down(settings.load())
    if screen.json:
        document.write("dreamdock.down/1", {"up": False, "stopped": stopped})
        return
    screen.line("down" if stopped else "nothing was up")
    screen.next("dreamdock up")
