"""How providers and servers say that a request is too long for them, and how long it may be.

No two say it alike, and most do in words alone. The texts come from a stranger: they are short here, and read for
nothing but a number.
"""

from __future__ import annotations

import re
from typing import Any, Final

_TOO_LONG: Final = re.compile(
    # llama.cpp, Ollama, LM Studio, MiniMax, OpenAI's responses
    r"(?:exceed|greater|larger|longer)\w* (?:than )?(?:the |model )?(?:available |maximum )?context"
    r"|context (?:window|size|length|limit)\w* (?:is |was |has been )?exceed|context_length_exceeded"
    r"|(?:exceed\w*|over) (?:the )?(?:model )?(?:token|context) limit"  # Kimi; Anthropic with max_tokens
    r"|(?:maximum|model's) (?:context|prompt|input) length"  # OpenAI, vLLM, SGLang, DeepSeek, Mistral, xAI
    r"|(?:prompt|input)\w* (?:is|are) too (?:long|large)|prompt exceeds max length"  # Anthropic, Bedrock, GLM
    r"|input (?:token count|length)\b.{0,40}\b(?:exceeds the max|should be)"  # Gemini, Qwen
    r"|reduce the length of the (?:messages|prompt|input)",  # Groq, OpenAI
    re.IGNORECASE,
)
_BEGINNING: Final = 1000
_LEAST: Final = 1000
_MOST: Final = 999_999_999
_TOKENS: Final = r"(?<![\d,])(\d{1,3}(?:,\d{3}){1,2}|\d{4,9})(?![\d,]*\d| ?\+)"  # Not one that others are added to.
_LIMITS: Final = tuple(
    re.compile(pattern.format(_TOKENS), re.IGNORECASE | re.ASCII)
    for pattern in (
        r"tokens? ?> ?{}",  # "prompt is too long: 210000 tokens > 200000 maximum"
        r"\+ ?\d{{1,9}} ?> ?{}",  # "exceed context limit: 190000 + 21333 > 200000"
        r"(?:context|prompt|input) (?:length|size|window|limit)(?: is| of|:)?(?: only)? ?\(?{}",
        r"token limit(?: is| of|:)? ?\(?{}",  # "exceeded model token limit: 262144 (requested: 270000)"
        r"{} (?:tokens? )?maximum context length",
        r"maximum number of tokens allowed(?: is| of|:)? ?\(?{}",
        r"input length should be \[\d, ?{}\]",
        r"(?:limit of|must be <=) ?{}",
    )
)


def is_too_long(words: str) -> bool:
    """Say whether the words of a refusal speak of the request's length: their beginning, as some echo the request."""
    return _TOO_LONG.search(words[:_BEGINNING]) is not None


def limit_in(words: str, body: Any) -> int:
    """Return the tokens that a refusal says may be asked with, 0 where it names none; fewer than 1,000 are none."""
    found = filter(None, (pattern.search(words[:_BEGINNING]) for pattern in _LIMITS))
    error = body.get("error", body) if isinstance(body, dict) else None
    field = error.get("n_ctx") if isinstance(error, dict) else None  # llama.cpp's: its words don't always say it.
    told = next((int(match[1].replace(",", "")) for match in found), field)
    return told if type(told) is int and _LEAST <= told <= _MOST else 0
