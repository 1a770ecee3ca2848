"""How a run went about its work: the commands that succeeded, in order, without what only looks or is for once."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from orchestrator.dialogue import Value
from orchestrator.dream.course import outcome, passed
from orchestrator.dream.taint import is_data
from orchestrator.library.entropy import scrubbed
from orchestrator.library.entry import Evidence
from orchestrator.redaction import REDACTED
from orchestrator.runs import Outcome
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.events import Event

MOST: Final = 30
"""Commands of a workflow: the last ones, since those led to what was accepted."""
_LONGEST: Final = 200
"""Characters of a command; what is longer was made for one occasion."""
_LONGEST_LINE: Final = 1_000
_AND: Final = re.compile(r"\s*&&\s*")
_LOOKS: Final = re.compile(
    r"awk|base64|cat|cd|cmp|command|cut|date|df|diff|dirname|du|echo|env|false|file|find|grep|head|hexdump|history|id|jq"
    r"|less|ls|lsof|md5sum|more|nl|od|printenv|printf|ps|pwd|readlink|realpath|rg|sed|sha256sum|sleep|sort|stat|strings"
    r"|tac|tail|test|time|timeout|top|tr|tree|true|type|uname|uniq|wait|wc|which|who|whoami|xxd|\[|git|hg|svn"
)
"""Commands that change nothing, by their names; those uses of `sed`, `find` and `git` that do are for once."""
_ONCE: Final = re.compile(
    r"chmod|chown|cp|curl|export|kill|ln|mkdir|mv|patch|pkill|rm|set|source|tee|touch|unzip|wget|\."
)
"""Commands that are made for one occasion, or that hold for one shell."""
_ONE_OFF: Final = re.compile(r"[`\n]|\$\(|/tmp/|(?:^|\s)-c(?:\s|$)")
_BOTH_OUTPUTS: Final = re.compile(r"\s+2>&1(?=\s*(?:&&|\Z))")
_ASKS: Final = frozenset({"--version", "-V", "--help", "-h"})
_WIDTH: Final = re.compile(r"\s+")


class Workflow(Value):
    """The commands of an accepted run, each once, where it succeeded last; `evidence` are their steps."""

    run: str
    commands: tuple[str, ...]
    evidence: tuple[Evidence, ...]


def workflow(run: str, events: Sequence[Event]) -> Workflow | None:
    """Return how a run did its work; None for one that wasn't accepted, or did nothing that is worth doing again.

    Steps that were undone don't count. Raises JournalError for events that are no run's.
    """
    if outcome(events) is not Outcome.SUCCEEDED:
        return None
    timeline = Timeline(events, run)
    line = {moment.step for moment in timeline.line(timeline.now)}
    found = dict[str, int]()
    for step, command in passed(events):
        for part in parts(command) if step in line else ():
            found.pop(part, None)  # It counts where it was run last.
            found[part] = step
    kept = list(found.items())[-MOST:]
    if not kept:
        return None
    evidence = tuple(Evidence(run=run, step=step) for _, step in kept)
    return Workflow(run=run, commands=tuple(command for command, _ in kept), evidence=evidence)


def parts(command: str) -> tuple[str, ...]:
    """Return what a command line does that is worth doing again, in order; nothing for what is for once as a whole."""
    command = command.strip()
    if not 0 < len(command) <= _LONGEST_LINE or not command.isprintable():
        return ()
    command = _BOTH_OUTPUTS.sub("", command)
    if _ONE_OFF.search(command):
        return ()
    has_key = REDACTED in command or scrubbed(command) != command  # Without it it does nothing.
    if has_key or is_data(command, copied=False):  # That is somebody's words to whoever reads it.
        return ()
    try:
        words = list(shlex.shlex(command, posix=False, punctuation_chars=True))
    except ValueError:  # A quotation that doesn't end.
        return ()
    joins = [word for word in words if word and set(word) <= set("();<>|&")]
    lines = [_WIDTH.sub(" ", part) if '"' not in part and "'" not in part else part for part in _AND.split(command)]
    if any(join != "&&" for join in joins) or len(lines) != len(joins) + 1 or lines[0].startswith("cd "):
        return ()
    return tuple(line for line in lines if _worth_doing(line))


def _worth_doing(line: str) -> bool:
    try:
        words = shlex.split(line)
    except ValueError:
        return False
    while words and "=" in words[0] and words[0].partition("=")[0].isidentifier():
        words = words[1:]  # A variable for this command.
    name = words[0].rpartition("/")[2] if words else ""
    looks = _LOOKS.fullmatch(name) or not _ASKS.isdisjoint(words)
    return bool(name) and not looks and not _ONCE.fullmatch(name) and len(line) <= _LONGEST
