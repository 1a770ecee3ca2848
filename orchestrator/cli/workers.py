"""`dreamdock workers`: which hosts carry runs, and what they have."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.standing import QueueState, WorkerState


@click.command()
@with_screen
def workers(screen: Screen, /) -> None:
    """List the hosts that carry runs, and what they have.

    Labels, how many workers carry a run and how many are free, when the host was last heard of, its version.
    With --json one entry for each worker.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import opened

    with opened() as door:
        found, state = door.fleet(), door.queue()
    if screen.json:
        document.write("dreamdock.workers/1", {"workers": [_fields(one, state) for one in found]})
        return
    if not found:
        screen.say("no worker lives")
        screen.next("dreamdock up", "dreamdock worker --concurrency 4")
        return
    for line in table(found, state):
        screen.line(line)
    own = version("dreamdock")
    if any(one.presence.version != own for one in found):
        screen.say(f"this command is of version {own}; the hosts in yellow run another one")


def table(found: Sequence[WorkerState], state: QueueState) -> list[Text]:
    """Return a line for each host, under a header. Two hosts of one name are told apart by their ids."""
    from rich.text import Text

    from orchestrator.cli import layout
    from orchestrator.cli.text import age, visible

    hosts: dict[tuple[str, str], list[WorkerState]] = {}
    for one in found:
        hosts.setdefault((one.presence.host, one.presence.host_id), []).append(one)
    names = [name for name, _ in hosts]
    rows = [[Text(word, "dim") for word in ("HOST", "RUNNING", "FREE", "SEEN", "VERSION", "LABELS")]]
    for (name, host_id), own in sorted(hosts.items()):
        running = sum(bool(one.attempt) for one in own)
        draining = bool({name, host_id} & state.draining.keys())
        free = Text("draining", "yellow") if draining else Text(str(len(own) - running))
        title = f"{visible(name)} ({host_id})" if names.count(name) > 1 else visible(name)
        rows.append(
            [
                Text(title, "bold"),
                Text(str(running)),
                free,
                Text(age(min(one.seen_s for one in own))),
                _version({one.presence.version for one in own}),
                Text(_labels(own)),
            ]
        )
    return layout.table(rows, right=(1, 2, 3))


def _version(versions: set[str]) -> Text:
    from rich.text import Text

    from orchestrator.cli.text import visible

    strange = versions != {version("dreamdock")}
    return Text(visible(", ".join(sorted(versions))), "yellow" if strange else "")


def _labels(own: Sequence[WorkerState]) -> str:
    from orchestrator.cli.text import plural, visible

    labels = sorted({label for one in own for label in one.presence.offer.labels})
    gpus = max(one.presence.offer.gpus for one in own)
    return visible(", ".join([*labels, *([plural(gpus, "gpu")] if gpus else [])])) or "-"


def _fields(one: WorkerState, state: QueueState) -> dict[str, Any]:
    known = one.presence
    return {
        **known.model_dump(mode="json"),
        "seen_s": one.seen_s,
        "attempt": one.attempt or None,
        "draining": bool({known.host, known.host_id} & state.draining.keys()),
    }
