"""What the agent needs of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestrator.dialogue import Reply, Request
    from orchestrator.stop import Stop


class Model(Protocol):
    """A model that is asked one request at a time. Two stand behind it: a provider's API, and a script."""

    @property
    def name(self) -> str:
        """The full name, FAMILY/NAME, as given with --model."""

    def ask(self, request: Request, stop: Stop) -> Reply:
        """Return one complete reply.

        Raises Stopped when `stop` is set, within 0.2 s; UnavailableError when the endpoint can't be reached after
        retries; ConfigError when it refuses the key or doesn't know the model; ModelError when it refuses the request
        or its answer can't be used.
        """

    def close(self) -> None:
        """Let go of connections. Idempotent."""
