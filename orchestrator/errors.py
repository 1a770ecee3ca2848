"""What can go wrong, as people see it.

DreamdockError            exit code
├── UsageError            2    the request itself is wrong, or not possible now
├── NotFoundError         3    no such run, repository, step
│   └── PrunedError            the run's checkpoints were given up
├── ConfigError           4    settings, an unknown model, a missing credential
├── UnavailableError      5    a service doesn't answer; safe to retry
│   └── RedisAwayError         Redis: what an attempt didn't commit is done again by the next one
├── DeniedError           6    refused by policy
├── LimitError            7    a quota is reached: nothing new is taken, what is there stays
├── ModelError            1    the model answered with something that can't be used
│   ├── TooLongError           the request has more tokens than the model takes
│   └── EndlessError           the reply went on where it was asked to end
└── JournalError          1    the journal is broken or refuses the writer
    ├── FencedError            a newer attempt owns the run: stop writing, leave
    └── HeadMovedError         someone appended in between: read on and try again
"""

from __future__ import annotations


class DreamdockError(Exception):
    """An error that is shown to a person in three lines: error, cause, try.

    `message` says what failed, `cause` why (may be empty), `hint` what to type or do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, cause: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.hint = hint

    @property
    def words(self) -> str:
        """What failed and why, as one sentence."""
        return f"{self.message}: {self.cause}" if self.cause else self.message


class UsageError(DreamdockError):
    """The request itself is wrong, or not possible now."""

    exit_code = 2


class NotFoundError(DreamdockError):
    """What was named doesn't exist."""

    exit_code = 3


class PrunedError(NotFoundError):
    """The run's checkpoints were given up: it was over for longer than they are kept."""


class ConfigError(DreamdockError):
    """Settings are wrong, a model is unknown or a credential is missing."""

    exit_code = 4


class UnavailableError(DreamdockError):
    """A service doesn't answer; trying again is safe."""

    exit_code = 5


class RedisAwayError(UnavailableError):
    """Redis doesn't answer, or refused; whether a write that was under way took place is unknown."""


class DeniedError(DreamdockError):
    """Refused by policy."""

    exit_code = 6


class LimitError(DreamdockError):
    """A quota is reached: nothing new is taken, and what is there stays."""

    exit_code = 7


class ModelError(DreamdockError):
    """The model's answer can't be used, or it refused."""


class TooLongError(ModelError):
    """The request has more tokens than the model takes; the same one would be refused again.

    `limit` is how many it takes, prompt or prompt and reply, in its provider's words; 0 where they don't say.
    """

    def __init__(self, message: str, *, cause: str = "", hint: str = "", limit: int = 0) -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.limit = limit


class EndlessError(ModelError):
    """The reply was cut off: it went on beyond the tokens that it was asked to have at most, and that are paid for."""


class JournalError(DreamdockError):
    """The journal is broken, or refuses the writer."""


class FencedError(JournalError):
    """A newer attempt owns the run; this writer may write nothing more."""


class HeadMovedError(JournalError):
    """The journal's head isn't the one that this append was computed on."""
