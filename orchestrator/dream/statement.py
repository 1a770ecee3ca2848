"""A sentence taken apart: the literals that it stands or falls with, what it affirms or denies, and its other words."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Final, NamedTuple

_LONGEST: Final = 4_000
_TICKED: Final = re.compile(r"`+([^`]*)`+|\"([^\"\n]{1,200})\"")
_TOKEN: Final = re.compile(r"[^\s`\"\u201c\u201d\u2018\u2019()\[\]{}<>,;!?|]+")
_EDGES: Final = ".:'*~=&"
_LITERAL: Final = re.compile(
    r"""\d              # numbers, versions, ports, dates, hashes
    |[/\\_$%@\#+=]      # paths, variables, addresses, formulas
    |^--?\w             # flags
    |\w\.\w             # files, hosts, attributes
    |::|->|\(\)
    |^[A-Z][A-Z]        # constants, short names of things
    |[a-z][A-Z]         # camelCase
    """,
    re.VERBOSE,
)
_CLAUSES: Final = re.compile(
    r"[.;:!?](?=\s|$)|,|\n|\s[-\u2013\u2014]+\s|\b(?:and|or|but|because|since|so|while|than|instead|if|when|unless)\b"
)
_WITHOUT: Final = re.compile(r"(\bwithout\b[^.,;:!?\n]*),", re.IGNORECASE)
"""It denies what stands behind the comma."""
_ELSE: Final = re.compile(r"\s*(?:else|otherwise)\b", re.IGNORECASE)
"""It denies the clause before."""
_ENDINGS: Final = ("ing", "ies", "ed", "es", "ly", "s", "e")
_SHORTEST_STEM: Final = 3


class _Words(NamedTuple):
    """What words.toml says: `sides` are the groups of words with an opposite, `group` is who stands for whom.

    `weak` are as they are written there.
    """

    denials: frozenset[str]
    light: frozenset[str]
    weak: frozenset[str]
    sides: dict[str, int]
    group: dict[str, str]


@cache
def _words() -> _Words:
    told = tomllib.loads(files(__package__).joinpath("words.toml").read_text(encoding="utf-8"))
    sides = {word: number for number, group in enumerate(told["opposed"]) for word in group.split()}
    groups = {word: group.split()[0] for group in told["alike"] for word in group.split()}
    denials, light, weak = (frozenset(told[name].split()) for name in ("denials", "light", "weak"))
    return _Words(denials, light, weak, sides, groups)


@dataclass(frozen=True)
class Statement:
    """What a text says.

    `literals` keep their case, `words` are stems in order. `opposed` are the words that have an opposite, with the
    number of their group; `denials` is how often it says no, `denied` are the words and literals of clauses that do.
    """

    literals: frozenset[str]
    opposed: frozenset[tuple[int, str]]
    denials: int
    words: tuple[str, ...]
    denied: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> Statement:
        """Take a text apart; of a very long one only the beginning."""
        text = text[:_LONGEST].replace("\u2019", "'")
        whole = cls._taken(text)
        if not whole.denials:
            return whole
        denied, before = frozenset[str](), frozenset[str]()
        for clause in clauses(text):
            part = cls._taken(clause)
            said = part.literals | part.vocabulary
            if part.denials % 2:
                denied |= before if _ELSE.match(clause) else said
            before = said
        return replace(whole, denied=denied)

    @classmethod
    def _taken(cls, text: str) -> Statement:
        known = _words()
        literals = {" ".join(part.split()) for found in _TICKED.findall(text) for part in found if part.strip()}
        literals = {piece for literal in literals for piece in literal.split()}
        opposed, denials, words = set[tuple[int, str]](), 0, list[str]()
        for token in _TOKEN.findall(_TICKED.sub(" ", text)):
            bare = token.strip(_EDGES)
            lower = bare.lower()
            if not bare:
                continue
            if _LITERAL.search(bare):
                literals.add(bare)
            elif lower in known.denials:
                denials += 1
            elif (kind := _side(lower)) is not None:
                opposed.add((kind, stem(lower)))
            elif lower not in known.light:
                words += (stem(part) for part in lower.split("-") if part and part not in known.light)
        return cls(frozenset(literals), frozenset(opposed), denials, tuple(words))

    def opposes(self, other: Statement) -> bool:
        """Whether the two say opposite things: one denies what the other doesn't, or has only opposite words."""
        kinds = {kind for kind, _ in self.opposed} & {kind for kind, _ in other.opposed}
        both = {kind for kind, _ in self.opposed & other.opposed}
        crossed = bool(self.denied and other.denied) and not self.denied & other.denied
        return kinds != both or crossed or (self.denials - other.denials) % 2 == 1

    def sides_beyond(self, other: Statement) -> set[str]:
        """Return the words with an opposite of which the other has none: there they are words as all are."""
        theirs = dict(other.opposed)
        return {word for kind, word in self.opposed if kind not in theirs and word not in _words().light}

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Its words, each once."""
        return frozenset(self.words)


@cache
def weak() -> frozenset[str]:
    """Return the stems of verbs that don't tell two sentences apart which have all else in common."""
    return frozenset(stem(word) for word in _words().weak)


def clauses(text: str) -> list[str]:
    """Return a text in pieces within which a no holds."""
    return _CLAUSES.split(_WITHOUT.sub(r"\1", text))


def _side(word: str) -> int | None:
    """Return the group of opposites that a word belongs to, in any of its forms: `enabled` is one of `enable`'s."""
    sides, short = _words().sides, stem(word)
    forms = (word,) if short == word else (word, short, f"{short}e")
    return next((sides[form] for form in forms if form in sides), None)


def stem(word: str) -> str:
    """Return what is left of a word without its ending; words that mean the same here have the same one."""
    group = _words().group
    if word in group:
        return group[word]
    for ending in _ENDINGS:
        short = word.removesuffix(ending)
        if short != word and len(short) >= _SHORTEST_STEM:
            if short[-1] == short[-2] and short[-1] not in "lsz":
                short = short[:-1]
            return group.get(short, group.get(f"{short}e", short))
    return word
