"""What an agent was given of long-term memory: who reads the journal later sees it, and counts what it was good for."""

from __future__ import annotations

from typing import Literal

from orchestrator.dialogue import Value
from orchestrator.runs import Given


class Recalled(Value):
    """An agent was given entries of the library: at its start, or by a call of the tool in `step`.

    `query` is what was looked for. `text` is what the model was shown, word for word, and so what it can't have found
    out itself. `head` is the library's commit at the time, empty for none. `failure` says why there may have been more.
    """

    type: Literal["recalled"] = "recalled"
    step: int
    query: str
    why: Literal["start", "tool"]
    entries: tuple[Given, ...]
    text: str
    head: str = ""
    failure: str = ""
