"""What a model says while it says it: a preview beside the journal, gone once the reply is in it.

It is no part of the truth: it may be lost, cut short, or of a reply that is never completed; nothing is folded from it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError

from orchestrator.dialogue import Value
from orchestrator.errors import DeniedError, JournalError, UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import available

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from orchestrator.stop import Stop

_EVERY_SECONDS: Final = 0.1
_EXPIRE_SECONDS: Final = 600
_MOST_PIECES: Final = 2000
_REPLIES: Final = 1_000_000


class Said(Value):
    """A piece of a reply that is still coming. Another `reply` number takes back what came under the one before."""

    step: int
    reply: int
    kind: Literal["text", "reasoning", "call"]
    piece: str


class Preview:
    """Writes the pieces of one run, bundled. Whatever Redis does, it raises nothing: no reply is lost for a preview."""

    def __init__(
        self, client: Redis, run_id: str, secrets: Sequence[str], *, fence: int = 0, stop: Stop | None = None
    ) -> None:
        self._client = client
        self._key = keys.live(run_id)
        self._secrets = secrets
        self._held_back = max((len(secret) for secret in secrets), default=1) - 1
        self._step = 0
        self._reply = fence * _REPLIES  # No other attempt's number.
        self._kind: Literal["text", "reasoning", "call"] = "text"
        self._text = ""
        self._due = 0.0
        self._away = False
        self._stop = stop

    def begin(self, step: int) -> None:
        """Begin another reply: what was said so far is taken back."""
        self._step, self._reply, self._text = step, self._reply + 1, ""
        self._away = False
        self._do(lambda: self._client.delete(self._key))

    def said(self, kind: Literal["text", "reasoning", "call"], piece: str) -> None:
        """Take a piece; it is written with those after it, ten times a second at most."""
        if kind != self._kind or kind == "call":
            self.flush()
        self._kind = kind
        self._text += piece
        if time.monotonic() >= self._due:
            self._write(self._held_back)

    def flush(self) -> None:
        """Write what is left."""
        self._write(0)

    def _write(self, held_back: int) -> None:
        """Write all but the last characters: they may be the beginning of a secret."""
        for secret in self._secrets:
            self._text = self._text.replace(secret, "[redacted]")
        end = len(self._text) - held_back
        if end <= 0:
            return
        said = Said(step=self._step, reply=self._reply, kind=self._kind, piece=self._text[:end])
        self._text, self._due = self._text[end:], time.monotonic() + _EVERY_SECONDS
        self._do(lambda: self._add(said))

    def _add(self, said: Said) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.xadd(self._key, {"s": said.model_dump_json()}, maxlen=_MOST_PIECES, approximate=True)
            pipe.expire(self._key, _EXPIRE_SECONDS)
            pipe.execute()

    def _do(self, write: Any) -> None:
        if self._away or (self._stop is not None and self._stop.is_set):
            return  # It may be somebody else's by now.
        try:
            with available():
                write()
        except (UnavailableError, DeniedError, JournalError):  # Away, or somebody put something else there.
            self._away = True  # Until the next reply: the lease judges how long Redis may be away.


def parse(fields: Mapping[bytes, bytes]) -> Said | None:
    """Return the piece of a stored entry, or None for what isn't one."""
    try:
        return Said.model_validate_json(fields.get(b"s", b""))
    except ValidationError:
        return None
