"""Where a page lies in the library: `repo/<project>/<id>.md`, `team/<name>/<id>.md`, `user/<name>/<id>.md`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.library.page import PageError

if TYPE_CHECKING:
    from orchestrator.library.entry import Entry

_SCOPES: Final = ("repo/", "team/", "user/")
_PAGE: Final = re.compile(r"(repo|team|user)/([^/]+)/([^/]+)\.md\Z")


def path_of(entry: Entry) -> str:
    """Return the path of an entry's page."""
    return f"{entry.scope}/{entry.scope_id}/{entry.id}.md"


def is_page(path: str) -> bool:
    """Say whether a file is meant to be a page: Markdown below one of the scopes."""
    return path.startswith(_SCOPES) and path.endswith(".md")


def known(path: str) -> dict[str, str]:
    """Return the fields that a page's path says. Raises PageError where no page can lie there."""
    if not (found := _PAGE.fullmatch(path)):
        raise PageError(path, 1, "a page lies in repo/PROJECT/, team/NAME/ or user/NAME/")
    return {"scope": found[1], "scope_id": found[2], "id": found[3]}


def is_text(path: str) -> bool:
    """Return whether people write it for agents to read: a page, or a file below `skills/`."""
    return is_page(path) or path.startswith("skills/")
