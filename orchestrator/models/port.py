"""What the agent needs of a model, and what a model tells while it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from orchestrator.dialogue import FailedRequest, Reply, Request
    from orchestrator.stop import Stop

Kind = Literal["text", "reasoning", "call"]
"""What a piece of a reply is: of its text, of its reasoning, or the name of a tool that it begins to call."""


class OutOfTime(Exception):  # noqa: N818  # A flow signal, not an error.
    """The time for this reply is up; the run's limit says what that means."""


class Listener(Protocol):
    """Who wants to know what happens before a reply is complete. Called from the thread that asks."""

    def said(self, kind: Kind, piece: str) -> None:
        """Take a piece of a reply that is still coming: a preview, taken back where the request is made anew."""

    def failed(self, failure: FailedRequest) -> None:
        """Take note of a failed request; another follows."""


class Silent:
    """Listens to nothing."""

    def said(self, kind: Kind, piece: str) -> None:
        """Take no piece."""

    def failed(self, failure: FailedRequest) -> None:
        """Take no note."""


SILENT: Final = Silent()


class Model(Protocol):
    """A model that is asked one request at a time. Two stand behind it: a provider's API, and a script."""

    @property
    def name(self) -> str:
        """The full name, FAMILY/NAME, as given with --model."""

    @property
    def prompt_limit(self) -> int:
        """Tokens that a prompt may have, so that a reply fits in behind; 0 where any prompt will do.

        It may change with a request: behind two models it is that of the one that is asked now.
        """

    @property
    def reply_limit(self) -> int:
        """Tokens that a reply has at most, because it's asked to; 0 where nobody says. It may change, as above."""

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Return the US dollars that a reply to so many tokens costs at most; 0 where its price isn't known."""

    def ask(
        self,
        request: Request,
        stop: Stop,
        listener: Listener = SILENT,
        *,
        within_s: float | None = None,
        most_tokens: int = 0,
    ) -> Reply:
        """Return one complete reply; `listener` is told what happens on the way.

        With `most_tokens` the reply has no more than that, or ends there unfinished.
        Raises Stopped when `stop` is set, within 0.2 s; OutOfTime after `within_s` seconds; UnavailableError when the
        endpoint can't be reached after retries; ConfigError when it refuses the key or doesn't know the model;
        TooLongError when it refuses the request for its length, EndlessError when its reply goes on beyond
        `most_tokens`, ModelError when it refuses it for anything else or its
        answer can't be used.
        """

    def close(self) -> None:
        """Let go of connections. Idempotent."""
