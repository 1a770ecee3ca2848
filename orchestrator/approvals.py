"""What an agent needs a person's word for: the operator's words, without I/O."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

_OFF: Final = 0
_NEGATED: Final = "!"


class Approvals(BaseModel):
    """What needs a person, and how long one is waited for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    questions: int = Field(5, ge=0, le=100)
    """Questions that the agent may ask in a run; 0: it decides by itself."""
    wait_seconds: float = Field(3600.0, ge=1, le=30 * 86400)
    """How long a person is waited for. Then a question is answered by its default, and an approval is denied."""
    installs: bool = False
    """Whether a step that installs dependencies needs an approval."""
    deletions: int = Field(_OFF, ge=0)
    """Files that a step may delete without one; 0: any number."""
    spending_usd: float = Field(_OFF, ge=0)
    """US dollars that a run may spend without one; 0: up to its limit."""
    paths: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...], Field(max_length=100)
    ] = ()
    """Files that need one when they are changed, as globs: `migrations/**`, `*.lock`; docs/judgement.md tells them."""

    @field_validator("paths")
    @classmethod
    def _are_globs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if pattern.startswith(_NEGATED) or not pattern.strip("/"):
                raise ValueError(f"{pattern!r} names no files; there are no exceptions, and / alone is no file")
        return value

    def stricter(self, other: Approvals) -> Approvals:
        """Return what needs a person by either of them."""
        return Approvals(
            questions=min(self.questions, other.questions),
            wait_seconds=min(self.wait_seconds, other.wait_seconds),
            installs=self.installs or other.installs,
            deletions=int(_lower(self.deletions, other.deletions)),
            spending_usd=_lower(self.spending_usd, other.spending_usd),
            paths=tuple(dict.fromkeys((*self.paths, *other.paths)))[:100],
        )


def _lower(one: float, other: float) -> float:
    return min(one, other) if one and other else one or other
