"""What an agent is there for: its prompts, and the tools that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.memory.history import TOOL as HISTORY
from orchestrator.memory.working import NOTE

if TYPE_CHECKING:
    from orchestrator.events import ChildKind
    from orchestrator.settings import RunLimits

SUBMIT: Final = "submit"
DELEGATE: Final = "delegate"
ASK: Final = "ask"
RECALL: Final = "recall"
_READING: Final = frozenset({"bash", "read", "grep", "glob", NOTE, HISTORY, SUBMIT})
_WRITING: Final = _READING | {"edit", "write", "processes"}


@dataclass(frozen=True)
class Role:
    """`system` and `task` name its prompts; `delegates` tells whether it may have sub-agents, where limits allow."""

    system: str
    task: str
    tools: frozenset[str]
    delegates: bool

    def hands(self, limits: RunLimits, *, recalls: bool = False) -> frozenset[str]:
        """Return the names of its tools, by what its work began with, so that they never change.

        `recalls` tells whether it is given anything of long-term memory.
        """
        delegates = self.delegates and limits.depth > 0 and limits.children > 0
        return self.tools | ({DELEGATE} if delegates else set()) | ({RECALL} if recalls else set())


MAIN: Final = Role("system", "task", _WRITING | {ASK}, delegates=True)
EXPLORE: Final = Role("explore", "child_task", _READING, delegates=False)
TASK: Final = Role("child", "child_task", _WRITING, delegates=True)
_OF_CHILDREN: Final[dict[ChildKind, Role]] = {"explore": EXPLORE, "task": TASK}


def of_child(kind: ChildKind) -> Role:
    """Return the role of a sub-agent of that kind."""
    return _OF_CHILDREN[kind]
