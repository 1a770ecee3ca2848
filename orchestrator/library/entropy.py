"""Strings that look drawn at random: keys of no known form, left out of what the library keeps.

Only here: a journal has to keep what happened, and an entry of the library is a sentence that loses little by it. A
string is 24 characters or more of base64, base62 or hex. It goes where its Shannon entropy is high and its letters
and digits change places more often than in words, names and versions. What stays: commits and digests where the word
before says what they are, or the line does and says nothing of a key; `sha256:…`, `sha512-…`, UUIDs, paths, numbers,
camelCase.

Measured with `secrets` and `base64`, 3,000 strings of each kind: hex of 96 bits and more is found in 99 %, base64 and
base62 of 24 to 32 characters in 91 to 99 %, of 40 and more in 95 to 99 %, letters of one case with digits in 92 to
99 %. Left out of this repository's documents (36,000 words) and history (500 commits), and of what 77 packages say of
themselves (100,000 words): nothing; of 724 files of Python here: planted keys, and git's id of an empty file; of
2,473 documents of a Debian (2.5 million words) 304, in keys, certificates and hex dumps; C++'s mangled names go as
well. detect-secrets (1.5.0, May 2024) looks only at strings in quotes, and takes camelCase for base64.

What is short, or of letters alone, can't be told from words; a number can't be told from a number.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

from orchestrator.redaction import REDACTED, scrub

_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,}={0,2}")
_LONGEST: Final = 4_096
"""Characters of a string that are looked at."""
_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_PIECE: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_DIGITS: Final = re.compile(r"[0-9]+")
_HEX: Final = re.compile(r"(?:0x)?(?:[0-9a-f]+|[0-9A-F]+)\Z")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_SHORTEST: Final = 24
_DIGESTS: Final = frozenset({32, 40, 56, 64, 96, 128})
"""Hex digits of MD5, SHA-1 (and so of a commit) and the SHA-2 family."""
_NAMED: Final = re.compile(
    r"commit|revision|\brev\b|\bgit\b|tree|blob|head|parent|merge|revert|bisect|since|\bsha|md5|blake|digest|checksum"
    r"|hash|etag|integrity|object|image|layer|container|\bbase\b",
    re.IGNORECASE,
)
_RIGHT_BEFORE: Final = re.compile(
    r"(?:\b|_)(?:commit|revision|rev|sha\d*|md5|digest|checksum|tree|blob|head|parent)\W{0,4}\Z", re.IGNORECASE
)
_OF_A_KEY: Final = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_MARKED: Final = re.compile(r"(?:sha\d{1,3}|md5|h1)[:=-]\Z", re.IGNORECASE)
_MARK: Final = re.compile(r"sha\d{1,3}-", re.IGNORECASE)
_BEFORE: Final = 80
# Bits for each character, and characters between two changes of kind; tried out on what is told above.
_HEX_BITS: Final = 3.0
_BITS: Final = 3.7
_RUN_LEAST: Final = 10
_ONE_CASE_LEAST: Final = 16
_ONE_CASE_GROUPS: Final = 3
_ONE_CASE_PIECE: Final = 5.5
_PIECE_ONCE: Final = 2.9
_PIECE_LONG: Final = 3.4
_WORD: Final = 3
_NAME_PIECE: Final = 2.2


def scrubbed(text: str) -> str:
    """Return text as the library keeps it: without what looks like a credential, or drawn at random."""
    return without_random(scrub(text))


def without_random(text: str) -> str:
    """Replace what looks drawn at random by `[redacted]`. Doing so twice changes nothing more."""
    return _TOKEN.sub(_replaced, text)


def _replaced(match: re.Match[str]) -> str:
    token = match[0]
    if "/" in token and _is_path(token):
        return "/".join(REDACTED if _is_random(part) and not _is_hex(part) else part for part in token.split("/"))
    return REDACTED if _is_random(token) and not _is_digest(match) else token


def _is_path(token: str) -> bool:
    """Whether most of what stands between the slashes are words; in base64 slashes stand anywhere."""
    parts = [part for part in token.split("/") if len(part) >= _WORD]
    return token[0] == "/" or 2 * sum(map(_is_name, parts)) >= len(parts)


def _is_name(part: str) -> bool:
    """Whether a part of a path is one as people give them, or a digest; base64 has such parts rarely."""
    if len(part) >= _SHORTEST:
        return _is_hex(part) or not _is_random(part)
    pieces = _PIECE.findall(part)
    return max(map(len, pieces), default=0) >= _WORD and sum(map(len, pieces)) >= _NAME_PIECE * len(pieces)


def _is_random(token: str) -> bool:
    token = token[:_LONGEST].rstrip("=")
    if len(token) < _SHORTEST or _UUID.match(token):
        return False
    if _is_hex(token):
        return _has_both(token.removeprefix("0x")) and _entropy(token) >= _HEX_BITS
    run = max(_RUN.findall(token), key=len, default="")
    return len(run) >= _RUN_LEAST and _is_mixed(run) and _entropy(token) >= _BITS


def _is_mixed(run: str) -> bool:
    """Whether letters and digits, large and small, change places more often than they do in names."""
    groups = len(_DIGITS.findall(run))
    if not _has_both(run):
        return False
    piece = len(run) / len(_PIECE.findall(run))
    if run in {run.lower(), run.upper()}:
        return len(run) >= _ONE_CASE_LEAST and groups >= _ONE_CASE_GROUPS and piece < _ONE_CASE_PIECE
    return piece < (_PIECE_LONG if groups > 1 else _PIECE_ONCE)


def _is_digest(match: re.Match[str]) -> bool:
    """Whether the line says that a string is a digest or a commit."""
    text, start = match.string, match.start()
    before = text[max(start - _BEFORE, text.rfind("\n", 0, start) + 1) : start]
    if _MARK.match(match[0]) or _MARKED.search(before):
        return True
    if not _is_hex(match[0]) or len(match[0]) not in _DIGESTS:
        return False
    if _RIGHT_BEFORE.search(before):
        return True
    return _NAMED.search(before) is not None and _OF_A_KEY.search(before) is None


def _is_hex(token: str) -> bool:
    return _HEX.match(token) is not None


def _has_both(token: str) -> bool:
    return any(sign.isdigit() for sign in token) and any(sign.isalpha() for sign in token)


def _entropy(token: str) -> float:
    """Return Shannon's entropy of its characters, in bits for each."""
    return -sum(count / len(token) * math.log2(count / len(token)) for count in Counter(token).values())
