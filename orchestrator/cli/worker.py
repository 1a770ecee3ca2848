"""`dreamdock worker`: carry runs forward, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.option(
    "--queue", type=click.Choice(["runs", "dream"]), default="runs", show_default=True, help="Queue to take jobs from."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs at a time: N workers, each a process of its own.",
)
@click.option(
    "--label", "labels", multiple=True, metavar="WORD", help="What runs may require of it, beside the setting `labels`."
)
@with_screen
def worker(screen: Screen, /, queue: str, concurrency: int, labels: tuple[str, ...]) -> None:
    """Carry runs forward, in this process.

    One run at a time, until SIGTERM or Ctrl-C; a run that is under way is then released, and another worker resumes it.
    `up` starts as many as the setting `workers` says, and one for dreams.
    """
    from orchestrator import settings, worker
    from orchestrator.cli.door import answering

    known = settings.load()
    answering(loaded := settings.load(labels=tuple(dict.fromkeys((*known.labels, *labels)))))
    if concurrency > 1:
        from orchestrator.stack import crew

        screen.say(f"worker: {concurrency} processes, waiting for {'runs' if queue == 'runs' else 'dreams'}")
        crew.serve(concurrency, ["--queue", queue, *(f"--label={label}" for label in labels)])
        return
    screen.say(f"worker: waiting for {'runs' if queue == 'runs' else 'dreams'}; Ctrl-C ends it")
    worker.serve(loaded, queue=queue)
