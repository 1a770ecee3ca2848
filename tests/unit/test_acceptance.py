from __future__ import annotations

import pytest

from orchestrator.delivery.acceptance import guess, why_failed
from orchestrator.delivery.testcode import is_test
from orchestrator.runs import Verdict


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py",
        "test/x.js",
        "src/test_a.py",
        "a_test.go",
        "a.spec.ts",
        "conftest.py",
        "pkg/__tests__/b.js",
        "x/tests.py",
    ],
)
def test_tests_are_known_by_their_names(path: str) -> None:
    assert is_test(path)


@pytest.mark.parametrize("path", ["src/a.py", "latest.py", "contest.py", "attestation/key.py", "src/testament.py"])
def test_other_files_are_not(path: str) -> None:
    assert not is_test(path)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pytest.ini": b""}, "python3 -m pytest -q"),
        ({"pyproject.toml": b"[tool.pytest.ini_options]\n"}, "python3 -m pytest -q"),
        ({"a.py": b"", "tests/test_a.py": b""}, "python3 -m pytest -q"),
        ({"README.md": b"", "pyproject.toml": b"[project]"}, None),
        ({}, None),
    ],
)
def test_the_guess_is_what_the_repo_shows(files: dict[str, bytes], command: str | None) -> None:
    found = guess(list(files), files.get)
    assert (found.command if found else None) == command
    assert found is None or found.origin == "guess"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "the acceptance command fails on the final tree"),
        (126, "is no executable file"),
        (127, "isn't in the sandbox; name another by run --accept"),
        (None, "the acceptance command fails on the final tree"),
    ],
)
def test_a_command_that_never_ran_is_told_from_one_that_says_no(code: int | None, words: str) -> None:
    verdict = Verdict(command="x", exit_code=code, timed_out=code is None, output="", duration_s=0.1, tree="t")
    assert words in why_failed([verdict])
