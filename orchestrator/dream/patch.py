"""What a model would do to entries that a dream adds: a typed patch, each of whose claims cites the steps it rests on.

It's only what was asked for. What of it is done is for `patching.py` to say.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from orchestrator.dialogue import Value

Cite = tuple[str, int]
"""A run and a step of it."""
_Cites = Annotated[tuple[Cite, ...], Field(max_length=50)]
_Text = Annotated[str, Field(max_length=20_000)]


class _Strict(Value):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Reword(_Strict):
    """Say an entry in other words."""

    op: Literal["reword"]
    entry: str
    title: _Text
    text: _Text
    cites: _Cites


class Junk(_Strict):
    """Leave an entry out: it's of no use to anybody later."""

    op: Literal["junk"]
    entry: str
    why: _Text
    cites: _Cites


class Merge(_Strict):
    """Have entries that say the same as another one be evidence for that one."""

    op: Literal["merge"]
    into: str
    entries: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    cites: _Cites


Operation = Annotated[Reword | Junk | Merge, Field(discriminator="op")]


class Patch(_Strict):
    """All that a model answered with."""

    operations: Annotated[tuple[Operation, ...], Field(max_length=200)]
