"""JSON answers: one document, or one line per event of a stream, always with a schema."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.costs import Costs
    from orchestrator.events import Event
    from orchestrator.journal.live import Said
    from orchestrator.runs import RunView
    from orchestrator.standing import Waiting


def write(schema: str, fields: Mapping[str, Any]) -> None:
    """Print one document on one line. Everything beyond ASCII is escaped, so that it is safe on a terminal too."""
    sys.stdout.write(json.dumps({"schema": schema, **fields}) + "\n")
    sys.stdout.flush()


def event(run_id: str, happened: Event) -> None:
    """Print an event of a run's journal."""
    write("dreamdock.event/1", {"run": run_id, "event": happened.model_dump(mode="json")})


def said(run_id: str, piece: Said) -> None:
    """Print a piece of a reply that is still coming."""
    write("dreamdock.said/1", {"run": run_id, **piece.model_dump(mode="json")})


def cost(run_id: str, told: Costs) -> None:
    """Print what a run cost."""
    totals = {"usage": told.usage.model_dump(), "cost_usd": told.cost_usd}
    write("dreamdock.cost/1", {"run": run_id, **told.model_dump(mode="json"), **totals})


def run_fields(view: RunView, waiting: Waiting | None = None) -> dict[str, Any]:
    """Return a run as JSON: times RFC 3339 in UTC, spans in seconds. A scripted model's text is left out."""
    return {
        **view.model_dump(mode="json", exclude={"spec": {"script"}}),
        "label": view.label,
        "place": waiting.place if waiting is not None else None,
        "waits": {"why": waiting.why, "about": waiting.about} if waiting is not None else None,
        "steps_limit": view.limits.steps,
    }
