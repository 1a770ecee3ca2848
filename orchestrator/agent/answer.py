"""An answer that is to be one JSON object and nothing else, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import ValidationError

from orchestrator.journal.plain import require_plain
from orchestrator.settings import reasons

if TYPE_CHECKING:
    from orchestrator.dialogue import Value

_FENCE: Final = "```"
_LONGEST: Final = 500
"""Characters of a complaint."""
_T = TypeVar("_T", bound="Value")


def answered(text: str, kind: type[_T]) -> _T:
    """Return the value in a model's answer. Raises ValueError for what is anything else, and says why."""
    body = text.strip()
    if body.startswith(_FENCE) and body.endswith(_FENCE):  # Many models can't but put it into a block.
        body = body.removeprefix(_FENCE).removeprefix("json").removesuffix(_FENCE)
    try:
        answer = kind.model_validate_json(body)
        require_plain(body.encode())  # One that says fail and pass under the same name isn't, for example.
    except ValidationError as error:
        raise ValueError(reasons(error)[:_LONGEST]) from None
    except ValueError as error:
        raise ValueError(str(error)[:_LONGEST]) from None
    return answer
