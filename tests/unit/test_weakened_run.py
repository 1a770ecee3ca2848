"""A run whose changes weaken its tests says so: in its journal, in what is shown of it, in its audit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from working import base, start

from orchestrator import events as e
from orchestrator.audit import audited
from orchestrator.cli.show import lines
from orchestrator.delivery.acceptance import look_through
from orchestrator.reading import Listed
from orchestrator.runs import Weakening

if TYPE_CHECKING:
    from orchestrator.journal.writer import Writer
    from sandbox.spec import Base
    from sandbox.store import Store

__all__ = ["base", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_root]

SKIPS = b"""diff --git a/test_new.py b/test_new.py
new file mode 100644
--- /dev/null
+++ b/test_new.py
@@ -0,0 +1,2 @@
+collect_ignore = []
+assert True
diff --git a/conftest.py b/conftest.py
new file mode 100644
--- /dev/null
+++ b/conftest.py
@@ -0,0 +1 @@
+collect_ignore = ["test_calc.py"]
"""
HARMLESS = SKIPS.split(b"diff --git a/conftest")[0].replace(b"collect_ignore", b"nothing_at_all")


def changed(journal: Writer, base: tuple[Store, Base], patch: bytes) -> Writer:
    """Commit a step that the patch leads to, and look through it."""
    store, repo = base
    tree = store.compose(repo.project, repo.tree, [patch])
    journal.append(e.Checkpointed(step=1, commit="c", tree=tree))
    look_through(journal.view.spec, journal, store)
    return journal


def test_what_was_weakened_is_in_the_journal_in_show_and_in_the_audit(start: Any, base: tuple[Store, Base]) -> None:
    journal = changed(start(), base, SKIPS)
    [found] = journal.view.weakened
    assert (found.kind, found.place) == (Weakening.CONFIGURED, "conftest.py:1")
    shown = [line.text.plain for line in lines(Listed(journal.view, None), datetime.now(UTC))]
    assert '! test configuration changed · conftest.py:1  collect_ignore = ["test_calc.py"]' in shown
    [entry] = [entry for entry in audited(journal.events) if entry.kind == "weakened"]
    assert entry.text == 'test configuration changed: conftest.py:1: collect_ignore = ["test_calc.py"]'


def test_a_loop_is_in_the_audit(start: Any) -> None:
    journal = start()
    journal.append(e.Guarded(step=3, kind="calls", level="remind", reason="the same call", since=1))
    assert [entry.text for entry in audited(journal.events)][-1] == "calls (remind): the same call"


def test_a_harmless_change_says_nothing(start: Any, base: tuple[Store, Base]) -> None:
    journal = changed(start(), base, HARMLESS)
    assert journal.view.weakened == ()
    assert not [event for event in journal.events if isinstance(event.body, e.Weakened)]


def test_an_attempt_that_goes_on_has_proven_and_weakened_nothing_yet(start: Any, base: tuple[Store, Base]) -> None:
    journal = changed(start(), base, SKIPS)
    journal.append(e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={}))
    assert journal.view.weakened == ()


def test_changes_that_are_too_large_to_be_looked_through_are_said_to_be(start: Any, base: tuple[Store, Base]) -> None:
    store, repo = base
    journal = start()
    objects = store.objects(repo.project)
    blob = objects.put(b"blob", b"x" * (5 << 20))
    tree = objects.put(b"tree", b"100644 large\0" + bytes.fromhex(blob))
    objects.flush()
    journal.append(e.Checkpointed(step=1, commit="c", tree=tree))
    look_through(journal.view.spec, journal, store)
    assert [(found.kind, found.path) for found in journal.view.weakened] == [(Weakening.UNREAD, ".")]
