"""`dreamdock cost`: what a run cost, reply by reply."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.costs import Costs, ReplyCost

_HEADER: Final = ("STEP", "FOR", "IN", "CACHED", "OUT", "REASONING", "COST", "REQUEST", "KEPT", "MODEL")
_FOR: Final = {"step": "step", "candidate": "candidate", "condense": "summary"}


@click.command()
@run_argument
@with_screen
def cost(screen: Screen, /, run: str) -> None:
    """Show what a run cost, reply by reply.

    FOR says what a reply was for: the step itself, one of several candidates for it, a summary of the run up to it, or
    a judge's ruling; of a sub-agent's, behind its name.
    IN, CACHED, OUT and REASONING are tokens as the provider counted them; REQUEST is the size of what was sent in
    bytes, KEPT how much of the request before it that begins with: little, where the context was built anew
    (show --context).
    Replies of undone steps and summaries are in it: they were paid for.
    The last lines say what it cost in all, what other families would have cost at the same usage, and which limits of
    the run are near.
    """
    from orchestrator.cli import document, layout, wording
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        told, view = door.costs(run_id), door.show(run_id).view
    if screen.json:
        document.cost(run_id, told)
        return
    if not told.replies:
        screen.say("no reply yet")
        return
    for line in table(told):
        screen.line(line)
    screen.line()
    layout.put(screen, [*wording.costs(told), *wording.near(view, datetime.now(UTC))])


def table(told: Costs) -> list[Text]:
    """Return the replies as aligned lines under a header."""
    from rich.text import Text

    from orchestrator.cli import layout

    rows = [[Text(word, "dim") for word in _HEADER], *(_row(reply) for reply in told.replies)]
    return layout.table(rows, right=(0, *range(2, len(_HEADER) - 1)))


def _row(reply: ReplyCost) -> list[Text]:
    from rich.text import Text

    from orchestrator.cli.text import count, money, visible

    usage, sent = reply.usage, reply.sent
    figures = [usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens]
    # A summary's request is compared with the summary before: beside the steps that would look like a lost cache.
    kept = f"{sent.kept * 100 / sent.previous:.4g} %" if sent and sent.previous and reply.kind == "step" else ""
    cells = [
        str(reply.step),
        f"{reply.agent}: {_FOR[reply.kind]}" if reply.agent else _FOR[reply.kind],
        *map(count, figures),
        money(reply.cost_usd),
        count(sent.size) if sent else "",
        kept,
    ]
    return [*map(Text, cells), Text(visible(reply.model), "dim")]
