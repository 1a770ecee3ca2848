"""`dreamdock run`: queue a task, follow it, show what came out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.argument("task", required=False)
@click.option(
    "-f", "--file", metavar="FILE", help="Take the task from a text file, or all of it from a .toml spec file."
)
@click.option("--repo", metavar="PATH_OR_URL", help="Git repository to work on.  [default: the current folder's]")
@click.option("--rev", metavar="REV", help="Commit, branch or tag to start from.  [default: HEAD]")
@click.option("--dirty", is_flag=True, help="Take uncommitted changes along.")
@click.option("--model", metavar="FAMILY/NAME", help="Model to ask.  [default: the first whose key is set]")
@click.option("--base-url", metavar="URL", help="Endpoint of the model, if not the family's own.")
@click.option("--fallback", metavar="FAMILY/NAME", help='Model to ask once the first can\'t answer; "" for none.')
@click.option(
    "--price", metavar="IN,CACHED,OUT", help="Of an unpriced model, USD per million tokens; or 0, or unknown."
)
@click.option("--accept", metavar="CMD", help="Command that proves the work.  [default: dreamdock.toml's, or a guess]")
@click.option(
    "--judge", metavar="FAMILY/NAME|auto|off", help="Model that rules on what no command can check.  [default: auto]"
)
@click.option("--setup", multiple=True, metavar="CMD", help="Command to run before, repeatable; dependencies, say.")
@click.option(
    "--recall",
    type=click.IntRange(min=0, max=50_000),
    metavar="TOKENS",
    help="Most of long-term memory that it's given at once; 0: none, and no tool for it.  [default: 2000]",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Most replies of the model.")
@click.option("--money", type=click.FloatRange(min=0, min_open=True), metavar="USD", help="Most money, in US dollars.")
@click.option("--tokens", type=click.IntRange(min=1), metavar="N", help="Most tokens, in and out, cached ones too.")
@click.option("--seconds", type=click.IntRange(min=1), metavar="N", help="Most time, in seconds.")
@click.option(
    "--candidates",
    type=click.IntRange(min=1, max=8),
    metavar="N",
    help="Replies to try side by side for a hard step, each in a sandbox of its own.  [default: 1, off]",
)
@click.option("--image", metavar="IMAGE", help="Image of the sandbox; base, python, node, c are ours.  [default: base]")
@click.option(
    "--build", metavar="PATH", help="Dockerfile of the repository to build the image from; the operator must allow it."
)
@click.option(
    "--priority",
    type=click.Choice(["low", "normal", "high"]),
    help="Place in the queue; high also takes a worker over.",
)
@click.option(
    "--require",
    multiple=True,
    metavar="KEY=VALUE",
    help="What its worker must have, repeatable: label=ssd, memory_mb=8192, cpus=8, gpus=1.",
)
@click.option("-d", "--detach", is_flag=True, help="Print the run's id and return at once.")
@click.option("--dry-run", is_flag=True, help="Print the resolved run and the sandbox's policy; start nothing.")
@with_screen
def run(screen: Screen, /, task: str | None, file: str | None, detach: bool, dry_run: bool, **asked: Any) -> int:
    """Queue a task and follow it (alias: submit).

    TASK is what to do, in words; - reads it from standard input.
    The run works on a copy of the repository in a sealed container; your files change only when you apply its diff.

    Ctrl-C detaches and leaves the run going.
    The exit code is the run's: 0 succeeded, 1 failed, cancelled or error, 7 limit, 124 out of time, 8 Ctrl-C.
    """
    from orchestrator.cli import submission

    request = submission.read_request(task, file, asked, sys.stdin)
    return submission.carry_out(screen, request, detach=detach, dry_run=dry_run)
