"""Which committed steps need an approval, and what it says of them."""

from __future__ import annotations

import pytest

from orchestrator import events as e
from orchestrator.agent.approving import Spent, reasons
from orchestrator.approvals import Approvals
from sandbox.spec import FileChange, Install

NOTHING = Spent(0.0, 0.0)


def step(*files: str, installs: tuple[Install, ...] = (), unlooked: tuple[str, ...] = ()) -> e.Checkpointed:
    """Return a step; a file is its status and path, `D a.py`."""
    changes = tuple(FileChange(path=f[2:], status=f[0], added=0, removed=0) for f in files)  # type: ignore[arg-type]  # The tests write what it takes.
    return e.Checkpointed(step=3, commit="c", tree="t", files=changes, installs=installs, unlooked=unlooked)


def told(found: e.Checkpointed, rules: Approvals, *, known: tuple[str, ...] = (), spent: Spent = NOTHING) -> list[str]:
    return [f"{one.rule}: {one.text}" for one in reasons(found, rules, known, spent)]


def install(name: str, change: str = "added") -> Install:
    return Install(manager="pip", name=name, version="1", change=change, place="x")  # type: ignore[arg-type]  # As above.


def test_nothing_needs_one_by_default() -> None:
    wild = step(*(f"D {n}" for n in range(1000)), installs=(install("x"),), unlooked=("a",))
    assert told(wild, Approvals(), spent=Spent(1e6, 0)) == []


def test_installs_that_came_need_one_and_those_that_went_do_not() -> None:
    rules = Approvals(installs=True)
    came = step(installs=(install("x"), install("gone", "removed"), install("y", "changed")))
    assert told(came, rules) == ["installs: it installs pip x 1, pip y 1"]
    assert told(step(installs=(install("gone", "removed"),)), rules) == []


def test_what_was_not_looked_through_counts_as_installed_until_it_is_known() -> None:
    rules = Approvals(installs=True)
    assert told(step(unlooked=("deep",)), rules) == ["installs: it installs deep (not looked through)"]
    assert told(step(unlooked=("deep",)), rules, known=("deep",)) == []


def test_more_deletions_than_may_be() -> None:
    rules = Approvals(deletions=2)
    assert told(step("D a", "D b", "M c"), rules) == []
    assert told(step("D a", "D b", "A c", "D d"), rules) == ["deletions: it deletes 3 files (more than 2): a, b, d"]


@pytest.mark.parametrize("change", ["A migrations/1.py", "M migrations/1.py", "D migrations/1.py", "T migrations/1.py"])
def test_paths_old_and_new(change: str) -> None:
    rules = Approvals(paths=("migrations/**", "*.lock"))
    assert told(step(change, "M other.py"), rules) == ["paths: it changes migrations/1.py (migrations/**)"]


@pytest.mark.parametrize(("usd", "allowed", "asks"), [(0.9, 0, False), (1.0, 0, True), (1.9, 2.0, False), (2, 2, True)])
def test_spending(usd: float, allowed: float, asks: bool) -> None:
    found = told(step(), Approvals(spending_usd=1.0), spent=Spent(usd, allowed))
    assert bool(found) == asks
    assert not asks or f"up to ${2 * usd:.2f}" in found[0]


def test_all_reasons_are_named_at_once_and_bounded() -> None:
    rules = Approvals(installs=True, deletions=1, paths=("**",), spending_usd=0.5)
    many = step(*(f"D {'x' * 5000}{n}" for n in range(5000)), installs=tuple(install(str(n)) for n in range(5000)))
    found = reasons(many, rules, (), Spent(1, 0))
    assert [one.rule for one in found] == ["installs", "deletions", "paths", "spending"]
    assert sum(len(one.text) for one in found) < 8000
    assert "and 4992 more" in found[1].text
