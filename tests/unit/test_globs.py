"""Globs over paths: what comes under them, said in a table; and that nobody's path makes them slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.approvals import Approvals
from orchestrator.globs import first_match

NAME = st.text(st.sampled_from("ab.*?[]!-x"), min_size=1, max_size=6).filter(lambda name: name not in {".", ".."})


@pytest.mark.parametrize(
    ("pattern", "under", "beside"),
    [
        ("*.lock", ["x.lock", "a/b/x.lock", "a.lock/x"], ["x.lockk", "lock", "X.LOCK"]),
        ("migrations", ["migrations", "a/migrations/b/c"], ["migrations2/a"]),
        ("migrations/", ["migrations/a", "a/migrations/b"], ["migrations", "a/migrations"]),
        ("migrations/**", ["migrations/a", "migrations/a/b"], ["migrations", "x/migrations/a"]),
        ("**/migrations/**", ["migrations/a", "x/y/migrations/a"], ["migrations"]),
        ("/Makefile", ["Makefile"], ["a/Makefile"]),
        ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c", "x/a/b/c"]),
        ("a/**/c", ["a/c", "a/x/y/c"], ["a/x/y/d", "ac"]),
        ("a/**/**/c", ["a/c", "a/x/c"], ["c"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "x/src/a.py"]),
        ("[!a]?.py", ["z/bc.py"], ["z/ac.py", "b.py"]),
        ("**", ["a", "a/b"], []),
        (".*", [".github/workflows/x.yml", "a/.envrc"], ["a.b"]),
    ],
)
def test_what_comes_under_a_glob(pattern: str, under: list[str], beside: list[str]) -> None:
    assert [path for path in under if not first_match(path, (pattern,))] == []
    assert [path for path in beside if first_match(path, (pattern,))] == []


@given(st.lists(NAME, min_size=1, max_size=4), st.lists(NAME, max_size=3))
def test_a_path_comes_under_its_own_name_and_its_folders(names: list[str], more: list[str]) -> None:
    literal = ["".join(f"[{c}]" if c in "*?[" else c for c in name) for name in names]
    assert first_match("/".join([*names, *more]), ("/" + "/".join(literal),))
    assert first_match("/".join([*more, *names]), ("**/" + "/".join(literal),))


def test_no_path_makes_a_glob_slow() -> None:
    began = time.monotonic()
    assert not first_match("/".join("a" * 2000), ("**/a/**/a/**/a/**/a/**/b",))
    assert not first_match("a" * 4000, ("*a*a*a*a*a*a*a*a*b",))
    assert not first_match("/".join("a" * 2000), ("**/" * 166 + "b",))
    assert time.monotonic() - began < 1


def test_the_first_of_several_is_named() -> None:
    assert first_match("a/x.lock", ("b/**", "*.lock", "a/**")) == "*.lock"
    assert first_match("a/x.lock", ()) == ""


@pytest.mark.parametrize("pattern", ["!keep", "/", "//", ""])
def test_a_pattern_that_names_no_files_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Approvals(paths=(pattern,))
