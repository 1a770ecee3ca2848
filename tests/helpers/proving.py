"""An agent at work with a court: what it submits is proven in real sandboxes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.agent.around import Around
from orchestrator.agent.loop import Agent
from orchestrator.court import Court
from orchestrator.models import open_script
from orchestrator.runs import Acceptance
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from working import Opened

    from orchestrator.agent.ending import Ending
    from orchestrator.journal.writer import Writer
    from sandbox.open import Sandbox
    from sandbox.spec import Base
    from sandbox.store import Store

CHECK = Acceptance(command="python3 -c 'import calc; assert calc.double(4) == 8, calc.double(4)'", origin="flag")
MEND = ("edit", {"path": "calc.py", "old": " + 1\n", "new": "\n"})


class Proving:
    """An agent with a court on a run's journal; it counts how often a fresh sandbox was opened to prove something."""

    def __init__(self, box: Sandbox, store: Store, opened: Opened) -> None:
        self.box, self.store, self.fresh = box, store, 0
        self._opened = opened

    def open(self, tree: str, shell: str = "", /) -> AbstractContextManager[Sandbox]:
        assert not shell
        self.fresh += 1
        return self._opened(tree)

    def work(self, journal: Writer, text: str, *, court: Court | None = None, stop: Stop | None = None) -> Ending:
        around = Around(court=court or Court(journal.view.spec, journal, self.store, self.open, None))
        model = open_script("scripted", text)
        return Agent(model, self.box, journal, journal.view.spec, stop or Stop(), around=around).run()


@pytest.fixture
def proving(box: Sandbox, base: tuple[Store, Base], opened: Opened) -> Proving:
    return Proving(box, base[0], opened)


def told(journal: Writer) -> list[str]:
    return [event.body.text for event in journal.events if isinstance(event.body, e.Prompted) and not event.body.system]


def refusals(journal: Writer) -> list[e.Refused]:
    return [event.body for event in journal.events if isinstance(event.body, e.Refused)]
