"""A loop that is going on: what kind, since when, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One loop. `steps` are those in which it went round, in order; `reason` is one sentence without its full stop."""

    kind: str
    reason: str
    steps: tuple[int, ...]
