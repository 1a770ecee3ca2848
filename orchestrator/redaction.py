"""Credentials in text: found by their well-known forms, and replaced before the text leaves the house.

A short table of our own, after a trial of detect-secrets 1.5.0 (its last release, of May 2024) on twenty planted
secrets: it left eleven (`github_pat_`, today's `sk-…`, `KEY=…` without quotes), gave only the prefix of others
("ghp") and of a private key only its first line, so that nothing could be replaced; and it loads an HTTP client.

What has no form can't be found: a password of letters alone, in prose. People are told to read what they hand on.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

REDACTED: Final = "[redacted]"
SHORTEST: Final = 8
"""Characters of a secret; what is shorter would be found in half of all words."""

# A key block, whole or cut off, whatever stands at the front of its lines (numbers, `+`, `\n` in a string literal).
_BEGIN: Final = r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_END: Final = r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_BETWEEN: Final = r"[^A-Za-z+/=]{0,24}(?:\\[nr])?"
_BLOCKS: Final = (
    rf"{_BEGIN}(?=(?:(?!-----)[\s\S]){{0,2000}}?[A-Za-z0-9+/]{{40}})(?:(?!-----)[\s\S]){{0,20000}}{_END}",
    rf"{_BEGIN}(?:{_BETWEEN}[A-Za-z0-9+/]{{40,}}={{0,2}})+(?:{_BETWEEN}[A-Za-z0-9+/]+(?:(?<=[\w+/]{{16}})|=|\Z)=?)?",
)
# Keys that say by their first letters whose they are.
_PREFIXED: Final = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,}",
    r"gl(?:pat|dt|rt|ptt|cbt|soat|oas)-[\w-]{20,}",  # GitLab
    r"xox[a-z]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}",  # Slack
    r"sk-(?=[A-Za-z_-]{0,80}\d)[\w-]{20,}",  # OpenAI, Anthropic, DeepSeek, Kimi, MiMo, OpenRouter
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"(?:gsk|npm|xai|r8|pplx|nvapi|dckr_pat|dop_v1)[_-](?=[A-Za-z_-]{0,80}\d)[\w-]{27,}",
    r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}",  # Google
    r"[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,}",  # Stripe
    r"SG\.[\w-]{16,80}\.[\w-]{16,}|pypi-AgE[\w-]{40,}",  # SendGrid, PyPI
    r"eyJ[\w-]{8,2000}\.eyJ[\w-]{8,}\.[\w-]*",  # JSON Web Token
)
# Secrets that are known by what stands before them; the group `secret` is what is replaced.
_NAME: Final = (
    r"(?:password|passwd|passphrase|_pwd|secret|token|credentials?|(?:api|access|secret|private|account|auth|client"
    r"|signing|encryption|service|license)[_-]?key)\d?"
)
_LITERAL: Final = r"(?=[^\s\"'`]{0,80}\d)(?=[^\s\"'`]{0,80}[A-Za-z])"  # Letters and digits: a word or a number is none.
_NO_NAME: Final = r"(?=[^\s\d]{0,80}\d[^\s\d]{0,80}\d|\S{20})"  # Two digits or long: `Uint8Array` isn't.
_QUOTED: Final = r"[^\s\"'`\\<>{}\[\]]"  # Nothing that is filled in later: `{name}`, `<name>`.
_SHELL: Final = r"[^\s\"'`\\$<>{}\[\]();&|]"  # Nor is a variable or a call.
_UPPER: Final = r"(?:[A-Z][A-Z0-9]*_)*(?:PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|SECRET|TOKEN|CREDENTIALS)"
_PLACED: Final = (
    r"(?i:hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/)(?P<secret>[\w/-]{16,})",
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'`<>{}$\[\]]{0,80}:(?!(?:[A-Z_]+|\*+|pass|password)@)(?P<secret>[^\s/@\"'`<>{}$\[\]]{3,400})(?=@[A-Za-z0-9\[])",
    r"\b[a-z][a-z0-9+.-]{1,20}://(?P<secret>(?=[A-Za-z_-]{0,80}\d)[\w-]{20,400})(?=@[A-Za-z0-9])",
    r"\b(?i:bearer|basic)\s+(?P<secret>(?=[A-Za-z+/_.-]{0,80}\d)[A-Za-z0-9+/_.~-]{16,}={0,2})",
    # name = "literal", "name": 'literal'
    rf"(?i:{_NAME})(?:\\?[\"'])?\s*(?::=|=>|[:=])\s*[a-z]?\\?([\"'`]){_LITERAL}(?P<secret>{_QUOTED}{{8,4000}})(?=\\?\1)",
    # name: literal, name=literal, --name literal
    rf"(?i:{_NAME})\s*[:=]\s*{_LITERAL}{_NO_NAME}(?P<secret>[A-Za-z0-9+/=~!@#%^&*-]{{10,4000}})(?=[\s,;&\"'`]|$)",
    rf"--[a-z-]{{0,40}}?{_NAME}\s+{_LITERAL}(?P<secret>[\w+/=~!@#%^&*-]{{8,4000}})(?=[\s,;&\"'`]|$)",
    # As in an environment: NAME=value, where the value needs no digit.
    rf"\b{_UPPER}\d?=(?<!\bPWD=)(?<!OLDPWD=)\\?[\"']?(?P<secret>{_SHELL}{{6,4000}})(?=[\s\"'`\\);&|]|$)",
    rf"\b(?:[A-Z][A-Z0-9]*_)+KEY\d?=\\?[\"']?{_LITERAL}(?P<secret>{_SHELL}{{16,4000}})(?=[\s\"'`\\);&|]|$)",
)


_DIGIT: Final = r"(?=[A-Za-z_-]{0,80}\d)"  # In words that are joined there is none.
# What people type is about credentials, too: examples, place holders, names. There only that goes which is a key to a
# service beyond doubt; a password, a token of JSON or what stands behind `TOKEN=` stays.
_TYPED: Final = (
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}",
    rf"gl(?:pat|dt|rt)-{_DIGIT}[\w-]{{20,}}",
    r"xox[abprs]-\d{8,}-[A-Za-z0-9-]{10,}",
    rf"sk-{_DIGIT}(?:(?:proj|svcacct|admin|ant|or)-[\w-]{{20,}}|[A-Za-z0-9]{{32,}})",
    rf"(?:hf|npm|gsk|r8)_{_DIGIT}[A-Za-z0-9]{{30,}}|AIza[\w-]{{35}}|[sr]k_live_[A-Za-z0-9]{{16,}}",
    r"SG\.[\w-]{16,80}\.[\w-]{16,}|pypi-AgE[\w-]{40,}",
)
_LINE: Final = r"(?:(?!-----)[\s\S]){0,2000}?(?:\n|\\n)\W{0,24}[A-Za-z0-9+/]{40}"
_TYPED_BLOCK: Final = rf"{_BEGIN}(?={_LINE})(?:(?!-----)[\s\S]){{0,20000}}{_END}"
"""A path in a sentence about keys isn't the key: that begins a line."""
_DISTINCT: Final = 10
"""Different characters of a key; `ghp_xxxx…` has fewer."""
_IN_ORDER: Final = ("abcdefghijklmnopqrstuvwxyz", "1234567890abcdef")
_MARKS: Final = re.compile(r"-----[^-]*-----")


