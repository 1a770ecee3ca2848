"""What a reply cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import genai_prices

if TYPE_CHECKING:
    from pydantic_ai.usage import RequestUsage

    from orchestrator.models.families import Choice


def cost_usd(choice: Choice, usage: RequestUsage) -> float | None:
    """Return US dollars for one reply's usage, or None where no price is known.

    Our own figure stands in families.toml only where genai-prices has none.
    """
    if price := choice.data.price:
        fresh = usage.input_tokens - usage.cache_read_tokens
        spent = fresh * price.input + usage.cache_read_tokens * price.cached + usage.output_tokens * price.output
        return spent / 1_000_000
    if not choice.family.prices:
        return None
    try:
        return float(genai_prices.calc_price(usage, choice.model, provider_id=choice.family.prices).total_price)
    except LookupError:
        return None
