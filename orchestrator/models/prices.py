"""What replies cost. Our own figure stands in families.toml only where genai-prices has none.

genai-prices takes a quarter of a second to import, so only a model without a figure of its own does that.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.dialogue import Usage
from orchestrator.models.families import Price

if TYPE_CHECKING:
    from orchestrator.models.families import Choice


def cost_usd(choice: Choice, usage: Usage) -> float | None:
    """Return US dollars for one reply's usage, or None where no price is known, or nothing was counted."""
    if not usage.input_tokens and choice.price != (0, 0, 0):
        return None
    if price := choice.price:
        fresh = max(usage.input_tokens - usage.cached_tokens, 0)
        spent = fresh * price.input + usage.cached_tokens * price.cached + usage.output_tokens * price.output
        return spent / 1_000_000
    if not choice.family.prices:
        return None
    import genai_prices  # noqa: PLC0415  # See above.

    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    try:
        return float(genai_prices.calc_price(counted, choice.model, provider_id=choice.family.prices).total_price)
    except (LookupError, ValueError):  # Not listed, or counts that can't be.
        return None


def most_usd(choice: Choice, prompt_tokens: int, reply_tokens: int) -> float:
    """Return the US dollars of the dearest way: nothing cached, or all of it read from or written to the cache."""
    ways: tuple[dict[str, int], ...] = ({}, {"cached_tokens": prompt_tokens}, {"cache_write_tokens": prompt_tokens})
    usages = (Usage(input_tokens=prompt_tokens, output_tokens=reply_tokens, **way) for way in ways)
    return max(cost_usd(choice, usage) or 0.0 for usage in usages)


def price(choice: Choice) -> Price | None:
    """Return what a million tokens cost at the lowest step of a model's prices, or None where that isn't known."""
    if choice.price or not choice.family.prices:
        return choice.price
    found = _listed(choice.family.prices, choice.model)
    if found is None:
        return None
    fresh = _first_step(found.input_mtok)
    return Price(fresh, _first_step(found.cache_read_mtok, fresh), _first_step(found.output_mtok))


def is_known(choice: Choice) -> bool:
    """Whether a reply's cost will be known. What we list with a provider of prices is in genai-prices: a test sees."""
    return bool(choice.price) or bool(choice.family.prices and choice.listed) or price(choice) is not None


@cache
def _listed(provider: str, model: str) -> Any:
    import genai_prices  # noqa: PLC0415  # See above.

    try:
        return genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model, provider_id=provider).model_price
    except LookupError:
        return None


def _first_step(figure: Any, default: float = 0.0) -> float:
    """Return a figure, or the base of one that rises with the number of tokens."""
    return default if figure is None else float(getattr(figure, "base", figure))
