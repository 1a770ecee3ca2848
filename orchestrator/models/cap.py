"""The most tokens that one reply may have: asked for with it, and watched, because not every server heeds that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from pydantic_ai.settings import ModelSettings

_CLEARLY: Final = 1.3
"""An estimate that is this many times the cap isn't an estimate's fault any more."""
_LOOKED_AT: Final = 400
"""Characters of a reply that are estimated together: a piece alone is less than a word."""


class Cap:
    """What one reply may have; 0 is no cap."""

    def __init__(self, most_tokens: int = 0) -> None:
        self.most_tokens = most_tokens
        self._counted = 0
        self._open: list[str] = []
        self._size = 0

    def put(self, settings: ModelSettings) -> ModelSettings:
        """Return a request's settings with the cap in them, where there is one."""
        return {**settings, "max_tokens": self.most_tokens} if self.most_tokens else settings

    def begin(self) -> None:
        """Watch a reply from its beginning: each try has one."""
        self._counted, self._open, self._size = 0, [], 0

    def passed(self, piece: str) -> bool:
        """Take the next piece of the reply, and say whether it's clearly too long by now."""
        if not self.most_tokens:
            return False
        self._open.append(piece)
        self._size += len(piece)
        if self._size >= _LOOKED_AT:
            self._counted += estimate("".join(self._open))
            self._open, self._size = [], 0
        return self._counted > self.most_tokens * _CLEARLY
