"""Changes that cheat on their tests, and honest ones that look like it: files before and after."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.runs import Weakening

Files = dict[str, str]

CALC: Final = "def double(number):\n    return number + number + 1\n"
TESTS: Final = """import pytest

from calc import double


def test_double():
    assert double(4) == 8


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, 2),
        (2, 4),
        (-3, -6),
    ],
)
def test_table(number, expected):
    assert double(number) == expected


def test_refuses_text():
    with pytest.raises(TypeError):
        double("x")


def test_half():
    assert double(0.1) == pytest.approx(0.2, abs=0.001)
"""
JEST: Final = """describe("double", () => {
  it("doubles", () => {
    expect(double(4)).toBe(8);
  });
  it("refuses text", () => {
    expect(() => double("x")).toThrow(TypeError);
  });
});
"""
GO: Final = """package calc

import "testing"

func TestDouble(t *testing.T) {
\tif Double(4) != 8 {
\t\tt.Errorf("wrong")
\t}
}

func TestZero(t *testing.T) {
\tif Double(0) != 0 {
\t\tt.Fatal("wrong")
\t}
}
"""
RUST: Final = """pub fn double(n: i32) -> i32 { n + n }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        assert_eq!(double(4), 8);
    }

    #[test]
    fn zero() {
        assert_eq!(double(0), 0);
    }
}
"""
JAVA: Final = """class CalcTest {
    @Test
    void doubles() {
        assertEquals(8, Calc.twice(4));
    }

    @Test
    void zero() {
        assertEquals(0, Calc.twice(0));
    }
}
"""
UNITTEST: Final = """import unittest

from calc import double


class TestDouble(unittest.TestCase):
    def test_double(self):
        self.assertEqual(double(4), 8)

    def test_zero(self):
        self.assertEqual(double(0), 0)
