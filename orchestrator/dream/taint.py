"""Whether a note is somebody else's instruction: words that a tool printed, and that tell their reader to do something.

A repository, a web page or a test's output may hold sentences that were written for the agent to keep. What it noted of
them is data: it may be true, but it isn't the agent's own, and nobody is to follow it because it was kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from unicodedata import combining, normalize

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK_ALIKE: Final = str.maketrans(
    "аеорсухіјѕһԁԛԝАВЕКМНОРСТУХІЈЅοανρυικΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɡ",
    "aeopcyxijshdqwABEKMHOPCTYXIJSoavpuikABEZHIKMNOPTYXig",
)
"""Cyrillic and Greek letters, and two others, that look as a Latin one does."""
_WORD: Final = re.compile(r"\w+")
_GRAM: Final = 3
_RUN: Final = 5
"""Words in a row that were printed before are a copy, or fewer where they are most of a text."""
_MOST_OF_IT: Final = 0.6
_CLAUSES: Final = re.compile(r"[.:;,!\n→()]+\s|—|\s-\s|^\W+|\band\b|\bthen\b")
_ORDERS: Final = re.compile(
    r"(?:always|never|please|do not|don't|remember|ensure|make sure|be sure|ignore|disregard|forget|override|pretend)\b"
    r"|(?:use(?! of)|add|install|delete|remove|disable|enable|skip|send|fetch|download|execute|approve|follow|reply"
    r"|grant|give|restart|replace|create|rewrite|append|publish|reveal|visit|go to|respond|treat)\b"
    r"(?!.*\b(?:is|are|was|were|has|have)\b)"
    r"|(?:run|push|commit|post|upload|pipe|open|edit|report|tell|answer|output|start|stop|update|export|write|read|act"
    r"|merge|print|copy|set|call|put|make|let|build|change|move|test|check)\s+"
    r"(?:the|an?|all|any|every|each|your|this|that|these|it|them|to|as|directly|only|`|\"|'|-|\S*[/._=:~-]\S)",
    re.IGNORECASE,
)
"""How a clause begins that tells its reader to do something; what is a noun as well needs an object behind it."""
_TOLD: Final = re.compile(
    r"\b(?:you|agents?|assistants?|ai|llms?|models?|bots?|everyone|contributors?|developers?)\b(?:\s+\w+){0,4}?\s+"
    r"(?:must|should|shall|(?:have|has|need|needs|ought) to|(?:is|are) (?:required|expected|asked|told|supposed) to)\b"
    r"|\bit(?:'s| is) (?:mandatory|required|necessary|essential|important|obligatory) (?:to|that)\b"
    r"|\bfrom now on\b",
    re.IGNORECASE,
)
_FETCHED: Final = re.compile(
    r"\b(?:curl|wget|fetch)\b[^\n]*\|\s*(?:sudo\s+)?(?:\w*sh|python\d?|perl|node)\b|\b\w*sh\s+<\(\s*(?:curl|wget)"
    r"|https?://\S+\W.*\b(?:into|through|with|to|by)\s+(?:`)?(?:bash|sh|zsh|python\d?)\b"
    r"|\bbase64\s+(?:-d|--decode)\b|\beval\s+[\"'`$(]",
    re.IGNORECASE,
)
"""What is fetched and run in one go."""
_OF_THE_PROMPT: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|rule|prompt|guideline|polic|restriction)"
    r"|\b(?:system|developer) prompt\b|\byour (?:instructions|prompt|guidelines|rules)\b|\bas an ai\b"
    r"|\byou are (?:now )?(?:an?|the|in) \w+ (?:assistant|agent|mode|model)\b"
    r"|\b(?:tell|inform|warn|show|mention)\w*\b.{0,30}\bthe user\b",
    re.IGNORECASE,
)
_KEYS: Final = (
    r"(?:\.env\b|id_rsa\b|\.ssh\b|authorized_keys|\b(?:credential|password|secret|token|api key|private key)s?\b)"
)
_RISKY: Final = re.compile(
    _KEYS + r"|--force(?![-\w])|\brm\s+-\w*[rf]|\bsudo\b|--privileged\b|\b(?:audit|access) logs?\b"
    r"|\b(?:disable|skip|turn off|bypass|circumvent)\w*\b.{0,40}\b(?:checks?|tests?)\b",
    re.IGNORECASE,
)
"""What isn't kept as a tool had it, in whatever mood."""
_HARMFUL: Final = re.compile(
    r"(?<!never )(?<!not )(?<!n't )\b(?:send|post|upload|publish|copy|push|commit|paste|reveal|print|show)\b.{0,60}"
    + _KEYS
    + r"|--no-verify\b|\bchmod\s+(?:-R\s+)?0?777\b|\breport success\b"
    r"|(?<!never )(?<!not )(?<!n't )\b(?:disable|skip|turn off|bypass|circumvent)\w*\b.{0,40}"
    r"\b(?:tls|ssl|verif\w*|review\w*|sandbox|auth\w*|audit\w*|security|signatures?|hooks?|firewall)\b"
    r"|\bwithout (?:any |a |further )?(?:ask\w*|review\w*|approv\w*|permission|confirm\w*|telling)\b",
    re.IGNORECASE,
)
"""What isn't kept as an order, in whose words ever."""


