"""Redis forgets the end of a journal, as a fail-over to a replica that lags behind does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from orchestrator import events as e
from orchestrator.errors import FencedError, JournalError
from orchestrator.journal import keys
from orchestrator.journal.lease import claim
from orchestrator.journal.signing import Signer
from orchestrator.journal.stream import entries, read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis


class Moment(NamedTuple):
    """What Redis has of a run at one time, in its own form."""

    stored: dict[str, bytes | None]

    @classmethod
    def of(cls, client: Redis, run_id: str) -> Moment:
        names = (keys.record(run_id), keys.stream(run_id), keys.blobs(run_id))
        return cls({name: client.dump(name) for name in names})  # type: ignore[misc]  # redis-py says it may be awaitable.

    def come_back(self, client: Redis) -> None:
        """Forget what was written since."""
        for name, data in self.stored.items():
            client.delete(name)
            if data is not None:
                client.restore(name, 0, data)


def owned(client: Redis, run_id: str, signer: Signer | None = None) -> tuple[Writer, int]:
    fence = claim(client, run_id, 1, lease_seconds=6)
    assert isinstance(fence, int), fence
    return Writer(client, run_id, who="w", fence=fence, lease_seconds=6, stop=Stop(), signer=signer), fence


def said(client: Redis, run_id: str) -> list[str]:
    return [event.body.text for event in read(client, run_id) if isinstance(event.body, e.Prompted)]


def test_an_end_that_was_lost_is_written_again_by_whoever_wrote_it(client: Redis, run_id: str, tmp_path: Path) -> None:
    journal, fence = owned(client, run_id, Signer.load(tmp_path))
    journal.append(e.Claimed(attempt=1, fence=fence, worker="w", host="h"))
    before = Moment.of(client, run_id)
    journal.append(e.Prompted(text="0"))
    name = journal.blob(b"a patch")
    journal.append(e.Prompted(text="1"), e.Prompted(text="2"))
    written = list(entries(client, run_id))
    before.come_back(client)
    assert said(client, run_id) == []
    journal.append(e.Prompted(text="3"))
    assert said(client, run_id) == ["0", "1", "2", "3"]
    assert list(entries(client, run_id))[:-1] == written, "the same bytes, hashes and signatures"
    assert client.hget(keys.blobs(run_id), name) is not None
    assert verify(client, run_id).ok


def test_a_signed_end_that_was_lost_is_no_forgery_afterwards(client: Redis, run_id: str, tmp_path: Path) -> None:
    journal, fence = owned(client, run_id, Signer.load(tmp_path))
    before = Moment.of(client, run_id)
    journal.append(e.Claimed(attempt=1, fence=fence, worker="w", host="h"))
    signed = list(entries(client, run_id))[-1].signature
    before.come_back(client)
    journal.append(e.Prompted(text="0"))
    assert signed
    assert list(entries(client, run_id))[2].signature == signed


def test_an_end_into_which_somebody_else_wrote_is_not_made_up(client: Redis, run_id: str) -> None:
    journal, _ = owned(client, run_id)
    before = Moment.of(client, run_id)
    journal.append(e.Prompted(text="0"))
    Writer(client, run_id, who="ann").append(e.Steered(text="hello"))
    journal.append(e.Prompted(text="1"))
    before.come_back(client)
    with pytest.raises(JournalError, match="isn't as it was written"):
        journal.append(e.Prompted(text="2"))
    assert said(client, run_id) == []


def test_where_the_claim_is_forgotten_too_the_attempt_leaves(client: Redis, run_id: str) -> None:
    before = Moment.of(client, run_id)
    journal, _ = owned(client, run_id)
    journal.append(e.Prompted(text="0"))
    before.come_back(client)
    with pytest.raises(FencedError):
        journal.append(e.Prompted(text="1"))
    assert said(client, run_id) == []
