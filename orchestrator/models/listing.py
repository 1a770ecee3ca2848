"""The models that can be named, for `dreamdock models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.dialogue import Value
from orchestrator.models.families import Choice, ModelData, Price
from orchestrator.models.keys import has_key
from orchestrator.models.prices import price

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.families import Catalog


class ListedModel(Value):
    """One model. `window` and `output` are tokens, 0 where unknown; `key` is the variable that takes the key.

    `prompt_limit` is how many of them a prompt may have, with the model's `context` in it.
    """

    name: str
    title: str
    base_url: str
    window: int
    output: int
    prompt_limit: int
    price: Price | None
    key: str
    key_set: bool
    key_optional: bool


def listed(known: Catalog, environ: Mapping[str, str]) -> tuple[ListedModel, ...]:
    """Return every listed model; a family that lists none stands as FAMILY/NAME."""
    return tuple(
        ListedModel(
            name=f"{family_id}/{model}",
            title=family.title,
            base_url=family.base_url,
            window=data.window,
            output=data.output,
            prompt_limit=data.room.prompt,
            price=price(
                Choice(family_id=family_id, family=family, model=model, data=data, base_url="", price=data.price)
            ),
            key=family.key,
            key_set=has_key(family.key, environ),
            key_optional=family.key_optional or not family.key,
        )
        for family_id, family in known.families.items()
        for model, data in (family.models or {"NAME": ModelData()}).items()
    )
