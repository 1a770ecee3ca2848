"""What somebody types to search with, as FTS5 and a plain comparison understand it: nothing in it is an operator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LONGEST: Final = 2_000
_MOST_WORDS: Final = 32
_MOST_PIECES: Final = 12
_PREFIX_FROM: Final = 4
"""Characters from which on a word also stands for those that begin with it."""
_LITERAL_FROM: Final = 3
# The database's tokeniser sees words of letters and digits as well; everything else parts them.
_PIECES: Final = re.compile(r"[^\W_]+")
_EDGES: Final = "\"'`()[]{}<>,;:!?*.^"
_STOP: Final = frozenset(
    _PIECES.findall(
        "a an and are as at be been but by can did do does for from had has have how i if in into is it its me my no "
        "not of on or our so that the their them then there they this to was we were what when where which who why "
        "will with you your"
    )
)


@dataclass(frozen=True)
class Query:
    """A search. `every` and `some` are FTS5 expressions: all of the words, and any of them; empty without a word.

    `literals` are words that are compared as they stand, since the database takes them apart: FACT-17, a/b.py:12.
    """

    every: str
    any_of: tuple[str, ...]
    literals: tuple[str, ...]

    @property
    def some(self) -> str:
        """The expression for any of the words; each of `any_of` is one on its own."""
        return " OR ".join(self.any_of)

    @classmethod
    def of(cls, text: str) -> Query:
        """Read what was typed; of very long text only the beginning."""
        words = list(dict.fromkeys(word.strip(_EDGES) or word for word in _plain(text).split()))[:_MOST_WORDS]
        telling = [word for word in words if word.lower() not in _STOP] or words
        taken = [pieces for word in telling if (pieces := _PIECES.findall(word)[:_MOST_PIECES])]
        phrases = [f'"{" ".join(pieces)}"' for pieces in taken]
        loose = (piece for pieces in taken if len(pieces) > 1 for piece in pieces if len(piece) > 1)
        begun = (f'"{pieces[0]}"*' for pieces in taken if len(pieces) == 1 and len(pieces[0]) >= _PREFIX_FROM)
        return cls(
            every=" AND ".join(phrases),
            any_of=tuple(dict.fromkeys([*phrases, *begun, *(f'"{piece}"' for piece in loose)])),
            literals=tuple(word for word in telling if len(word) >= _LITERAL_FROM and not word.isalpha()),
        )

    @classmethod
    def literally(cls, text: str) -> Query:
        """Read the whole as one piece of text."""
        return cls(every="", any_of=(), literals=tuple(filter(None, (_plain(text).strip(),))))

    def occurs_in(self, text: str) -> bool:
        """Say whether a literal is in the text, whatever its case."""
        lower = text.lower()
        return any(literal.lower() in lower for literal in self.literals)


def _plain(text: str) -> str:
    return text[:_LONGEST].encode(errors="replace").decode().replace("\0", " ")
