"""The command's tree: names and one-line helps as data, each command imported when it is called.

`dreamdock --help` therefore imports click and this file, and nothing else.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, NamedTuple

import click


class Entry(NamedTuple):
    """A command: where it lives, `module:attribute` below `orchestrator.cli`, and its help in one line."""

    target: str
    summary: str


SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "Runs": {
        "run": Entry("run:run", "Queue a task and follow it (alias: submit)."),
        "ps": Entry("ps:ps", "List runs."),
        "show": Entry("show:show", "Show one run."),
        "logs": Entry("logs:logs", "Print what a run did, or follow it."),
        "wait": Entry("wait:wait", "Wait for runs to end."),
        "cancel": Entry("cancel:cancel", "Stop a run; its work is kept."),
        "retry": Entry("retry:retry", "Take a run up again that is over."),
    },
    "Steering": {
        "steer": Entry("steer:steer", "Tell the agent of a run something."),
        "answer": Entry("answer:answer", "Answer the question that a run waits with."),
        "approve": Entry("approve:approve", "Approve the step that a run waits with."),
        "deny": Entry("approve:deny", "Deny it: the step is undone."),
        "pause": Entry("pause:pause", "Let a run wait, without a worker."),
        "resume": Entry("pause:resume", "Let a paused run go on."),
    },
    "Work": {
        "diff": Entry("diff:diff", "Print a run's changes as a patch."),
        "apply": Entry("apply:apply", "Apply a run's changes to a repository."),
        "audit": Entry("audit:audit", "List what a run executed, wrote and installed; verify its journal."),
        "cost": Entry("cost:cost", "Show what a run cost, reply by reply."),
        "export": Entry("export:export", "Write a run's replies to a file that can be replayed."),
    },
    "Time": {
        "steps": Entry("steps:steps", "List the steps of a run, and where it is."),
        "rewind": Entry("rewind:rewind", "Take a run back to an earlier step: files, shell and dialogue."),
        "undo": Entry("rewind:undo", "Take back a run's last step, or its last rewind."),
        "redo": Entry("rewind:redo", "Take back the last undo."),
        "fork": Entry("fork:fork", "Start a new run from a step of another one."),
    },
    "Memory": {
        "memory": Entry("memory:memory", "Look up, write, approve and forget what is known longer than a run lasts."),
        "dream": Entry("dream:dream", "Turn what a repository's runs learned into entries of the library."),
    },
    "System": {
        "up": Entry("stack:up", "Start what is missing on this machine."),
        "down": Entry("stack:down", "Stop what `up` started."),
        "workers": Entry("workers:workers", "List the hosts that carry runs, and what they have."),
        "queue": Entry("queue:queue", "Show who has what under way, and who waits; pause, resume or drain."),
        "worker": Entry("worker:worker", "Carry runs forward, in this process."),
        "keeper": Entry("keeper:keeper", "Resume lost runs and clean up, in this process."),
        "images": Entry("images:images", "List, build and check the images of the sandboxes."),
        "doctor": Entry("doctor:doctor", "Prove that this machine works; attack a real sandbox."),
        "models": Entry("models:models", "List the models: window, price, and whether a key is set."),
        "config": Entry("config:config", "Look at the settings."),
        "prune": Entry("prune:prune", "Give up old runs' checkpoints, and what is cached beyond its quota."),
        "demo": Entry("demo:demo", "Fix a real bug of a real project, end to end."),
    },
}
ALIASES: Final = {"submit": "run"}
EXIT_CODES: Final = (
    (0, "done; for a run: succeeded, proven or not"),
    (1, "the run or the command failed; a run that was cancelled or ended in an error"),
    (2, "usage: the command line is wrong, or what it asks for isn't possible now"),
    (3, "not found: no such run, repository, revision or file"),
    (4, "configuration: a setting, an unknown model, a missing credential"),
    (5, "unavailable: Redis, the engine or an endpoint doesn't answer; safe to try again"),
    (6, "denied by policy"),
    (7, "a limit was reached: steps, tokens or money; the work is kept"),
    (8, "pending: you detached and the run goes on, it is parked, or what you asked for is still to come"),
    (124, "the run's time was up; the work is kept"),
    (130, "interrupted (Ctrl-C)"),
    (143, "terminated (SIGTERM)"),
)
_COLUMN: Final = 10


class Lazy(click.Group):
    """A group that knows its commands' helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help page."""
        del ctx
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        name = ALIASES.get(cmd_name, cmd_name)
        entry = next((section[name] for section in SECTIONS.values() if name in section), None)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(f"orchestrator.cli.{module}"), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a mistake that click doesn't ascribe to one is this one's, and its help the hint."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            if error.ctx is None and command is not None:
                error.ctx = click.Context(command, parent=ctx, info_name=ctx.invoked_subcommand)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        del ctx
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(_COLUMN), entry.summary) for name, entry in section.items()])


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"dreamdock {version('dreamdock')}")
        ctx.exit()


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version and exit."
)
def cli() -> None:
    """Long coding jobs in sealed containers: a task goes in, a proven diff comes out.

    RUN is a run's id or the start of it; @, the default, is the latest run of this repository, @- the one before.
    """
