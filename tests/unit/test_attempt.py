from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.attempt import capped
from orchestrator.settings import LibrarySettings, Settings
from sandbox.spec import Limits

if TYPE_CHECKING:
    from orchestrator.runs import RunSpec


def test_a_record_cannot_ask_for_more_than_the_worker_gives(spec: RunSpec) -> None:
    worker = Settings(sandbox=Limits(memory_mb=512, cpus=1.5, command_seconds=60))
    asked = spec.model_copy(update={"sandbox": Limits(memory_mb=99_999, cpus=0.5, pids=100, command_seconds=9999)})
    given = capped(asked, worker).sandbox
    assert (given.memory_mb, given.cpus, given.pids, given.command_seconds) == (512, 0.5, 100, 60)


def test_a_worker_gives_no_more_of_long_term_memory_than_its_own_settings_say(spec: RunSpec) -> None:
    worker = Settings(library=LibrarySettings(recall_tokens=500))
    wanted = {tokens: spec.model_copy(update={"recall_tokens": tokens}) for tokens in (0, 300, 50_000)}
    assert [capped(one, worker).recall_tokens for one in wanted.values()] == [0, 300, 500]
    none = Settings(library=LibrarySettings(recall_tokens=0))
    assert capped(wanted[300], none).recall_tokens == 0
