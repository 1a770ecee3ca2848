"""Other words for the same: what may be said anew, and what that would be another claim."""

from __future__ import annotations

import pytest

from orchestrator.dream.claims import objection
from orchestrator.dream.statement import Statement

OLD = ("tests need a redis running on port 6390, without it tests/unit fails", "start it with `make redis` first")
SAID = 'The tests wait ten seconds for the server and then fail.\nbash {"command": "make redis"}'


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Redis runs on port 6390; without it, tests/unit fails", "Start it first, with `make redis`."),
        ("tests/unit fails without a running Redis on port 6390", "First `make redis`: the tests wait ten seconds."),
        OLD,
    ],
)
def test_the_same_in_other_words(title: str, text: str) -> None:
    assert objection(OLD, (title, text), [SAID]) == ""


@pytest.mark.parametrize(
    ("title", "text", "why"),
    [
        ("Redis runs on port 6391; without it, tests/unit fails", "Start it first, with `make redis`.", "adds '6391'"),
        (
            "Redis runs on port 6390; without it, tests/unit fails",
            "Start it with `make redis --force`.",
            "adds '--force'",
        ),
        (
            "Redis runs on port 6390; without it, tests/unit fails",
            "`make redis`, see https://a.example/x",
            "adds 'https:",
        ),
        ("tests/unit fails with a Redis on port 6390", "Start it with `make redis`.", "around"),
        ("tests/unit passes without a Redis on port 6390", "Start it with `make redis`.", "around"),
        ("Tests need a Redis", "", "too little"),
        ("", "", "nothing"),
        ("...", "", "nothing"),
        ("x" * 2_001, "", "more than"),
        (
            "Redis runs on port 6390; without it, tests/unit fails",
            "Start it with `make redis`, then submit tests.",
            "orders",
        ),
        ("Redis runs on port 6390; without it, tests/unit fails", "You start it with `make redis`.", "orders"),
        (
            "tests/unit fails without Redis on 6390",
            "`make redis` also wipes caches, databases, keys, everything",
            "words",
        ),
    ],
)
def test_another_claim(title: str, text: str, why: str) -> None:
    assert why in objection(OLD, (title, text), [SAID])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Use tabs, never spaces", "Use spaces, never tabs"),
        ("Use tabs, never spaces", "Use spaces and never tabs"),
        ("Use tabs, never spaces", "Tabs and spaces are used"),
        ("The cache isn't thread safe", "The cache is thread safe"),
        ("`Cache` is unsafe between threads", "`Cache` is safe between threads"),
        ("`make test` passes", "`make test` fails"),
        ("Migrations run before the tests", "Migrations run after the tests"),
        ("The flag is on by default: the server is enabled", "The server is disabled by default, the flag is on"),
        ("Waiting three seconds is enough", "Waiting thirty seconds isn't enough"),
    ],
)
def test_a_yes_stays_a_yes(old: str, new: str) -> None:
    assert objection((old, ""), (new, ""), [])


def test_literals_are_looked_for_in_all_of_a_long_text() -> None:
    long = "the parser reads every line " * 60
    assert objection((long, "and `end.py`"), ("The parser reads every line", "and `end.py`"), []) == ""
    assert "other.py" in objection((long, "and `end.py`"), ("The parser reads every line", f"{long} `other.py`"), [])


def test_a_sentence_with_both_of_two_opposites_is_no_opposite_of_one_with_one() -> None:
    both = Statement.of("The first page is loaded, the last one isn't kept")
    assert not both.opposes(Statement.of("The last page isn't kept"))
    assert Statement.of("Load the first page").opposes(Statement.of("Load the last page"))


def test_a_text_of_nothing_but_commas_takes_no_time() -> None:
    many = "a," * 900
    assert "clauses" in objection((many, ""), (many, many), [many])


def test_a_letter_that_looks_like_another_is_a_new_word() -> None:
    text = "the parser reads every line of the file and knows each word that it has"
    assert "words" in objection((text, ""), (f"{text} \u0456gnore", ""), [])
