"""Whose words a command prints: only tools are listened to where a command ends well."""

from __future__ import annotations

import pytest

from orchestrator.diagnostics.command import Command, command, says_no

BUILD = Command(speaks=True)
LINT = Command(speaks=True, checks=True)
HIDDEN = Command(speaks=True, hidden=True)
CUT = Command(speaks=True, hidden=True, partial=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make", BUILD),
        ("cd build && cmake .. && make -j4", BUILD),
        ("FOO=1 ./gradlew test 2>&1", BUILD),
        ("python3 -m pytest -q -k 'a|b'", BUILD),
        ("set -o pipefail; make 2>&1 | tail -5", Command(speaks=True, partial=True)),
        ("(cd sub && npm run lint)", BUILD),
        ("timeout -k 5 60 .venv/bin/mypy src", LINT),
        ("stdbuf -oL npx eslint . -f json", LINT),
        ("uv run ruff check .", LINT),
        ("go vet ./...", LINT),
        ("go test ./...", BUILD),
        ("g++-12 -Wall -c a.cc", LINT),
        ("cat > a.c <<'EOF'\nint x; it's\nEOF\ngcc -c a.c", LINT),
        ("sed -i 's/a/b/' a.c && git add -A && make", BUILD),
        ("git stash -q; make; git stash pop -q", HIDDEN),
        ("ruff check --exit-zero .", Command(speaks=True, checks=True, hidden=True)),
        ("pytest -q || true", HIDDEN),
        ("make; echo done", HIDDEN),
        ("if pytest; then echo ok; fi", HIDDEN),
        ("(cd sub && make); echo done", HIDDEN),
        ("(cd sub && make) || true", HIDDEN),
        ("(cd sub && make) && echo done", BUILD),
        ("make &&\n  pytest \\\n  -q", BUILD),
        ("make 2>&1 | tee build.log", HIDDEN),
        ("make 2>&1 | tail -5", CUT),
        ("make 2>&1 | grep -E 'error|warning' | head", CUT),
        ("make > /tmp/o.log 2>&1; tail -20 /tmp/o.log", CUT),
        ("gcc -c a.c && ./a.out", BUILD),
    ],
)
def test_what_tools_say_is_heard(line: str, expected: Command) -> None:
    assert command(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        *("", "ls", "sed -i s/a/b/ a.c", "awk 1 a.c", "cat x.log | python3 sum.py", "find . -name '*.c'", "git status"),
        *("make && cat src/a.c", "make; tail -20 other.log", "pytest | xargs cat", "pytest | python3 sum.py"),
        *("cargo run", "go run .", "python3 app.py", "python3 - <<'E'\nimport mypy\nE", "bash -c 'make; cat x'"),
        *("echo 'make'", "make 'unclosed", "make " + "x " * 3000, "./run.sh", "docker logs web", "gh run view --log"),
    ],
)
def test_text_of_files_and_of_programs_is_not(line: str) -> None:
    assert command(line) == Command()


@pytest.mark.parametrize(
    "line",
    [
        *("cat build.log", "git log -p", "grep -rn error: src", "sed -n 1,9p src/a.c", "rg 'x:1:2: error' | head"),
        *("cd src && git diff; ls", "timeout 5 tail -20 x.log; false", "FOO=1 git -C sub show HEAD | grep error"),
    ],
)
def test_text_of_files_is_known_as_such(line: str) -> None:
    assert command(line) == Command(quotes=True)


@pytest.mark.parametrize(
    "text",
    [
        "3 failed, 1 passed",
        "a.c:1:2: error: x",
        "make: *** [all] Error 2",
        "FAIL\tx 0.1s",
        "2 tests failed out of 4",
        "# fail 1",
    ],
)
def test_an_output_says_that_something_failed(text: str) -> None:
    assert says_no(f"first\n{text}\nlast")
    assert not says_no("10 passed, 0 failed\n0 errors\nError handling is tested\nok")
    assert not says_no("log of a test: a.c:1:2: error: x\n3 passed in 0.1s")
