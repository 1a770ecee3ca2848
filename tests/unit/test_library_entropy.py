"""Strings drawn at random are left out of the library, and nothing that people write by hand is."""

from __future__ import annotations

import base64
import random
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.library.entropy import without_random
from orchestrator.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable


def _seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # The same keys each time; they open nothing.


ROOT = Path(__file__).resolve().parents[2]
COMMIT = "b6538d6f0a4c8b1de2957c33f1a60e9d8842c71f"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
DRAWN: dict[str, tuple[Callable[[random.Random], str], float]] = {
    "hex of 128 bits": (lambda draw: draw.randbytes(16).hex(), 0.99),
    "hex of 256 bits": (lambda draw: draw.randbytes(32).hex(), 0.99),
    "base64 of 192 bits": (lambda draw: base64.b64encode(draw.randbytes(24)).decode(), 0.89),
    "base64 of 256 bits": (lambda draw: base64.b64encode(draw.randbytes(32)).decode(), 0.93),
    "urlsafe base64 of 256 bits": (lambda draw: base64.urlsafe_b64encode(draw.randbytes(32)).decode(), 0.93),
    "40 letters and digits": (lambda draw: "".join(draw.choices(string.ascii_letters + string.digits, k=40)), 0.98),
    "32 small letters and digits": (
        lambda draw: "".join(draw.choices(string.ascii_lowercase + string.digits, k=32)),
        0.97,
    ),
    "base32 of 160 bits": (lambda draw: base64.b32encode(draw.randbytes(20)).decode(), 0.9),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_what_is_drawn_at_random_is_found(kind: str) -> None:
    make, share = DRAWN[kind]
    draw = _seeded(7)
    found = sum(REDACTED in without_random(f"call it with {make(draw)}, then wait") for _ in range(1000))
    assert found >= 1000 * share


@pytest.mark.parametrize(
    "text",
    [
        f"It broke with commit {COMMIT}.",
        f"git checkout {COMMIT}",
        f"fixed since {COMMIT}",
        f"the lookup of tokens broke with commit {COMMIT}",
        f'"command": "pytest tests/test_auth.py", "commit": "{COMMIT}"',
        f"the digest is sha256:{SHA256}",
        f"pinned to python@sha256:{SHA256}",
        f'integrity "sha512-{base64.b64encode(_seeded(1).randbytes(64)).decode()}"',
        f"example.org/mod v1.2.3 h1:{base64.b64encode(_seeded(2).randbytes(32)).decode()}",
        "the run 0b5f3c1e-8f3e-4c64-9a0e-0f8a6f7d2c11 was lost",
        "see tests/unit/test_library_recall_2.py and /usr/lib/python3.11/site-packages/foo_bar2/baz.py",
        f"it's in .git/objects/b6/{COMMIT[2:]}",
        f"cached below ~/.cache/thing/v2/{SHA256}/lib",
        "callFunctionCheckIfDataAlreadyExistsPerpetualSubinventory",
        "recallNoticesRecallBusinessUnits-validation-group-1297083594-1",
        "assignVariablesOjTabBar1482653721SelectedItem",
        "dreamdock-0.4.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "1.27.3-alpha.4+build.20261126T120000 of 2026-11-26T08-09-15Z",
        "123456789012345678901234567890 rows, 0000000000000000000000000000000000000000",
        "DREAMDOCK_LIBRARY__RECALL_TOKENS=2000 and X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS2",
        "https://docs.example.org/en/v3.11/library/asyncio-task.html#asyncio.TaskGroup.create_task",
        "xmlSecTransformExclC14NWithCommentsId",
        "================================= 3 passed ================================",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert without_random(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"the old api token was {COMMIT}",
        f"the key for the git mirror is {COMMIT}",
        "curl https://api.example.org/v1/Zk3Qb7XwT9mLr2Vn8Jc5Hd4Y/items",
        "https://example.org/hook?id=Zk3Qb7XwT9mLr2Vn8Jc5Hd4Y",
        '"value": "Zk3Qb7XwT9mLr2Vn8Jc5Hd4Y"',
    ],
)
def test_a_key_in_a_sentence_or_an_address_goes(text: str) -> None:
    clean = without_random(text)
    assert clean.count(REDACTED) == 1
    assert without_random(clean) == clean


def test_none_of_our_own_documents_loses_a_word() -> None:
    for page in (*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert without_random(text) == text, page


@given(st.text(alphabet=string.ascii_letters + string.digits + "+/=_- .\n", max_size=300))
def test_twice_is_once(text: str) -> None:
    once = without_random(text)
    assert without_random(once) == once
