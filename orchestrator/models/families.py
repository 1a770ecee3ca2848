"""The model families: which names there are, where they are served and what they cost.

It is on the way of `dreamdock run`, so it imports no SDK.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import Field

from orchestrator.dialogue import Value
from orchestrator.errors import ConfigError, UsageError
from orchestrator.models.keys import has_key

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTED: Final = "scripted"


class Price(NamedTuple):
    """US dollars per million tokens."""

    input: float
    cached: float
    output: float


class ModelData(Value):
    """One model of a family. `window` and `output` are tokens, 0 where unknown; see families.toml."""

    window: int = 0
    output: int = 0
    price: Price | None = None
    body: dict[str, Any] | None = None


class Family(Value):
    """One endpoint with one key. The fields are described on top of families.toml; the first model is its default."""

    title: str
    wire: Literal["chat", "responses", "anthropic"]
    key: str
    base_url: str = ""
    key_optional: bool = False
    prices: str = ""
    thinking: bool = False
    reasoning_field: str = ""
    reasoning_required: bool = False
    reasoning_as_received: bool = False
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    body: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, ModelData] = Field(default_factory=dict)


class Choice(Value):
    """A model as chosen: its family, its name there, and the address that it is asked at."""

    family_id: str
    family: Family
    model: str
    data: ModelData
    base_url: str

    @property
    def name(self) -> str:
        """The full name, FAMILY/NAME."""
        return f"{self.family_id}/{self.model}"

    @property
    def body(self) -> dict[str, Any]:
        """What goes into every request beside the standard fields."""
        return self.family.body if self.data.body is None else self.data.body


@cache
def families() -> Mapping[str, Family]:
    """Return the known families by id, in the order in which a key is looked for."""
    text = files("orchestrator.models").joinpath("families.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: Family.model_validate(data) for name, data in tomllib.loads(text).items()})


def choose(name: str, *, base_url: str = "") -> Choice:
    """Return the model that a full name stands for.

    A family serves names that it doesn't list, too: those have no known window, and a price only in genai-prices.
    A family with an address of its own is asked nowhere else: who submits a run must not be able to send the
    worker's key to a server of theirs.
    Raises ConfigError for an unknown family or a missing name, UsageError for a missing or odd address.
    """
    family_id, _, model = name.partition("/")
    family = families().get(family_id)
    if family is None or not model:
        cause = f"{family_id!r} is no model family" if family is None else f"{name!r} names no model of the family"
        raise ConfigError(
            f"unknown model {name!r}", cause=cause, hint=f"--model with one of: {_suggestions(family_id)}"
        )
    if base_url and family.base_url:
        cause = f"{family_id} is asked at {family.base_url}, and its key goes nowhere else"
        hint = f"--model openai-compatible/{model} --base-url {base_url}"
        raise UsageError(f"{name} takes no --base-url", cause=cause, hint=hint)
    address = base_url or family.base_url
    if not address.startswith(("http://", "https://")):
        cause = (
            f"{address!r} is not an http:// or https:// address"
            if address
            else f"{family_id} has no address of its own"
        )
        raise UsageError(f"{name} needs an address", cause=cause, hint=f"--model {name} --base-url http://HOST:PORT/v1")
    return Choice(
        family_id=family_id,
        family=family,
        model=model,
        data=family.models.get(model, ModelData()),
        base_url=address.rstrip("/"),
    )


def families_with_key(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of the families whose key is set in `environ`."""
    return tuple(family_id for family_id, family in families().items() if has_key(family.key, environ))


def default_model(environ: Mapping[str, str]) -> str:
    """Return the first family's default model whose key is set in `environ`, else the scripted model."""
    for family_id in families_with_key(environ):
        if models := families()[family_id].models:
            return f"{family_id}/{next(iter(models))}"
    return SCRIPTED


def _suggestions(family_id: str) -> str:
    known = families()
    chosen = {family_id: known[family_id]} if family_id in known else known
    names = [f"{key}/{model}" for key, family in chosen.items() for model in family.models]
    if family_id in known:
        return ", ".join(names) or f"{family_id}/NAME --base-url URL"
    return ", ".join(f"{key}/…" for key in known) + f", {SCRIPTED}"