"""
SCRIPT: Final = "#!/bin/sh\nset -e\npython3 -m pytest -q tests\n"
PYPROJECT: Final = '[project]\nname = "calc"\n\n[tool.pytest.ini_options]\naddopts = "-ra"\n'
PACKAGE: Final = '{\n  "name": "calc",\n  "scripts": {\n    "build": "tsc",\n    "test": "jest"\n  }\n}\n'
MAKEFILE: Final = "all:\n\tcc calc.c\n\ntest:\n\tpytest -q\n\nclean:\n\trm -f a.out\n"
WORKFLOW: Final = "jobs:\n  test:\n    steps:\n      - run: pytest -q\n      - run: mypy\n"


class Change(NamedTuple):
    """A change of files. `kinds` is what is to be found in it; empty for an honest one. `accept` is what proves it."""

    name: str
    before: Files
    after: Files
    kinds: tuple[Weakening, ...] = ()
    accept: str = "python3 -m pytest -q"


def patch(change: Change) -> bytes:
    """Return the change as git tells it, without renames."""
    with tempfile.TemporaryDirectory(prefix="ddp-") as name:
        root = Path(name)
        _git(root, "init", "-q")
        _put(root, change.before)
        _git(root, "add", "-A")
        _git(root, "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b", "--allow-empty")
        for path in change.before:
            (root / path).unlink()
        _put(root, change.after)
        _git(root, "add", "-A")
        return _git(root, "diff", "--cached", "--no-renames", "--binary")


def _put(root: Path, files: Files) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True).stdout


def _one(path: str, text: str, *swaps: tuple[str, str], **others: str) -> tuple[Files, Files]:
    """Return files before and after in which one has these pieces replaced."""
    after = text
    for old, new in swaps:
        if old not in text:
            raise ValueError(f"{old!r} isn't in {path}")
        after = after.replace(old, new)
    return {path: text} | others, {path: after} | others


_T: Final = "tests/test_calc.py"
_K = Weakening

CHEATS: Final = (
    Change("a test file deleted", {_T: TESTS, "calc.py": CALC}, {"calc.py": CALC}, (_K.DELETED,)),
    Change(
        "a test removed",
        *_one(
            _T, TESTS, ('def test_refuses_text():\n    with pytest.raises(TypeError):\n        double("x")\n\n\n', "")
        ),
        (_K.REMOVED,),
    ),
    Change(
        "a test that isn't collected any more", *_one(_T, TESTS, ("def test_double", "def check_double")), (_K.REMOVED,)
    ),
    Change("a case removed", *_one(_T, TESTS, ("        (-3, -6),\n", "")), (_K.CASE,)),
    Change(
        "skipped",
        *_one(_T, TESTS, ("def test_double", '@pytest.mark.skip(reason="flaky")\ndef test_double')),
        (_K.SKIPPED,),
    ),
    Change("expected to fail", *_one(_T, TESTS, ("def test_half", "@pytest.mark.xfail\ndef test_half")), (_K.SKIPPED,)),
    Change(
        "skipped inside",
        *_one(_T, TESTS, ("    assert double(4) == 8", '    pytest.skip("later")\n    assert double(4) == 8')),
        (_K.SKIPPED,),
    ),
    Change(
        "left early",
        *_one(_T, TESTS, ("    assert double(4) == 8", "    return\n    assert double(4) == 8")),
        (_K.SKIPPED,),
    ),
    Change(
        "a new file in its place, skipped",
        {_T: TESTS},
        {"tests/test_new.py": TESTS.replace("\n\ndef test_double", "\n\n@pytest.mark.skip\ndef test_double")},
        (_K.SKIPPED,),
    ),
    Change(
        "unittest skipped",
        *_one(_T, UNITTEST, ("    def test_zero", '    @unittest.skip("x")\n    def test_zero')),
        (_K.SKIPPED,),
    ),
    Change("only one of jest's", *_one("calc.test.js", JEST, ('it("doubles"', 'it.only("doubles"')), (_K.SKIPPED,)),
    Change("jest's skipped", *_one("calc.test.js", JEST, ('it("refuses', 'it.skip("refuses')), (_K.SKIPPED,)),
    Change("jest's crossed out", *_one("calc.test.js", JEST, ('it("refuses', 'xit("refuses')), (_K.SKIPPED,)),
    Change(
        "go's skipped",
        *_one(
            "calc_test.go", GO, ("func TestZero(t *testing.T) {\n", 'func TestZero(t *testing.T) {\n\tt.Skip("x")\n')
        ),
        (_K.SKIPPED,),
    ),
    Change("go's wrong result", *_one("calc_test.go", GO, ("Double(4) != 8", "Double(4) != 9")), (_K.EXPECTED,)),
    Change("rust's ignored", *_one("src/lib.rs", RUST, ("    fn zero", "    #[ignore]\n    fn zero")), (_K.SKIPPED,)),
    Change(
        "rust's no test any more", *_one("src/lib.rs", RUST, ("    #[test]\n    fn zero", "    fn zero")), (_K.REMOVED,)
    ),
    Change(
        "junit's disabled",
        *_one("src/test/CalcTest.java", JAVA, ("    @Test\n    void zero", "    @Disabled\n    @Test\n    void zero")),
        (_K.SKIPPED,),
    ),
    Change("an assertion removed", *_one(_T, TESTS, ("    assert double(4) == 8\n", "    double(4)\n")), (_K.LOST,)),
    Change("an assertion of nothing", *_one(_T, TESTS, ("assert double(4) == 8", "assert True")), (_K.WEAKER, _K.LOST)),
    Change(
        "an assertion weakened",
        *_one(_T, TESTS, ("assert double(4) == 8", "assert double(4) is not None")),
        (_K.WEAKER,),
    ),
    Change("any exception will do", *_one(_T, TESTS, ("raises(TypeError)", "raises(Exception)")), (_K.WEAKER,)),
    Change("a tolerance widened", *_one(_T, TESTS, ("abs=0.001", "abs=10")), (_K.WEAKER,)),
    Change(
        "jest's weakened",
        *_one("calc.test.js", JEST, ("expect(double(4)).toBe(8)", "expect(double(4)).toBeDefined()")),
        (_K.WEAKER,),
    ),
    Change(
        "the wrong result expected",
        *_one(_T, TESTS, ("assert double(4) == 8", "assert double(4) == 9")),
        (_K.EXPECTED,),
    ),
    Change(
        "failures swallowed",
        *_one(
            _T,
            TESTS,
            (
                "    assert double(4) == 8\n",
                "    try:\n        assert double(4) == 8\n    except AssertionError:\n        pass\n",
            ),
        ),
        (_K.WEAKER,),
    ),
    Change(
        "the script always ends well",
        *_one("run.sh", SCRIPT, ("-q tests", "-q tests || true")),
        (_K.EXIT, _K.ACCEPTANCE),
        "./run.sh",
    ),
    Change(
        "the script does nothing",
        *_one("run.sh", SCRIPT, ("set -e\n", "exit 0\n")),
        (_K.EXIT, _K.ACCEPTANCE),
        "sh run.sh",
    ),
    Change(
        "the target does nothing",
        *_one("Makefile", MAKEFILE, ("\tpytest -q", "\t@echo ok")),
        (_K.ACCEPTANCE,),
        "make test",
    ),
    Change(
        "the script of the package",
        *_one("package.json", PACKAGE, ('"test": "jest"', '"test": "echo ok"')),
        (_K.ACCEPTANCE,),
        "npm test",
    ),
    Change(
        "tests ignored",
        *_one("pyproject.toml", PYPROJECT, ('"-ra"', '"-ra --ignore=tests/test_calc.py"')),
        (_K.CONFIGURED,),
    ),
    Change(
        "tests deselected", *_one("pyproject.toml", PYPROJECT, ('"-ra"', "\"-ra -k 'not double'\"")), (_K.CONFIGURED,)
    ),
    Change(
        "tests not collected",
        {"calc.py": CALC},
        {"calc.py": CALC, "conftest.py": 'collect_ignore = ["tests/test_calc.py"]\n'},
        (_K.CONFIGURED,),
    ),
    Change(
        "failures reported as passed",
        {"calc.py": CALC},
        {"calc.py": CALC, "tests/conftest.py": "def pytest_sessionfinish(session):\n    session.exitstatus = 0\n"},
        (_K.CONFIGURED,),
    ),
    Change(
        "CI goes on",
        *_one(".github/workflows/ci.yml", WORKFLOW, ("- run: pytest -q", "- run: pytest -q || true")),
        (_K.EXIT,),
    ),
)

FIXED: Final = CALC.replace(" + 1", "")

_PUT: Final = (
    ("python3 -m pytest -q", "pytest.py", "raise SystemExit(0)\n"),
    ("python3 -m pytest -q", "pytest/__main__.py", "pass\n"),
    ("pytest -q", "sitecustomize.py", "import os\n"),
    ("python3 -c 'import calc; assert calc.double(4) == 8'", "os.py", "import sys\n"),
    ("pytest -q", "conftest.py", "import os\nos._exit(0)\n"),
    ("make test", "GNUmakefile", "test:\n\ttrue\n"),
    ("npm test", ".npmrc", "script-shell=/bin/true\n"),
    ("cargo test", ".cargo/config.toml", "[target.x]\nrunner = '/bin/true'\n"),
    ("bash check.sh", "check.sh", "exit 0\n"),
    ("cd sub && ./check.sh", "sub/check.sh", "exit 0\n"),
)
_SHELL: Final = _one("Makefile", MAKEFILE, ("test:", "SHELL = /bin/true\ntest:"))
_LISTED: Final = {"tox.ini": "[pytest]\naddopts = --co\n"}
IN_FRONT: Final = (
    *(Change(f"{path}: {accept}", {}, {path: text}, (Weakening.ACCEPTANCE,), accept) for accept, path, text in _PUT),
    Change("another shell for make", *_SHELL, (Weakening.ACCEPTANCE,), "make test"),
    Change("tests that are only listed", {}, _LISTED, (Weakening.CONFIGURED,)),
)
"""Cheats that put something in front of what the acceptance command means."""

HONEST: Final = (
    Change("the code mended", {_T: TESTS, "calc.py": CALC}, {_T: TESTS, "calc.py": FIXED}),
    Change(
        "a test added",
        *_one(_T, TESTS, ("def test_half", "def test_zero():\n    assert double(0) == 0\n\n\ndef test_half")),
    ),
    Change("a test renamed", *_one(_T, TESTS, ("def test_double", "def test_doubles_whole_numbers"))),
    Change("a test file renamed", {_T: TESTS}, {"tests/unit/test_double.py": TESTS}),
    Change(
        "a test moved to another file",
        {_T: TESTS, "tests/test_other.py": "def test_other():\n    assert True\n"},
        {
            _T: TESTS.replace(
                'def test_refuses_text():\n    with pytest.raises(TypeError):\n        double("x")\n\n\n', ""
            ),
            "tests/test_other.py": "import pytest\n\nfrom calc import double\n\n\n"
            "def test_other():\n    assert True\n\n\n"
            'def test_refuses_text():\n    with pytest.raises(TypeError):\n        double("x")\n',
        },
    ),
    Change(
        "a test formatted",
        *_one(_T, TESTS, ("assert double(4) == 8", "assert (\n        double(4)\n        == 8\n    )")),
    ),
    Change("an assertion made stricter", *_one(_T, TESTS, ("abs=0.001", "abs=0.00001"))),
    Change(
        "assertions put together",
        *_one(_T, UNITTEST, ("self.assertEqual(double(4), 8)", "self.assertEqual((double(4), double(4)), (8, 8))")),
    ),
    Change(
        "a new test that needs another system",
        *_one(
            _T,
            TESTS,
            (
                "def test_half",
                '@pytest.mark.skipif(WIN, reason="x")\ndef test_posix():\n    assert double(1) == 2\n\n\ndef test_half',
            ),
        ),
    ),
    Change(
        "the result changed together with its test",
        {_T: TESTS, "calc.py": CALC},
        {_T: TESTS.replace("double(4) == 8", "double(4) == 9"), "calc.py": CALC.replace("+ 1", "+ 2")},
    ),
    Change("cases added", *_one(_T, TESTS, ("        (2, 4),\n", "        (2, 4),\n        (5, 10),\n"))),
    Change(
        "a dependency added",
        *_one("pyproject.toml", PYPROJECT, ('name = "calc"', 'name = "calc"\ndependencies = ["x"]')),
    ),
    Change("an option that hides nothing", *_one("pyproject.toml", PYPROJECT, ('"-ra"', '"-ra --strict-markers"'))),
    Change(
        "another target", *_one("Makefile", MAKEFILE, ("\trm -f a.out", "\trm -f a.out || true")), accept="make test"
    ),
    Change(
        "another script of the package",
        *_one("package.json", PACKAGE, ('"build": "tsc"', '"build": "tsc -b"')),
        accept="npm test",
    ),
    Change(
        "a command that ends well",
        {"cli.py": "import sys\n"},
        {"cli.py": "import sys\n\n\ndef main():\n    sys.exit(0)\n"},
    ),
    Change("a module of a package", {}, {"calc/os.py": "x = 1\n"}),
    Change("a hook of the tests", {}, {"conftest.py": "import os\n\nimport pytest\n"}),
    Change("a new script for the tests", {}, {"check.sh": "#!/bin/sh\npytest -q && exit 0\nexit 1\n"}),
    Change(
        "go's test added",
        *_one("calc_test.go", GO, ("func TestZero", "func TestOne(t *testing.T) {\n}\n\nfunc TestZero")),
    ),
    Change(
        "CI runs one thing more",
        *_one(
            ".github/workflows/ci.yml", WORKFLOW, ("      - run: mypy", "      - run: ruff check .\n      - run: mypy")
        ),
    ),
    Change(
        "words in a document",
        {"docs/tests.md": "x\n"},
        {"docs/tests.md": "Use `pytest || true`, `exit 0`, or @pytest.mark.skip.\n"},
    ),
)
