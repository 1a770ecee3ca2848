"""The model families: which names there are, where they are served and what they cost.

It is on the way of `dreamdock run`, so it imports no SDK.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from orchestrator.dialogue import Value
from orchestrator.errors import ConfigError, UsageError
from orchestrator.models.keys import has_key
from orchestrator.runs import Dollars  # noqa: TC001  # pydantic reads it at run time.
from orchestrator.settings import reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTED: Final = "scripted"
SMALLEST_WINDOW: Final = 16_384
"""Tokens; system text, tools, a task and what is pinned take a third of it, and some steps have to fit in behind."""
LONGEST_REPLY: Final = 32_768
"""Tokens that a reply is asked to stay under where the model's own limit is higher: a step is a command, not a book."""
_UNKNOWN_WINDOW: Final = 131_072  # What a window counts as that nobody told; a server with less says so (TooLongError).
_FAMILY_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Price(NamedTuple):
    """US dollars per million tokens."""

    input: Dollars
    cached: Dollars
    output: Dollars


class Room(NamedTuple):
    """Tokens that a prompt, and the reply to it, may have: together never more than the window."""

    prompt: int
    reply: int


class ModelData(Value):
    """One model of a family. `window`, `context` and `output` are tokens, 0 where nobody says; see families.toml."""

    window: int = Field(0, ge=0)
    context: int = Field(0, ge=0)
    output: int = Field(0, ge=0)
    price: Price | None = None
    body: dict[str, Any] | None = None

    @property
    def room(self) -> Room:
        """How the window is shared: a quarter at most is the reply's, the rest the prompt's."""
        both = min(filter(None, (self.window, self.context)), default=_UNKNOWN_WINDOW)
        reply = min(self.output or LONGEST_REPLY, LONGEST_REPLY, both // 4)
        return Room(prompt=both - reply, reply=reply)


class Family(Value):
    """One endpoint with one key. The fields are described on top of families.toml; the first model is its default."""

    title: str = ""
    wire: Literal["chat", "responses", "anthropic"]
    key: str = Field("", pattern=r"^([A-Z][A-Z0-9_]*)?$")
    base_url: str = ""
    key_optional: bool = False
    prices: str = ""
    thinking: bool = False
    reasoning_field: str = ""
    reasoning_required: bool = False
    reasoning_as_received: bool = False
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    cache_key: str = ""
    notes: str = Field("", max_length=2_000)
    body: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, ModelData] = Field(default_factory=dict)


class Choice(Value):
    """A model as chosen: its family, its name there, the address that it is asked at, and its price where we know it.

    Where `price` is None, genai-prices may know one.
    """

    family_id: str
    family: Family
    model: str
    data: ModelData
    base_url: str
    price: Price | None = None

    @property
    def name(self) -> str:
        """The full name, FAMILY/NAME."""
        return f"{self.family_id}/{self.model}"

    @property
    def body(self) -> dict[str, Any]:
        """What goes into every request beside the standard fields."""
        return self.family.body if self.data.body is None else self.data.body

    @property
    def listed(self) -> bool:
        """Whether families.toml, or the settings, list it; then genai-prices knows its price, if its family has any."""
        return self.model in self.family.models


