"""Entries as findings would have them: the same finding gives the same entry, however often it's dreamt of.

How far one is believed is by whose words it is in, and by whether the run's work was accepted. What is a person's is
believed at once only where it speaks of more than the moment; what a tool printed is never believed.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orchestrator.dream.finding import Whose
from orchestrator.library.entry import LONGEST_TITLE, MOST, Entry, Evidence, Origin, Scope, SeenPath, Status
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from orchestrator.dream.finding import Finding

REASON: Final = " — "
"""What stands between a claim and its reason, or between an error and its fix."""
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS: Final = 16
_LONGEST_COMMAND: Final = 400
_LONGEST_PATH: Final = 400
_CONFIDENCE: Final = {
    (Whose.PERSON, True): 0.8,
    (Whose.HARNESS, True): 0.8,
    (Whose.AGENT, True): 0.6,
    (Whose.PERSON, False): 0.6,
    (Whose.HARNESS, False): 0.5,
    (Whose.AGENT, False): 0.3,
    (Whose.TOOL, True): 0.1,
    (Whose.TOOL, False): 0.1,
}
"""How far a finding is believed, by whose words it is in and by whether its run was accepted."""


def drafts(findings: Iterable[Finding], project: str, *, now: datetime) -> tuple[Entry, ...]:
    """Return an entry for each thing that was found, in the order of their ids; what is found twice is one entry.

    `now` is when a finding was made that doesn't say so itself. What no page can hold is left out, whatever a journal
    says: one run must not be able to end all dreams of its project.
    """
    alike: dict[str, list[Finding]] = {}
    for found in findings:
        alike.setdefault(entry_id(project, found), []).append(found)
    made = list[Entry]()
    for name, group in sorted(alike.items()):
        with suppress(ValueError):
            entry = _draft(name, sorted(group, key=_rank), project, now)
            made += [entry] if entry.title else []
    return tuple(made)


def entry_id(project: str, found: Finding) -> str:
    """Return the id of a finding's entry: of what it says, and of nothing else but that a tool said so.

    What is said of a command is one entry: that it passes, and that work is accepted by it.
    """
    tainted = "tool" if found.whose is Whose.TOOL else ""
    key = f"{project}\0{found.kind}\0{found.command or found.text}\0{tainted}"
    number = int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:10])
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_DIGITS)))


def _rank(found: Finding) -> tuple[bool, float, int, str, tuple[int, ...], str]:
    """Order findings of one entry: first the one whose words it has, which of equals is the one that says more."""
    return (
        found.whose is not Whose.PERSON,
        -_CONFIDENCE[found.whose, found.accepted],
        -len(found.text),
        found.run,
        found.steps,
        found.commit,
    )


def _draft(name: str, group: list[Finding], project: str, now: datetime) -> Entry:
    best = group[0]
    title, text = parted(best.text)
    when = [one.at or now for one in group]
    return Entry(
        id=name,
        kind=best.kind,
        scope=Scope.REPO,
        scope_id=project,
        title=title,
        text=text,
        status=_status(group),
        origin=_origin(best.whose),
        confidence=_CONFIDENCE[best.whose, best.accepted],
        created=min(when),
        updated=max(when),
        evidence=tuple(dict.fromkeys(proof for one in group for proof in _evidence(one)))[:MOST],
        paths=_paths(group),
        command=best.command if len(best.command) <= _LONGEST_COMMAND and best.command.isprintable() else "",
    ).scrubbed()


def parted(text: str) -> tuple[str, str]:
    """Return a finding's title and text: the claim and its reason, or the beginning and the whole."""
    claim, _, reason = text.partition(REASON)
    if 0 < len(claim) <= LONGEST_TITLE:
        return claim, reason
    return one_line(text, LONGEST_TITLE), text


def _status(group: list[Finding]) -> Status:
    if group[0].whose is Whose.TOOL:
        return Status.QUARANTINED
    believed = any(one.accepted and (one.whose is not Whose.PERSON or one.lasting) for one in group)
    return Status.ACTIVE if believed else Status.UNVERIFIED


def _origin(whose: Whose) -> Origin:
    return {Whose.PERSON: Origin.PERSON, Whose.TOOL: Origin.TOOL}.get(whose, Origin.AGENT)


def _evidence(found: Finding) -> Iterator[Evidence]:
    """Yield the steps that show a finding; the commit is that of the last one."""
    last = found.steps[-1] if found.steps else 0
    for step in found.steps or (0,):
        yield Evidence(run=found.run, step=step, commit=found.commit if step == last else "")


def _paths(group: list[Finding]) -> tuple[SeenPath, ...]:
    """Return the files with the commit at which they were last there."""
    seen: dict[str, str] = {}
    for one in sorted(group, key=lambda one: (one.at is not None, one.at and one.at.timestamp(), one.run)):
        seen |= dict.fromkeys(one.paths, one.commit)
    told = sorted(path for path in seen if path.isprintable() and 0 < len(path) <= _LONGEST_PATH)
    return tuple(SeenPath(path=path, commit=seen[path]) for path in told[:MOST])
