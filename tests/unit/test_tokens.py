from __future__ import annotations

import json
from pathlib import Path
from time import process_time

import pytest

from orchestrator.tokens import estimate

COUNTED = json.loads(Path(__file__).with_name("counted.json").read_text(encoding="utf-8"))
"""Texts and how many tokens they have in o200k_base, as counted with gpt-tokenizer 4."""


@pytest.mark.parametrize("text", COUNTED, ids=[text["kind"] for text in COUNTED])
def test_the_estimate_is_near_what_a_tokenizer_counts(text: dict[str, str | int]) -> None:
    assert estimate(str(text["text"])) == pytest.approx(text["tokens"], rel=0.15)


def test_a_long_text_is_estimated_by_pieces_from_all_over_it() -> None:
    by_kind = {text["kind"]: text["text"] for text in COUNTED}
    prose, listing = by_kind["prose"] * 900, by_kind["ls -l"] * 1000
    both = estimate(by_kind["prose"]) * 900 + estimate(by_kind["ls -l"]) * 1000
    assert estimate(prose + listing) == pytest.approx(both, rel=0.05)


def test_a_megabyte_is_estimated_at_once() -> None:
    for text in COUNTED:
        megabyte = (text["text"] * 20_000)[: 1024**2]
        began = process_time()
        for _ in range(5):
            estimate(megabyte)
        assert (process_time() - began) / 5 < 0.015, text["kind"]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        (" ", 0, 1),
        ("a", 1, 1),
        ("=" * 10_000, 1, 600),
        ("─" * 10_000, 1, 1500),
        ("\0" * 1000, 1, 1000),
        ("\ud800" * 10, 1, 20),
        ("🎉" * 100, 100, 300),
        ("0" * 3000, 500, 1500),
        ("acgttgacca" * 400, 1000, 2500),
        (" " * 3000, 1, 400),
        ("\n" * 3000, 1, 2000),
    ],
)
def test_odd_texts_have_a_count_too(text: str, least: int, most: int) -> None:
    assert least <= estimate(text) <= most