@dataclass(frozen=True)
class Catalog:
    """The families by id, in the order in which a key is looked for: ours, and behind them those of the settings."""

    families: Mapping[str, Family]

    def choose(self, name: str, *, base_url: str = "", price: Price | None = None) -> Choice:
        """Return the model that a full name stands for; `price` counts where its data has none.

        A family serves names that it doesn't list, too: those have no known window, and a price only in genai-prices.
        A family with an address of its own is asked nowhere else: who submits a run must not be able to send the
        worker's key to a server of theirs.
        Raises ConfigError for an unknown family, a missing name or too small a window or context, UsageError for a
        missing or odd address.
        """
        family_id, _, model = name.partition("/")
        family = self.families.get(family_id)
        if family is None or not model:
            cause = f"{family_id!r} is no model family" if family is None else f"{name!r} names no model of the family"
            hint = f"--model with one of: {self._suggestions(family_id)}"
            raise ConfigError(f"unknown model {name!r}", cause=cause, hint=hint)
        data = family.models.get(model, ModelData())
        _check_size(name, "window", data.window, "take another --model")
        _check_size(
            name, "context", data.context, f"raise context in [families.{family_id}.models.{json.dumps(model)}]"
        )
        return Choice(
            family_id=family_id,
            family=family,
            model=model,
            data=data,
            base_url=_address(name, family, base_url),
            price=data.price or price,
        )

    def with_key(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return the ids of the families whose key is set in `environ`."""
        return tuple(family_id for family_id, family in self.families.items() if has_key(family.key, environ))

    def default(self, environ: Mapping[str, str]) -> str:
        """Return the first family's default model whose key is set in `environ`, else the scripted model."""
        for family_id in self.with_key(environ):
            family = self.families[family_id]
            if (models := family.models) and family.base_url:
                return f"{family_id}/{next(iter(models))}"
        return SCRIPTED

    def _suggestions(self, family_id: str) -> str:
        known = self.families
        chosen = {family_id: known[family_id]} if family_id in known else known
        names = [f"{key}/{model}" for key, family in chosen.items() for model in family.models]
        if family_id in known:
            return ", ".join(names) or f"{family_id}/NAME --base-url URL"
        return ", ".join(f"{key}/…" for key in known) + f", {SCRIPTED}"


def catalog(own: Mapping[str, Mapping[str, Any]]) -> Catalog:
    """Return our families with those of the settings: one of the same name changes what it names, model by model.

    Raises ConfigError for a family that isn't one.
    """
    merged: dict[str, Any] = dict(_ours())
    for family_id, fields in own.items():
        if not _FAMILY_ID.fullmatch(family_id) or family_id == SCRIPTED:
            raise _not_valid(family_id, "its name has to be of a-z, 0-9, - and _, and not that of the script")
        before = merged.get(family_id, {})
        given = fields.get("models", {})
        models = dict(before.get("models", {}))
        if isinstance(given, dict):
            models |= {
                name: {**models.get(name, {}), **data} if isinstance(data, dict) else data
                for name, data in given.items()
            }
        merged[family_id] = {**before, **fields, "models": models if isinstance(given, dict) else given}
    return Catalog({family_id: _family(family_id, fields) for family_id, fields in merged.items()})


def _family(family_id: str, fields: Any) -> Family:
    try:
        return Family.model_validate(fields)
    except ValidationError as error:
        raise _not_valid(family_id, reasons(error)) from error


def _check_size(name: str, field: str, tokens: int, hint: str) -> None:
    if 0 < tokens < SMALLEST_WINDOW:
        cause = f"{tokens} tokens; an agent needs {SMALLEST_WINDOW} at least"
        raise ConfigError(f"the {field} of {name} is too small", cause=cause, hint=hint)


def _not_valid(family_id: str, cause: str) -> ConfigError:
    return ConfigError(f"[families.{family_id}] is not a model family", cause=cause, hint="see docs/models.md")


@cache
def _ours() -> Mapping[str, Any]:
    text = files("orchestrator.models").joinpath("families.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _address(name: str, family: Family, base_url: str) -> str:
    if base_url and family.base_url:
        cause = f"{name.partition('/')[0]} is asked at {family.base_url}, and its key goes nowhere else"
        hint = f"--model openai-compatible/{name.partition('/')[2]} --base-url {base_url}"
        raise UsageError(f"{name} takes no --base-url", cause=cause, hint=hint)
    address = base_url or family.base_url
    if not address or (wrong := _wrong(address)):
        family_id = name.partition("/")[0]
        cause = f"{address!r} {wrong}" if address else f"{family_id} has no address of its own"
        raise UsageError(f"{name} needs an address", cause=cause, hint=f"--model {name} --base-url http://HOST:PORT/v1")
    return address.rstrip("/")


def _wrong(address: str) -> str:
    """Return what is wrong with an address, or the empty string. What stands in it is journalled and shown."""
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError as error:
        return f"is no address: {error}"
    if url.scheme not in {"http", "https"} or not host or port == 0 or not address.isprintable() or " " in address:
        return "is not an http:// or https:// address"
    if url.username is not None or url.password is not None or url.query or url.fragment:
        return "has a login or a query in it: a key belongs into the family's variable"
    return ""
