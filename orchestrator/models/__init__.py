"""Models: families as data, a client for the real ones, and one that follows a script.

`import orchestrator.models` and everything here but an opened real model is free of SDKs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.families import SCRIPTED, choose, default_model, families, families_with_key
from orchestrator.models.keys import read_key
from orchestrator.models.scripted import ScriptedModel, parse_script, read_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.port import Model

__all__ = [
    "SCRIPTED",
    "check_model",
    "default_model",
    "families",
    "families_with_key",
    "is_scripted",
    "key_variable",
    "open_model",
    "read_script",
    "secrets",
]


def is_scripted(name: str) -> bool:
    """Say whether a model name is the scripted model, built in or with a path."""
    return name == SCRIPTED or name.startswith(f"{SCRIPTED}/")


def check_model(name: str, *, base_url: str = "") -> None:
    """Refuse a name that no model can be opened by. Raises ConfigError or UsageError; reads no key and no script."""
    if not is_scripted(name):
        choose(name, base_url=base_url)


def key_variable(name: str) -> str:
    """Return the environment variable whose key this model can't do without, or the empty string."""
    family = families().get(name.partition("/")[0])
    return "" if family is None or family.key_optional else family.key


def secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return every model key of this process: what may get into no journal, log or container."""
    found = []
    for family in families().values():
        with suppress(ConfigError):  # What can't be read can't be used either, and is refused where it's needed.
            if key := read_key(family.key, environ):
                found.append(key.get_secret_value())
    return tuple(found)


def open_model(
    name: str, environ: Mapping[str, str], *, base_url: str = "", script: str = "", accept: str = ""
) -> Model:
    """Return the model of that name; the caller closes it.

    `script` is the text of a scripted model's file (`read_script`), `accept` the run's acceptance command.
    Raises ConfigError for an unknown model, a missing key or a broken script, UsageError for an odd address.
    """
    if is_scripted(name):
        return ScriptedModel(name, parse_script(script, name) if script else None, accept=accept)
    choice = choose(name, base_url=base_url)
    key = read_key(choice.family.key, environ)
    if key is None and not choice.family.key_optional:
        variable = choice.family.key
        hint = f"export {variable}=… (or {variable}_FILE=PATH), or --model {SCRIPTED} to try without one"
        raise ConfigError(f"no key for {name}", cause=f"{variable} is not set", hint=hint)
    from orchestrator.models.client import ApiModel, Patience  # noqa: PLC0415  # The SDKs cost a second.

    return ApiModel(choice, key, Patience())
