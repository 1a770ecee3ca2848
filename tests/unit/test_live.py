from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from kit import SECRET

from orchestrator import events as e
from orchestrator.journal import keys
from orchestrator.journal.connection import connect
from orchestrator.journal.live import Preview, Said
from orchestrator.journal.stream import listen
from orchestrator.journal.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis


def said(client: Redis, run_id: str) -> list[Said]:
    """What a follower that comes now hears at once."""
    found = []
    for item in listen(client, run_id):
        if item is None:
            return found
        found += [item] if isinstance(item, Said) else []
    return found


def test_pieces_are_bundled_and_told_in_order(client: Redis, run_id: str) -> None:
    preview = Preview(client, run_id, ())
    preview.begin(3)
    for number in range(1000):
        preview.said("text", f"{number} ")
    preview.said("call", "bash")
    preview.flush()
    told = said(client, run_id)
    assert "".join(piece.piece for piece in told if piece.kind == "text").split() == [str(n) for n in range(1000)]
    assert (told[-1].kind, told[-1].piece, told[-1].step) == ("call", "bash", 3)
    assert len(told) < 20, "not a write for each token"


def test_what_was_said_goes_with_the_next_reply(client: Redis, run_id: str) -> None:
    preview = Preview(client, run_id, ())
    preview.begin(1)
    preview.said("text", "A beginning that was cut")
    preview.begin(1)
    assert said(client, run_id) == []
    preview.said("text", "Whole")
    assert [(piece.reply, piece.piece) for piece in said(client, run_id)] == [(2, "Whole")]
    assert 0 < client.ttl(keys.live(run_id)) <= 600


@pytest.mark.parametrize("size", [1, 5, 26, 500])
def test_a_secret_is_redacted_however_it_is_cut(client: Redis, run_id: str, size: int) -> None:
    text = f"The key is {SECRET}, keep it. {SECRET}{SECRET}"
    preview = Preview(client, run_id, (SECRET,))
    preview.begin(1)
    for start in range(0, len(text), size):
        preview._due = 0.0  # As if a tenth of a second lay between two pieces.
        preview.said("text", text[start : start + size])
    preview.flush()
    whole = "".join(piece.piece for piece in said(client, run_id))
    assert whole == "The key is [redacted], keep it. [redacted][redacted]"


def test_another_attempt_takes_back_what_the_one_before_said(client: Redis, run_id: str) -> None:
    numbers = []
    for fence in (1, 2):
        preview = Preview(client, run_id, (), fence=fence)
        preview.begin(1)
        preview.said("text", "word")
        numbers.append(said(client, run_id)[0].reply)
    assert numbers[0] != numbers[1]


def test_a_redis_that_is_away_costs_no_reply(tmp_path: Path) -> None:
    with connect(f"unix://{tmp_path}/nobody.sock") as client:
        preview = Preview(client, "r" * 12, ())
        preview.begin(1)
        preview.said("text", "Hm.")
        preview.flush()


def test_events_and_pieces_come_in_one_stream(client: Redis, run_id: str) -> None:
    journal = Writer(client, run_id, who="w")
    heard: list[object] = []

    def follow() -> None:
        for item in listen(client, run_id, after=2):
            heard.append(item)
            if isinstance(item, e.Event):
                return

    follower = threading.Thread(target=follow)
    follower.start()
    journal.preview.begin(1)
    journal.preview.said("text", "lo")
    time.sleep(0.2)
    journal.preview.said("text", "ok")
    time.sleep(0.2)
    journal.append(e.Prompted(text="x"))
    follower.join(10)
    assert [item.piece for item in heard if isinstance(item, Said)] == ["lo", "ok"]
    assert isinstance(heard[-1], e.Event)


def test_what_is_no_piece_is_left_out(client: Redis, run_id: str) -> None:
    client.xadd(keys.live(run_id), {"s": "{garbage"})
    client.xadd(keys.live(run_id), {"other": "1"})
    assert said(client, run_id) == []