class Copies:
    """Finds which of some texts had been printed before they were noted. Nothing of what was printed is kept."""

    def __init__(self, texts: Iterable[tuple[str, int]]) -> None:
        """Take texts, each with the step that it was noted in."""
        self._grams: dict[tuple[str, ...], list[tuple[str, int, int]]] = {}
        self._words: dict[str, int] = {}
        self._seen: dict[str, set[int]] = {}
        for text, step in texts:
            words = words_of(text)
            self._words[text] = len(words)
            for place, gram in enumerate(zip(*(words[n:] for n in range(_GRAM)), strict=False)):
                self._grams.setdefault(gram, []).append((text, step, place))

    def see(self, printed: str, step: int) -> None:
        """Take what was printed in a step; steps come in their order, so each piece is looked for only once."""
        if not self._grams:
            return
        words = words_of(printed)
        for gram in zip(*(words[n:] for n in range(_GRAM)), strict=False):
            for text, noted, place in self._grams.pop(gram, ()):
                if step <= noted:
                    self._seen.setdefault(text, set()).update(range(place, place + _GRAM))

    def copied(self, text: str) -> bool:
        """Whether a text is a copy: of many words in a row, or of most of it."""
        seen = self._seen.get(text, set())
        longest = run = 0
        for place in range(self._words.get(text, 0)):
            run = run + 1 if place in seen else 0
            longest = max(longest, run)
        return longest >= _RUN or (longest >= _GRAM and longest >= _MOST_OF_IT * self._words.get(text, 0))


def is_data(text: str, *, copied: bool) -> bool:
    """Whether a text must be taken for data, given whether a tool had printed it before."""
    text = unmasked(text)
    if _FETCHED.search(text) or _OF_THE_PROMPT.search(text):
        return True
    harmful = bool(_HARMFUL.search(text))
    if copied and (harmful or _RISKY.search(text)):
        return True
    return (copied or harmful) and gives_orders(text)


def gives_orders(text: str) -> bool:
    """Whether a text tells its reader to do something."""
    return bool(_TOLD.search(text)) or any(_ORDERS.match(clause.strip(" `*#>\"'")) for clause in _CLAUSES.split(text))


def words_of(text: str) -> list[str]:
    """Return a text's words, without what stands between them, and with letters as they look."""
    return _WORD.findall(unmasked(text).lower())


def unmasked(text: str) -> str:
    """Return a text as it looks to its reader: without what can't be seen, and in Latin letters where they look so."""
    if text.isascii():
        return text
    shown = (sign for sign in normalize("NFKD", text) if sign.isprintable() or sign.isspace())
    return "".join(sign for sign in shown if not combining(sign)).translate(_LOOK_ALIKE)
