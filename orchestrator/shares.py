"""Who gets how much of the workers: the operator's words for the queue, without I/O."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

_NO_LIMIT: Final = 0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Frozen):
    """What a user, or a team, gets at most; 0 is no limit."""

    runs: int = Field(_NO_LIMIT, ge=0)
    """Runs under way at once."""
    usd_per_day: float = Field(_NO_LIMIT, ge=0, allow_inf_nan=False)
    """US dollars for models per day (UTC)."""


class UserShare(Share):
    """What one user gets: beside the limits, how much in comparison with others, and in which team."""

    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)
    """Share of the workers' time, in comparison with the other users that have runs waiting."""
    team: str = ""
    """Name of the user's team: its limits hold as well."""


class QueueSettings(_Frozen):
    """How the queue chooses; a user that isn't named has the share of `user`."""

    user: UserShare = UserShare()
    """The share of each user that `users` doesn't name."""
    users: dict[str, UserShare] = Field(default_factory=dict)
    """Shares by user, as `ps --json` names them: the Redis ACL user, else the account's name."""
    teams: dict[str, Share] = Field(default_factory=dict)
    """Shares by team; one that isn't named has no limits."""
    repo_runs: int = Field(_NO_LIMIT, ge=0)
    """Runs of one repository under way at once; 0 is no limit."""
    ageing_seconds: float = Field(600.0, ge=1, allow_inf_nan=False)
    """How long a user's runs of one priority wait unserved before they count as of the next higher one."""

    def of(self, user: str) -> UserShare:
        """Return a user's share."""
        return self.users.get(user, self.user)
