"""The agent's tools: told to the model in a frozen order, checked, and carried out in the sandbox.

Whatever goes wrong with a call comes back to the model as a result; only a sandbox that is gone ends the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from orchestrator.agent import arguments as a
from orchestrator.agent import commands, files, noting, recalling, submitting
from orchestrator.agent.outcome import failed
from orchestrator.agent.shown import LONGEST
from orchestrator.dialogue import ToolSpec
from orchestrator.memory import history as past
from orchestrator.memory.working import NOTE
from orchestrator.notes import WorkingMemory
from orchestrator.settings import reasons
from sandbox.errors import WorkspaceError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from orchestrator.agent.outcome import Outcome
    from orchestrator.dialogue import ToolCall
    from sandbox.open import Sandbox

SUBMIT: Final = "submit"
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
    SUBMIT: a.Submit,
}
_EMPTY: Final = WorkingMemory()


@cache
def specs() -> tuple[ToolSpec, ...]:
    """Return the tools as the model is told of them: the same bytes for every run of this version."""
    return tuple(
        ToolSpec(name=name, description=(model.__doc__ or "").strip(), parameters=_schema(model))
        for name, model in _TOOLS.items()
    )


@dataclass(frozen=True)
class Hands:
    """What the tools work with: a command runs for at most `longest_s` seconds, a result has `longest` characters.

    `memory` is the working memory with the notes of the calls before, those of the open step included.
    `history` is the run's past up to the last committed step.
    """

    sandbox: Sandbox
    longest_s: float
    longest: int = LONGEST
    memory: WorkingMemory = _EMPTY
    history: past.History = field(default_factory=past.History)


def carry_out(hands: Hands, call: ToolCall) -> Outcome:
    """Run a call. Raises SandboxError where the sandbox itself fails."""
    if call.name not in _TOOLS:
        return failed(f"there is no tool {call.name!r}; the tools are {', '.join(_TOOLS)}")
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


def _carry_out(hands: Hands, arguments: BaseModel) -> Outcome:  # noqa: PLR0911  # One each.
    sandbox, longest_s, longest = hands.sandbox, hands.longest_s, hands.longest
    match arguments:
        case a.Bash():
            return commands.bash(sandbox, arguments, longest_s, longest)
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
        case _:
            return submitting.submit(hands.memory)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, without what says nothing to a model."""
    schema = model.model_json_schema()
    fields = {
        name: {key: value for key, value in field.items() if key != "title"}
        for name, field in schema["properties"].items()
    }
    required = {"required": schema["required"]} if "required" in schema else {}  # An empty list isn't valid everywhere.
    return {"type": "object", "properties": fields, **required}
