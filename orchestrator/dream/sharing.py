"""The library's remote around a dream: one that is away is told, and the dream stays on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, UnavailableError
from orchestrator.library.sharing import pull, share

if TYPE_CHECKING:
    from orchestrator.library.shelf import Shelf


def brought(shelf: Shelf, url: str | None) -> str:
    """Bring what people and other hosts wrote; return why the remote's part isn't there, empty where all is well.

    Raises LibraryError where the library can't be written.
    """
    shelf.adopt()
    if not url:
        return ""
    try:
        pull(shelf, url)
    except (UnavailableError, ConfigError) as error:
        return f"what others wrote wasn't brought: {error.message}: {error.cause}"
    return ""


def handed_on(shelf: Shelf, url: str | None) -> str:
    """Push what was written; return why it isn't there, empty where all is well."""
    if not url:
        return ""
    try:
        share(shelf, url)
    except (UnavailableError, ConfigError) as error:
        return f"it stays on this host until the next push: {error.message}: {error.cause}"
    return ""
