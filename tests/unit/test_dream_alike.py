"""Whether two statements are one: what may differ in them, and what may not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pairs import CONTRADICTION, DIFFERENT, FRAMES, SAME, pairs
from orchestrator.dream.alike import Likeness, compare
from orchestrator.dream.statement import Statement


def likeness(one: str, other: str) -> Likeness:
    left, right = Statement.of(one), Statement.of(other)
    assert compare(left, right) == compare(right, left), "the order doesn't matter"
    return compare(left, right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Run the tests with `make test`.", "Use `make test` to run the tests"),
        ("The server listens on port 8080.", "Port 8080 is where the server listens."),
        ("Never edit generated files in src/gen.py", "Do not edit the generated files in src/gen.py."),
        ("Python 3.11 is required", "It requires Python 3.11"),
        ("Billing settings are read from conf/a.yaml", "conf/a.yaml holds the billing settings"),
        ("Set DATABASE_URL first, else migrations fail", "Migrations fail if DATABASE_URL is not set first"),
    ],
)
def test_the_same_in_other_words(one: str, other: str) -> None:
    assert likeness(one, other) is Likeness.SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The server listens on port 8080.", "The server listens on port 8081."),
        ("Settings are read from conf/a.yaml", "Settings are read from conf/b.yaml"),
        ("Run the tests with `make test`.", "Run the tests with `make check`."),
        ("Requests time out after 30 seconds", "Requests time out after 30 minutes"),
        ("The cache is not thread-safe", "The cache is thread-safe"),
        ("The flag --force is allowed", "The flag --force is forbidden"),
        ("parse_header returns None on empty input", "parseHeader returns None on empty input"),
    ],
)
def test_one_literal_or_one_no_is_a_contradiction(one: str, other: str) -> None:
    assert likeness(one, other) is Likeness.CONTRADICTION


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The billing service listens on port 8080.", "The search service listens on port 8080."),
        ("The server listens on port 8080.", "The mailer listens on port 8080."),
        ("Run the unit tests with `make test`.", "Run the integration tests with `make test`."),
        ("Use Python 3.11", "Use Python 3.11 and Redis 7"),
        ("", "The cache is not thread-safe"),
        ("`make test`", "Fails: `make test`, since nobody has installed the compiler"),
    ],
)
def test_what_is_only_similar_stays_apart(one: str, other: str) -> None:
    assert likeness(one, other) is not Likeness.SAME


def test_generated_pairs() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for pair in pairs(len(FRAMES) * 6):
        found[pair.kind, likeness(pair.one, pair.other)] += 1
    assert found[CONTRADICTION, Likeness.SAME] == 0, "a contradiction is never merged"
    assert found[DIFFERENT, Likeness.SAME] == 0
    assert found[SAME, Likeness.SAME] > 10 * found[SAME, Likeness.DIFFERENT]


@given(st.text(max_size=300), st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=200)
def test_no_text_hides_a_number(text: str, one: int, other: int) -> None:
    assert likeness(text, text) is not Likeness.CONTRADICTION
    if one != other:
        assert likeness(f"{text} {one}", f"{text} {other}") is not Likeness.SAME


def test_a_long_text_costs_no_time_to_speak_of() -> None:
    assert likeness("a" * 10**6, "b " * 10**6) is Likeness.DIFFERENT
    assert likeness("`" * 10**5, '"' * 10**5) is not Likeness.CONTRADICTION
