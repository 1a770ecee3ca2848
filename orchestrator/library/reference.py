"""Which page a person means: by the start of an id that is in view, or of a path below the library."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from orchestrator.errors import NotFoundError, UsageError
from orchestrator.library.page import PageError
from orchestrator.library.place import known

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.library.entry import Where

_NAMED: Final = 5


def find(reference: str, pages: Mapping[str, str], scopes: Sequence[Where]) -> str:
    """Return the path of the page that is meant. Raises NotFoundError for none, UsageError for several."""
    asked = reference.strip().removesuffix(".md")
    if not asked:
        raise UsageError("the id is empty", hint="dreamdock memory list")
    if asked.endswith("/"):
        raise UsageError(f"{asked} is a folder, and no entry", hint="name one of its pages")
    whole = "/" in asked
    seen = pages if whole else [path for where in scopes for path in below(where, pages)]
    names = {path: (path if whole else PurePosixPath(path).name).removesuffix(".md") for path in seen}
    found = [path for path, name in names.items() if name == asked]
    found = found or [path for path, name in names.items() if name.startswith(asked)]
    if not found:
        places = ", ".join(f"{where.scope} {where.scope_id}" for where in scopes)
        cause = f"looked at {places}" if places else "neither a repository, a team nor a user to look at"
        raise NotFoundError(f"there is no entry {asked}", cause=cause, hint="dreamdock memory list --all")
    if len(found) > 1:
        several = ", ".join(path.removesuffix(".md") for path in sorted(found)[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise UsageError(f"{asked} means {len(found)} entries", cause=several + more, hint="name more of it")
    return found[0]


def below(where: Where, pages: Mapping[str, str]) -> dict[str, str]:
    """Return the pages that lie where a scope's entries do."""
    folder = f"{where.scope}/{where.scope_id}/"
    return {path: what for path, what in pages.items() if path.startswith(folder)}


def misplaced(pages: Mapping[str, str]) -> Iterator[PageError]:
    """Yield why pages that lie where no scope's entries do are set aside."""
    for path in pages:
        try:
            known(path)
        except PageError as error:
            yield error
