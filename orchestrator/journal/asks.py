"""What a run asks of the queue: runs that ask for the same, of the same user, stand in one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.runs import RunSpec

_AN_ID: Final = re.compile(r"^(sha256:)?[0-9a-f]{6,64}\Z")
_IMPLIED: Final = ("docker.io/library/", "docker.io/", "localhost/")
_ANYWHERE: Final = frozenset({"", "remote"})


def user_of(who: str) -> str:
    """Return whose runs these are: a Redis ACL user, or the account's name."""
    return who.partition("@")[0]


def asks(spec: RunSpec, who: str) -> str:
    """Return what a run asks for, as JSON that is the same for the same; `host` is where its store is, if that matters.

    The base image and one that is built from the repository are on every worker, or made there.
    """
    wanted = spec.requires
    image = plain_image("" if spec.build else wanted.image or spec.image)
    host = "" if wanted.store in _ANYWHERE else who.partition("@")[2]
    labels = tuple(sorted(set(wanted.labels)))
    told = {
        "user": user_of(who),
        "priority": spec.priority,
        "repo": spec.repo.project,
        "name": spec.repo.name,
        "host": host,
        "requires": wanted.model_copy(update={"image": image, "labels": labels}).model_dump(),
    }
    return json.dumps(told, sort_keys=True)


def plain_image(name: str) -> str:
    """Return an image's name as workers offer it: with its tag, without the registry that engines imply.

    Empty for an image's id, which no list of names can tell: whoever gets the run says whether it has that.
    """
    for implied in _IMPLIED:
        name = name.removeprefix(implied)
    if not name or _AN_ID.match(name):
        return ""
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
