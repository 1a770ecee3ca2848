"""What each role of a team may do in Redis, as its own rules (ACL, Redis 7 or newer): `dreamdock up --print-acl`.

worker   carries runs: workers and keepers. All of dd:* and rq:*, and no command that administrates.
member   submits, steers, reads. Writes what a run's scripts write in the caller's name, and nothing that a worker
         takes jobs, limits or the word of other workers from; nothing at all of rq:*.
viewer   reads dd:*.

A script runs with its caller's rights, and a key that is named to EVALSHA counts as written, whatever the script does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.journal import keys

_EVERY: Final = ("dd:*", "rq:*")
_MEMBERS: Final = (
    *(keys.RUNS, keys.LIVE, keys.PENDING, keys.FINISHED, keys.ARCHIVED, keys.DEADLINES, keys.TOUCHED),
    keys.record("*"),  # With it the run's journal, blobs, archive and live text.
    *(keys.LINES, f"{keys.LINE}*", keys.SERVED, keys.QUEUE),  # Where runs stand in line.
    *(keys.HELD, keys.PASSES, keys.ESTIMATE, keys.RESERVED, f"{keys.SPENT}*"),  # What a run that is taken back settles.
    "dd:doctor:*",
)
_WHERE: Final = ("resetkeys", "resetchannels")
_READ: Final = ("-@all", "+@read", "+@connection")
_WRITE: Final = ("+@write", "+@transaction", "+publish")
_SCRIPTS: Final = ("+eval_ro", "+evalsha_ro")
_WRITING_SCRIPTS: Final = ("+eval", "+evalsha", "+script|load", "+script|exists")
_NEVER: Final = ("-@dangerous", "-@admin", "-function", "-randomkey", "-dbsize")
"""Also where a category above has it: FLUSHALL, MIGRATE and the like, code that stays, what tells of others' keys."""
_TOLD: Final = ("+info", "+time")


class Role(NamedTuple):
    """A role: its name, what it's for, and its rules, in the order that they count in."""

    name: str
    meant: str
    rules: tuple[str, ...]

    @property
    def line(self) -> str:
        """The line of an aclfile; without `user`, what ACL SETUSER takes. There's no password: nobody gets in yet."""
        return " ".join(("user", self.name, "on", *self.rules))


WORKER: Final = Role(
    "worker",
    "workers and keepers",
    (
        *(*_WHERE, *(f"~{key}" for key in _EVERY), *(f"&{channel}" for channel in _EVERY)),
        *(*_READ, *_WRITE, "+subscribe", "+unsubscribe", *_SCRIPTS, *_WRITING_SCRIPTS, *_NEVER, *_TOLD, "+wait"),
    ),
)
MEMBER: Final = Role(
    "member",
    "whoever submits and steers runs",
    (
        *(*_WHERE, "%R~dd:*", *(f"~{key}" for key in _MEMBERS), f"&{keys.NUDGE}"),
        *(*_READ, *_WRITE, *_SCRIPTS, *_WRITING_SCRIPTS, *_NEVER, *_TOLD, "+wait"),
    ),
)
VIEWER: Final = Role(
    "viewer",
    "whoever looks on",
    (*_WHERE, "%R~dd:*", *_READ, *_SCRIPTS, *_NEVER, *_TOLD),
)
ROLES: Final = (WORKER, MEMBER, VIEWER)
DEFAULT: Final = "user default off ~* &* +@all"
"""Nobody comes in under no name. It keeps its rights: Redis reads its append-only file with them when it starts."""