class Typed(NamedTuple):
    """What a person typed, without secrets, and how many of those were left out."""

    text: str
    left_out: int


def typed(text: str, known: Iterable[str] = ()) -> Typed:
    """Replace these secrets, and what is a credential beyond doubt, by `[redacted]`."""
    secrets = [secret for secret in known if len(secret) >= SHORTEST]
    for pattern in _typed_patterns():
        secrets += [found[0] for found in pattern.finditer(text) if not _is_example(found[0])]
    left_out = 0
    for secret in sorted(set(secrets), key=len, reverse=True):  # One may be the beginning of another.
        left_out += secret in text
        text = text.replace(secret, REDACTED)
    return Typed(text, left_out)


def _is_example(key: str) -> bool:
    """Whether a key is none: it says so, repeats itself, or counts up."""
    body = _MARKS.sub("", key).lower()
    return "example" in body or len(set(body)) < _DISTINCT or any(part in body for part in _IN_ORDER)


def find(text: str) -> Iterator[str]:
    """Yield what looks like a credential: the secret itself, without the name that gave it away."""
    for pattern in _patterns():
        for match in pattern.finditer(text):
            yield match["secret"] if "secret" in pattern.groupindex else match[0]


def scrub(text: str, known: Iterable[str] = ()) -> str:
    """Replace these secrets, and whatever looks like one, by `[redacted]`. Scrubbing twice changes nothing more."""
    for secret in known:
        text = text.replace(secret, REDACTED) if len(secret) >= SHORTEST else text
    for pattern in _patterns():
        text = pattern.sub(_replaced, text)
    return text


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON data with each string in it changed, keys too."""
    match value:
        case str():
            return change(value)
        case dict():
            return {change(key): mapped(item, change) for key, item in value.items()}
        case list() | tuple():
            return [mapped(item, change) for item in value]
        case _:
            return value


def _replaced(match: re.Match[str]) -> str:
    if "secret" not in match.re.groupindex:
        return REDACTED
    start, end = (place - match.start() for place in match.span("secret"))
    return f"{match[0][:start]}{REDACTED}{match[0][end:]}"


@cache
def _typed_patterns() -> tuple[re.Pattern[str], ...]:
    prefixed = rf"(?<![A-Za-z0-9_])(?:{'|'.join(_TYPED)})"
    return tuple(re.compile(pattern) for pattern in (_TYPED_BLOCK, _BLOCKS[1], prefixed))


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the table, compiled when it is first needed: most commands never do."""
    prefixed = rf"(?<![A-Za-z0-9])(?:{'|'.join(_PREFIXED)})"
    return tuple(re.compile(pattern) for pattern in (*_BLOCKS, prefixed, *_PLACED))
