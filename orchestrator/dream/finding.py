"""Something that a run learned, before it's an entry of the library: what, in whose words, and from which steps."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime

from orchestrator.dialogue import Value


class Whose(StrEnum):
    """Whose words a finding is in, which is how far they may be believed."""

    PERSON = "person"  # Somebody who steered the run.
    HARNESS = "harness"  # What was seen to happen: a command that passed.
    AGENT = "agent"
    TOOL = "tool"  # The agent noted it, but a tool's result had it before: data, whatever it says.


Kind = Literal["decision", "convention", "pitfall", "command", "fact"]
"""Those of the library's kinds that a run can teach."""


class Finding(Value):
    """What was found, with the steps that show it and the checkpoint of the last one.

    `paths` are files that it speaks of and that the run knew. `command` is what can be run again to see whether it
    still holds, empty for none. `accepted` says whether the run's work was.
    """

    kind: Kind
    text: str
    whose: Whose
    run: str
    steps: tuple[int, ...]
    commit: str = ""
    paths: tuple[str, ...] = ()
    command: str = ""
    accepted: bool = False
    at: AwareDatetime | None = None
    lasting: bool = False
