"""What of a committed step needs a person's approval, by the settings' rules; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.globs import first_match

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.approvals import Approvals
    from orchestrator.events import Checkpointed
    from orchestrator.runs import Rule
    from sandbox.spec import Install

_NAMED: Final = 8
"""Files or installs that an approval names; the others are counted, and all of them are in the step."""
_LONGEST: Final = 200
_CAME: Final = frozenset({"added", "changed"})


class Reason(NamedTuple):
    """A rule that a step came under, and with what, in a line."""

    rule: Rule
    text: str


class Spent(NamedTuple):
    """What a run spent so far, and up to how much it was approved, in US dollars."""

    usd: float
    allowed_usd: float


def reasons(step: Checkpointed, rules: Approvals, known: Collection[str], spent: Spent) -> list[Reason]:
    """Return why a step needs an approval, all of it; nothing where it needs none.

    `known` names what wasn't looked through for installs in earlier steps: only what is new to it counts.
    """
    found = list[Reason]()
    if rules.installs:
        came = [_install(one) for one in step.installs if one.change in _CAME]
        came += [f"{place} (not looked through)" for place in step.unlooked if place not in known]
        found += [Reason("installs", f"it installs {_named(came)}")] if came else []
    gone = [file.path for file in step.files if file.status == "D"]
    if rules.deletions and len(gone) > rules.deletions:
        found.append(Reason("deletions", f"it deletes {len(gone)} files (more than {rules.deletions}): {_named(gone)}"))
    if rules.paths:
        matched = [(file.path, first_match(file.path, rules.paths)) for file in step.files]
        told = [f"{path} ({pattern})" for path, pattern in matched if pattern]
        found += [Reason("paths", f"it changes {_named(told)}")] if told else []
    most = max(rules.spending_usd, spent.allowed_usd)
    if rules.spending_usd and spent.usd >= most:
        text = f"${spent.usd:.2f} are spent, ${most:.2f} may be; with it up to ${allows(spent.usd):.2f}"
        found.append(Reason("spending", text))
    return found


def allows(spent_usd: float) -> float:
    """Return up to how much an approval of what was spent reaches: twice as much."""
    return 2 * spent_usd


def _install(one: Install) -> str:
    return " ".join(filter(None, (one.manager, one.name, one.version)))


def _named(names: Sequence[str]) -> str:
    """Return the first of them, and how many more there are."""
    told = ", ".join(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names[:_NAMED])
    return f"{told} and {len(names) - _NAMED} more" if len(names) > _NAMED else told
