"""The agent's tools: told to the model in a frozen order, checked, and carried out in the sandbox.

Whatever goes wrong with a call comes back to the model as a result; only a sandbox that is gone ends the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from orchestrator.agent import arguments as a
from orchestrator.agent import asking, commands, files, noting, recalling, submitting
from orchestrator.agent.outcome import failed
from orchestrator.agent.role import ASK, DELEGATE, MAIN, RECALL, SUBMIT
from orchestrator.agent.shown import LONGEST
from orchestrator.approvals import Approvals
from orchestrator.dialogue import ToolSpec
from orchestrator.memory import history as past
from orchestrator.memory.working import NOTE
from orchestrator.notes import WorkingMemory
from orchestrator.settings import reasons
from sandbox.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic import BaseModel

    from orchestrator.agent.listing import Listing
    from orchestrator.agent.outcome import Outcome
    from orchestrator.dialogue import ToolCall
    from sandbox.open import Sandbox

_TOOLS: Final[dict[str, type[BaseModel]]] = {
    "bash": a.Bash,
    "read": a.Read,
    "edit": a.Edit,
    "write": a.Write,
    "grep": a.Grep,
    "glob": a.Glob,
    "processes": a.Processes,
    NOTE: a.Note,
    past.TOOL: a.History,
    RECALL: a.Recall,
    DELEGATE: a.Delegate,
    ASK: a.Ask,
    SUBMIT: a.Submit,
}
_EMPTY: Final = WorkingMemory()


@cache
def specs(names: frozenset[str]) -> tuple[ToolSpec, ...]:
    """Return tools as the model is told of them: the same bytes for every run of this version that has them."""
    return tuple(
        ToolSpec(name=name, description=cleandoc(model.__doc__ or ""), parameters=_schema(model))
        for name, model in _TOOLS.items()
        if name in names
    )


class Delegating(Protocol):
    """Has sub-agents work; see `Team`."""

    def __call__(self, arguments: a.Delegate, longest: int, /) -> Outcome:
        """Return what came of it, in at most `longest` characters."""


def _nobody(_arguments: a.Delegate, _longest: int) -> Outcome:
    return failed("there is nobody to give it to; do it yourself")


class Recalling(Protocol):
    """Looks something up in long-term memory; see `Remembering`."""

    def __call__(self, arguments: a.Recall, longest: int, /) -> Outcome:
        """Return what is known, in at most `longest` characters."""


def _nothing(_arguments: a.Recall, _longest: int) -> Outcome:
    return failed("there is no long-term memory here")


@dataclass(frozen=True)
class Hands:
    """What the tools work with: a command runs for at most `longest_s` seconds, a result has `longest` characters.

    `memory` is the working memory with the notes of the calls before, those of the open step included.
    `history` is the run's past up to the last committed step, `listing` the files of the workspace. `names` are the
    tools that there are, `delegate` has sub-agents work, `recall` looks things up. `asking` is what people were asked,
    and `approvals` how many questions they take.
    """

    sandbox: Sandbox
    longest_s: float
    longest: int = LONGEST
    memory: WorkingMemory = _EMPTY
    history: past.History = field(default_factory=past.History)
    listing: Listing | None = None
    names: Collection[str] = MAIN.tools
    delegate: Delegating = _nobody
    recall: Recalling = _nothing
    asking: asking.Asking = field(default_factory=asking.Asking)
    approvals: Approvals = field(default_factory=Approvals)


def carry_out(hands: Hands, call: ToolCall) -> Outcome:
    """Run a call. Raises SandboxError where the sandbox itself fails."""
    if call.name not in hands.names:
        there = ", ".join(name for name in _TOOLS if name in hands.names)
        return failed(f"there is no tool {call.name!r}; the tools are {there}")
    if call.invalid:
        return failed(f"the arguments are not a JSON object: {call.invalid[:200]!r}; send the call again")
    try:
        return _carry_out(hands, _TOOLS[call.name].model_validate(call.arguments))
    except ValidationError as error:
        return failed(f"wrong arguments for {call.name}: {reasons(error)}")
    except ValueError as error:
        return failed(f"{call.name} can't take that: {error}")
    except WorkspaceError as problem:
        return failed(f"{problem.message}: {problem.cause}" if problem.cause else problem.message)


def _carry_out(hands: Hands, arguments: BaseModel) -> Outcome:  # noqa: C901, PLR0911, PLR0912  # One each.
    sandbox, longest_s, longest = hands.sandbox, hands.longest_s, hands.longest
    match arguments:
        case a.Bash():
            return commands.bash(sandbox, arguments, longest_s, longest, hands.listing)
        case a.Read():
            return files.read(sandbox, arguments, longest)
        case a.Edit():
            return files.edit(sandbox, arguments)
        case a.Write():
            return files.write(sandbox, arguments)
        case a.Grep():
            return commands.grep(sandbox, arguments, longest_s, longest)
        case a.Glob():
            return commands.glob(sandbox, arguments, longest_s, longest)
        case a.Processes():
            return commands.processes(sandbox, arguments, longest)
        case a.Note():
            return noting.note(hands.memory, arguments)
        case a.History():
            return recalling.recall(hands.history, arguments, longest)
        case a.Recall():
            return hands.recall(arguments, longest)
        case a.Delegate():
            return hands.delegate(arguments, longest)
        case a.Ask():
            return asking.ask(hands.asking, hands.approvals, arguments)
        case _:
            return submitting.submit(hands.memory)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, without what says nothing to a model."""
    schema = model.model_json_schema()
    inner = schema.get("$defs", {})
    fields = {name: _plain(field, inner) for name, field in schema["properties"].items()}
    required = {"required": schema["required"]} if "required" in schema else {}  # An empty list isn't valid everywhere.
    return {"type": "object", "properties": fields, **required}


def _plain(value: Any, inner: dict[str, Any]) -> Any:
    """Return a part of a schema without titles; what it refers to stands in its place: not every API follows."""
    if isinstance(value, list):
        return [_plain(item, inner) for item in value]
    if not isinstance(value, dict):
        return value
    if (name := value.get("$ref", "").rpartition("/")[2]) in inner:
        kept = {"type", "properties", "required"}
        return _plain({key: item for key, item in inner[name].items() if key in kept}, inner)
    if "properties" in value:  # A field may be called title.
        fields = {name: _plain(field, inner) for name, field in value["properties"].items()}
        return {
            **_plain({key: item for key, item in value.items() if key != "properties"}, inner),
            "properties": fields,
        }
    return {key: _plain(item, inner) for key, item in value.items() if key != "title"}
