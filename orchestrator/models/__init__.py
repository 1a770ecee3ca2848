"""Models: families as data, a client for the real ones, and one that follows a script.

`import orchestrator.models` and everything here but an opened real model is free of SDKs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.cassette import parse_script
from orchestrator.models.families import SCRIPTED, Catalog, Price, catalog
from orchestrator.models.keys import read_key
from orchestrator.models.scripted import ScriptedModel, read_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.client import Patience
    from orchestrator.models.families import Choice
    from orchestrator.models.port import Model

__all__ = [
    "SCRIPTED",
    "Catalog",
    "Price",
    "catalog",
    "is_scripted",
    "open_model",
    "open_script",
    "read_script",
    "secrets",
]


def is_scripted(name: str) -> bool:
    """Say whether a model name is the scripted model, built in or with a path."""
    return name == SCRIPTED or name.startswith(f"{SCRIPTED}/")


def secrets(known: Catalog, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return every model key of this process: what may get into no journal, log or container."""
    found = []
    for family in known.families.values():
        with suppress(ConfigError):  # What can't be read can't be used either, and is refused where it's needed.
            if key := read_key(family.key, environ):
                found.append(key.get_secret_value())
    return tuple(found)


def open_script(name: str, text: str, *, accept: str = "", agent: str = "") -> Model:
    """Return the scripted model. `text` is that of its file (`read_script`), `accept` the run's acceptance command.

    `agent` names the sub-agent whose lines it follows, empty for the run's own agent.
    Raises ConfigError for a broken script.
    """
    return ScriptedModel(name, parse_script(text, name) if text else None, accept=accept, agent=agent)


def open_model(
    choice: Choice, environ: Mapping[str, str], *, cache_key: str = "", patience: Patience | None = None
) -> Model:
    """Return a real model; the caller closes it. `cache_key` is the same for requests that extend one another.

    Raises ConfigError for a missing key.
    """
    key = read_key(choice.family.key, environ)
    if key is None and choice.family.key and not choice.family.key_optional:
        variable = choice.family.key
        hint = f"export {variable}=… (or {variable}_FILE=PATH), or --model {SCRIPTED} to try without one"
        raise ConfigError(f"no key for {choice.name}", cause=f"{variable} is not set", hint=hint)
    from orchestrator.models.client import ApiModel, Patience  # noqa: PLC0415  # The SDKs cost a second.

    return ApiModel(choice, key, patience or Patience(), cache_key=cache_key)
