"""What the end-to-end tests share: a made-up secret, and calls for scripted runs."""

from __future__ import annotations

SECRET = "sk-e2e-this-is-no-real-key-4711"  # noqa: S105  # Made up; the tests look for it where it mustn't be.

SUBMIT = ("submit", {"summary": "done"})
MEND = (
    "edit",
    {
        "path": "ledger/split.py",
        "old": "    share = cents // len(people)\n    return {person: share for person in people}\n",
        "new": "    share, rest = divmod(cents, len(people))\n"
        "    return {person: share + (place < rest) for place, person in enumerate(people)}\n",
    },
)
