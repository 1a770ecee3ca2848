"""What of a run is worth keeping at all: not its progress, not its task again, and not what was said for the moment."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.dream.statement import Statement

_FEW: Final = 2
"""Words that say something which a note has at least; a literal is one."""
_OF_THE_TASK: Final = 0.75
"""The share of a note's words that the task has as well, from which on it only says it again."""
_PROGRESS: Final = re.compile(
    r"^(?:(?:i|i'm|i've|i'll|we've|we'll|we (?:are|were|will|now|just|still)|let me|let's|wip|done|looks?|seems?"
    r"|start(?:ed|ing) (?:with|on|to)|still (?:to|need|have)|step \d+|now (?:i|we|on|to|it|\w+ing)|then (?:i|we))\b"
    r"|(?:todo|wip|next|now|then|plan|progress|status|summary|remaining)(?: \w+)?\s*:|(?:ok|okay|so),"
    r"|(?:have|has|had|will|am|going|about) (?:not |to |now |already )?\w+"
    r"|(?:add|implement|fix|finish|complet|updat|chang|remov|refactor|creat|mov|renam|check|tri|committ|review|explor"
    r"|verifi|investigat|test|clean|replac|look|work|wrapp|address|handl)(?:ed|d)\b(?! (?:by|with|from|in)\b)"
    r"|(?:wrote|ran|made|did|got|went|saw)\b"
    r"|(?:working on|looking (?:at|into)|moving on|trying to|waiting for)\b)"
    r"|\b(?:right now|at the moment|so far|for now|todo|fixme|wip|moving on|still (?:need|have|left) to|left to do)\b"
    r"|\bis (?:now )?(?:complete|completed|done|finished)\b|\b(?:at|on) \w+ \d+ (?:of|/) \d+\b"
    r"|\b\d+ (?:\w+ )?(?:tests? )?(?:pass|fail)(?:ed|ing|es|s)?\b"
    r"|^(?:all |the |both |most |some |\d+ )*(?:\w+ )?tests? (?:all |now |are |is |still )*"
    r"(?:pass|fail|green|red|ok|broken|fine)(?:ed|ing|es|s)?(?: now| again)?\W*$",
    re.IGNORECASE,
)
_TASK: Final = re.compile(
    r"^(?:the |our |my |this )?(?:task|goal|aim|objective|request|assignment)(?:\s+(?:is|was|says|asks)\b|\s*:)"
    r"|\b(?:user|person) (?:wants|asks|asked|wanted|requested)\b|\bwas asked to\b",
    re.IGNORECASE,
)
_VAGUE: Final = frozenset(
    Statement.of(
        "code thing stuff file complex nice good clean fine ok interesting important useful messy simple big"
        " great better bad"
    ).words
)
_QUESTION: Final = re.compile(
    r"^(?:what|why|how|when|where|who|which|can|could|would|will|did|do you|does|is|are|have you|shall)\b",
    re.IGNORECASE,
)
_SENTENCES: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_LASTING: Final = re.compile(
    r"\b(?:always|never|from now on|whenever|every time|by convention|as a rule|in general|prefer|instead of"
    r"|rather than"
    r"|we(?:'ve| have)? (?:only |all )?(?:use|don't|do not|prefer|call|name|keep|write|put|agreed|want)"
    r"|our (?:convention|rule|style|policy|standard))\b",
    re.IGNORECASE,
)
_CORRECTING: Final = re.compile(
    r"^(?:(?:no|nope|wrong|actually|sorry|that's (?:wrong|not \w+)|not like that"
    r"|(?:don't|do not) do (?:that|this|it))\b"
    r"[\s,.:;!-]*)+",
    re.IGNORECASE,
)
_FOR_THE_MOMENT: Final = re.compile(
    r"\b(?:for now|right now|this time|today|for later|later|this run|this step|as well|too|again|first|next|and then"
    r"|the (?:last|current|previous) \w+)\b",
    re.IGNORECASE,
)
_A_TASK: Final = re.compile(
    r"^(?:please |also |and |then |just |now |hm+,? |ok(?:ay)?,? )*(?:add|fix|implement|finish|make|commit|delete"
    r"|remove|rename|look|have|show|tell|try|update|move|change|revert|undo|redo|start|stop|continue|go|carry|do|create|open"
    r"|skip|split|explain|test|rewrite|leave|wait|check|let|give|take|bring|clean|mend|proceed|resume|retry|rerun|ignore"
    r"|forget|see|think|focus|hurry|thanks?|yes|great|good|nice|fine|ok(?:ay)?|perfect|sure)\b",
    re.IGNORECASE,
)
_SAID_LEAST: Final = 3


def note_is_junk(text: str, task: Statement) -> bool:
    """Whether what an agent noted is no knowledge: it tells of its progress, or of its task, or says nothing."""
    if _PROGRESS.search(text) or _TASK.search(text):
        return True
    said = Statement.of(text)
    words = said.vocabulary - _VAGUE
    if len(words) + len(said.literals) + len(said.opposed) < _FEW:
        return True
    known = said.vocabulary & task.vocabulary
    return said.literals <= task.literals and len(known) >= _OF_THE_TASK * len(said.vocabulary)


def heard(text: str) -> tuple[str, bool] | None:
    """Return what of a person's words holds beyond the moment, and whether they say so themselves; None for nothing.

    Questions and orders for the work at hand aren't kept. What only corrects what the agent did is, but it isn't said
    for all times.
    """
    kept = [one for one in _SENTENCES.split(text.strip()) if one and not one.endswith("?") and not _QUESTION.match(one)]
    words = " ".join(kept)
    bare = _CORRECTING.sub("", words)
    if _LASTING.search(bare):
        return bare, True
    said = Statement.of(bare)
    says = len(said.vocabulary - _VAGUE) + len(said.literals) + len(said.opposed)
    if says < _SAID_LEAST or _A_TASK.match(bare) or _FOR_THE_MOMENT.search(bare):
        return None
    return bare, False
