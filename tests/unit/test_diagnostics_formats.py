"""What each tool printed of one small broken project, and the places that a person finds in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.diagnostic import Diagnostic, Severity
from orchestrator.diagnostics.paths import Files
from orchestrator.diagnostics.reading import read

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTPUT = Path(__file__).parent / "tool_output"
_LINTED = (
    "pkg/__init__.py:1 pkg/core.py:1 pkg/core.py:11 tests/test_core.py:1 tests/test_core.py:9 tests/test_core.py:22"
    " tests/test_core.py:31 tests/test_core.py:32 tests/test_core.py:42 tests/test_import.py:1 tests/test_syntax.py:1"
)
_TESTED = (
    "tests/test_core.py:22 tests/test_core.py:9 pkg/core.py:11 pkg/core.py:6 tests/test_core.py:32"
    " tests/test_core.py:37 tests/test_core.py:42"
)
_RUST = "src/lib.rs:1 src/other.rs:1 src/lib.rs:4 src/lib.rs:3 src/lib.rs:5"
PLACES = {
    "black.txt": "py/tests/test_syntax.py:1",
    "cargo.txt": _RUST,
    "cargo_color.txt": _RUST,
    "cargo_json.txt": _RUST,
    "cargo_short.txt": _RUST,
    "cargo_test.txt": "src/lib.rs:5 src/lib.rs:1",
    "cargo_test_bt.txt": "src/lib.rs:1 src/lib.rs:5",
    "clang.txt": "inc/shape.h:4 src/main.cpp:5 src/main.cpp:7 src/main.cpp:8 inc/shape.h:2",
    "clang_link.txt": "src/link.c:2 c/src/link.c:2",
    "cmake.txt": "inc.cmake:1 inc.cmake:3 CMakeLists.txt:5",
    "compileall.txt": "tests/test_syntax.py:1",
    "doctest.txt": "py/half.py:4 py/half.py:10",
    "eslint_json.txt": "js/src/a.js:1 js/src/a.js:3 js/src/a.js:4 js/src/a.js:6 js/src/bad.js:1",
    "eslint_stylish.txt": "js/src/a.js:1 js/src/a.js:3 js/src/a.js:4 js/src/a.js:6 js/src/bad.js:1",
    "flake8.txt": "pkg/core.py:1 tests/test_import.py:1 tests/test_import.py:3 tests/test_syntax.py:1",
    "gcc_color.txt": "src/main.cpp:5 src/main.cpp:7 src/main.cpp:8 inc/shape.h:2",
    "gcc_json.txt": "src/link.c:2",
    "gcc_link.txt": "c/src/link.c:2",
    "gcc_make.txt": "c/inc/shape.h:4 c/src/main.cpp:5 c/src/main.cpp:7 c/src/main.cpp:8 c/inc/shape.h:2",
    "go_build.txt": "main.go:5 main.go:9 main.go:11",
    "go_panic.txt": "/tmp/p.go:2",  # noqa: S108  # Where the program of the fixture lay.
    "go_test.txt": "s_test.go:9 s_test.go:17 go/sub/s.go:5",
    "go_test_json.txt": "s_test.go:9 s_test.go:17 go/sub/s.go:5",
    "go_test_v.txt": "s_test.go:9 s_test.go:17 go/sub/s.go:5",
    "go_vet.txt": "main.go:9 sub/s.go:7",
    "java_trace.txt": "com/x/B.java:4 com/x/B.java:3",
    "javac.txt": "com/x/A.java:4 com/x/A.java:5",
    "jest.txt": "test/a.test.js:2 src/a.js:3",
    "junit.xml": _TESTED,
    "make_bad.txt": "c/Makefile.bad:6",
    "make_norule.txt": "",
    "mocha.txt": "test/m.js:2",
    "mypy.txt": "pkg/core.py:12 pkg/core.py:17",
    "mypy_json.txt": "pkg/core.py:12 pkg/core.py:17",
    "mypy_pretty.txt": "pkg/core.py:12 pkg/core.py:17",
    "node_reject.txt": "",
    "node_syntax.txt": "js/src/bad.js:1",
    "node_test.txt": "js/test/n.mjs:3 js/test/n.mjs:4",
    "node_test_broken.txt": "js/src/bad.mjs:1 js/test/bad.mjs:1",
    "node_test_spec.txt": "js/test/n.mjs:3 js/test/n.mjs:4",
    "node_throw.txt": "js/src/a.js:3",
    "py_chain.txt": "py/pkg/core.py:6",
    "py_compile.txt": "tests/test_syntax.py:1",
    "py_syntax.txt": "py/tests/test_syntax.py:1",
    "pylint_json.txt": "pkg/core.py:1 pkg/core.py:5 pkg/core.py:9 pkg/core.py:11 pkg/core.py:15 pkg/core.py:16",
    "pyright.txt": "py/pkg/core.py:12 py/pkg/core.py:17",
    "pyright_json.txt": "py/pkg/core.py:12 py/pkg/core.py:17",
    "pytest_collect.txt": "tests/test_import.py:1 py/tests/test_syntax.py:1",
    "pytest_long.txt": _TESTED,
    "pytest_rA.txt": _TESTED,
    "pytest_short.txt": _TESTED,
    "ruff_concise.txt": _LINTED,
    "ruff_full.txt": _LINTED,
    "ruff_grouped.txt": _LINTED,
    "tsc.txt": "ts/a.ts:2 ts/a.ts:4 ts/a.ts:5",
    "tsc_pretty.txt": "ts/a.ts:2 ts/a.ts:4 ts/a.ts:5",
    "unittest.txt": "py/pkg/core.py:11 py/tests/plain_case.py:5",
    "vitest.txt": "vt/v.test.js:2",
}


def output(name: str) -> str:
    return (OUTPUT / name).read_text(encoding="utf-8")


def places(found: tuple[Diagnostic, ...]) -> set[str]:
    return {f"{one.file}:{one.line}" for one in found if one.line and one.tool != "python"}


@pytest.mark.parametrize("name", sorted(PLACES))
def test_each_place_that_a_tool_names_is_found_and_no_other(name: str) -> None:
    found = read(output(name), files=Files(root="/workspace"))
    # pytest's summary of warnings is beside the point here.
    warned = {"py/tests/test_core.py:31"} if name.startswith("pytest") else set[str]()
    assert {f"{one.file}:{one.line}" for one in found if one.line} - warned == set(PLACES[name].split())


def only(text: str, *, known: Sequence[str] = (), cwd: str = "") -> Diagnostic:
    def find(names: frozenset[str]) -> list[str]:
        return [path for path in known if path.rpartition("/")[2] in names]

    (one,) = read(text, files=Files(find, cwd=cwd))
    return one


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("src/a.c:3:5: fatal error: x.h: No such file", ("src/a.c", 3, 5, "error", "", "gcc")),
        ("src/a.c:3:5: warning: unused 'x' [-Wunused]", ("src/a.c", 3, 5, "warning", "-Wunused", "gcc")),
        (
            "[javac] C:\\a b\\A.java:3: warning: [unchecked] call",
            ("C:\\a b\\A.java", 3, 0, "warning", "unchecked", "javac"),
        ),
        ("[ERROR] /workspace/src/A.java:[3,5] cannot find symbol", ("src/A.java", 3, 5, "error", "", "javac")),
        ("12:00:01 [WARNING] /workspace/A.java:[3,5] [unchecked] x", ("A.java", 3, 5, "warning", "unchecked", "javac")),
        ("e: file:///workspace/src/A.kt:3:5 unresolved", ("src/A.kt", 3, 5, "error", "", "kotlinc")),
        ("w: /workspace/src/A.kt: (3, 5): unchecked cast", ("src/A.kt", 3, 5, "warning", "", "kotlinc")),
        ("src/a.ts(3,5): error TS2304: Cannot find name", ("src/a.ts", 3, 5, "error", "TS2304", "tsc")),
        ("/workspace/a.js:3:5: 'x' is not defined. [Error/no-undef]", ("a.js", 3, 5, "error", "no-undef", "eslint")),
        ("a.js: line 3, col 5, Warning - Strings. (quotes)", ("a.js", 3, 5, "warning", "quotes", "eslint")),
        ("vet: ./x.go:3:5: undefined: y", ("x.go", 3, 5, "error", "", "go")),
        ("a/b.py:3: error: No [attr-defined]", ("a/b.py", 3, 0, "error", "attr-defined", "mypy")),
        ("a.py:3:5: F401 [*] `os` imported but unused", ("a.py", 3, 5, "error", "F401", "lint")),
        ("a.rb:3:5: W: Useless assignment", ("a.rb", 3, 5, "warning", "", "")),
        ("a.yml:3:5: [warning] missing document start", ("a.yml", 3, 5, "warning", "", "")),
        ("[/workspace/x.go:3] - G304 (CWE-22): Potential", ("x.go", 3, 0, "error", "", "")),
        ("Complex - [foo] at /workspace/X.kt:3:5 - x", ("X.kt", 3, 5, "error", "", "kotlinc")),
        ("%Warning-WIDTH: top.v:3:5: Operator", ("top.v", 3, 5, "warning", "", "")),
        ("PHP Parse error:  unexpected '}' in /workspace/y.php on line 3", ("y.php", 3, 0, "error", "", "")),
        ("prog.f90:3:5:\n\n  x = y\n  1\nError: no type", ("prog.f90", 3, 5, "error", "", "")),
        ("spec.rb:3:in `foo': undefined (NoMethodError)", ("spec.rb", 3, 0, "error", "NoMethodError", "")),
        ("[ERROR] High: Null At A.java:[line 3] NP", ("A.java", 3, 0, "error", "NP", "spotbugs")),
        ("./a.py:3 at module level:\n   D100: Missing", ("a.py", 3, 0, "error", "", "python")),
        ("Dockerfile:3 DL3008 warning: Pin", ("Dockerfile", 3, 0, "error", "DL3008", "")),
        ("\u2718 [ERROR] No x\n\n    src/a.ts:3:5:\n", ("src/a.ts", 3, 5, "error", "", "tsc")),
        ("src/main.cpp(3): warning C4244: conversion", ("src/main.cpp", 3, 0, "warning", "C4244", "gcc")),
        ("a.sh: line 3: syntax error near unexpected token", ("a.sh", 3, 0, "error", "", "")),
        ("prog: ./src/a.c:3: f: Assertion `x < 5' failed.", ("src/a.c", 3, 0, "error", "", "assert")),
        ("prog: a.cc:3: void a::f(int): Assertion `x' failed.", ("a.cc", 3, 0, "error", "", "assert")),
        ("Makefile:3: *** missing separator.  Stop.", ("Makefile", 3, 0, "error", "", "make")),
        ("thread 'main' panicked at 'no', src/a.rs:3:5", ("src/a.rs", 3, 5, "error", "main", "rustc")),
        ("[ERROR]   FooTest.bar:3 expected: <1>", ("FooTest.java", 3, 0, "error", "FooTest.bar", "maven")),
        ("[ERROR] Malformed POM: x @ /workspace/pom.xml, line 3, column 5", ("pom.xml", 3, 5, "error", "", "maven")),
    ],
)
def test_a_line_of_each_format(line: str, expected: tuple[str, int, int, str, str, str]) -> None:
    one = only(line)
    assert (one.file, one.line, one.column, one.severity, one.code, one.tool) == expected


@pytest.mark.parametrize(
    "line",
    [
        "14:57:50 done",
        "2024-05-01 12:05:33,123 INFO server: listening on localhost:8080",
        "http://example.com:8080/path: 200",
        "identity oid:b694f709.1b014e0d:03:05:8f:bc:23@vobuuid:9a:23:03:11:84:a1 1",
        "src/a.py:12:    return x",
        "src/A.java:12:import java.util.List;",
        "Tests run: 3, Failures: 0",
        "db.example.com:5432: connection refused",
        "INFO connected at foo.bar:80",
        "x.py:12:5:        code",
        "2024/05/01 12:05:33 main.go:12: listening on :8080",
        '{"port":8080,"time":"12:05:33"}',
        "Compiling a.cpp (3 of 7)",
        "=== RUN   TestX\n    x_test.go:3: only a log\n--- PASS: TestX (0.00s)",
    ],
)
def test_what_looks_like_a_place_and_is_none(line: str) -> None:
    assert read(line) == ()


def test_a_gradle_build_file_is_named_with_what_went_wrong() -> None:
    text = "* Where:\nBuild file '/workspace/build.gradle' line: 12\n\n* What went wrong:\nCould not find method x()\n"
    one = only(text)
    assert (one.file, one.line, one.message) == ("build.gradle", 12, "Could not find method x()")


def test_a_failed_gradle_test_is_found_by_its_name() -> None:
    one = only(
        "FooTest > bar FAILED\n    java.lang.AssertionError at FooTest.java:3\n", known=["src/test/FooTest.java"]
    )
    assert (one.file, one.line, one.code) == ("src/test/FooTest.java", 3, "FooTest > bar")


def test_an_example_of_doctest_says_what_came_instead() -> None:
    messages = [one.message for one in read(output("doctest.txt"))]
    assert messages[0] == "half(4): expected 3.0, got 2.0"
    assert messages[1].startswith('half("4"): TypeError: unsupported operand')
    assert messages[2].startswith("half(None) is None: TypeError")


def test_a_unittest_is_named_once_by_old_and_new_pythons() -> None:
    failed = 'Traceback (most recent call last):\n  File "a.py", line 3, in test_x\n    f()\nValueError: no\n'
    named = [only(f"ERROR: test_x ({of})\n{'-' * 70}\n{failed}").code for of in ("a.Case", "a.Case.test_x")]
    assert named == ["a.Case.test_x"] * 2


def test_a_long_function_that_pytest_prints_doesnt_part_an_error_from_its_test() -> None:
    whole = "\n".join(f"    line {number} of its docstring" for number in range(2_000))
    one = only(
        "_____ test_x _____\n\n>   f()\n\ntest_a.py:3: \n_ _ _ _ _\n\n"
        f"    def f():\n{whole}\n>       raise KeyError(1)\nE       KeyError: 1\n\na.py:2005: KeyError\n"
    )
    assert (one.code, [frame.file for frame in one.frames]) == ("test_x", ["test_a.py", "a.py"])


def test_the_frames_of_the_repository_are_marked_and_place_the_diagnostic() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/workspace/a.py", line 3, in f\n    g()\n'
        '  File "/usr/lib/python3/dist-packages/lib.py", line 9, in g\n    raise X\nlib.X: no\n'
    )
    one = only(text)
    assert (one.file, one.line, one.message) == ("a.py", 3, "lib.X: no")
    assert [(frame.line, frame.ours) for frame in one.frames] == [(3, True), (9, False)]


def test_names_alone_are_found_among_the_known_files_where_only_one_has_them() -> None:
    text = "--- FAIL: TestDiv (0.00s)\n    s_test.go:9: got 2\n"
    assert only(text, known=["go/sub/s_test.go", "go/sub/s.go"]).file == "go/sub/s_test.go"
    assert only(text, known=["a/s_test.go", "b/s_test.go"]).file == "s_test.go"


def test_a_package_of_java_is_found_below_its_source_folder_and_a_librarys_is_none() -> None:
    text = (
        "java.lang.AssertionError: no\n\tat org.junit.Assert.fail(Assert.java:89)\n"
        "\tat com.example.CalcTest.adds(CalcTest.java:12)\n"
    )
    one = only(text, known=["app/src/test/java/com/example/CalcTest.java", "other/CalcTest.java"])
    assert (one.file, one.line) == ("app/src/test/java/com/example/CalcTest.java", 12)
    assert [frame.ours for frame in one.frames] == [True, False]


def test_only_names_that_say_too_little_are_asked_for_and_all_at_once() -> None:
    asked = []

    def find(names: frozenset[str]) -> tuple[str, ...]:
        asked.append(sorted(names))
        return ()

    read("src/a.c:1:1: error: x\n/workspace/b.c:1:1: error: x\n", files=Files(find))
    assert asked == []
    read("c.c:1:1: error: x\nd.c:1:1: error: x\n\tat a.b.E.f(E.java:3)\nd.c:2:1: error: y\n", files=Files(find))
    assert asked == [["c.c", "d.c"]]


def test_paths_are_those_of_the_workspace() -> None:
    assert only("./src/../a.c:1:1: error: x").file == "a.c"
    assert only("a.c:1:1: error: x", cwd="sub", known=["sub/a.c", "a.c"]).file == "sub/a.c"
    assert only("../a.c:1:1: error: x").file == "../a.c"
    assert only("make[1]: Entering directory '/workspace/lib'\n../a.c:1:1: error: x").file == "a.c"


def test_a_note_of_a_compiler_belongs_to_its_error() -> None:
    one = only("a.c:3:5: error: bad\nb.h:7:1: note: declared here\n")
    assert [(frame.file, frame.line, frame.what) for frame in one.frames] == [("b.h", 7, "declared here")]


def test_what_is_printed_twice_is_counted() -> None:
    assert only("a.c:3:5: error: bad\n" * 3).times == 3


def test_a_recipe_that_failed_for_a_known_reason_is_left_out() -> None:
    assert only("a.c:3:5: error: bad\nmake: *** [Makefile:2: all] Error 1").file == "a.c"
    assert only("make: *** [Makefile:2: all] Error 1").line == 2


def test_a_test_that_pytest_only_sums_up_has_no_line() -> None:
    found = read(output("pytest_no.txt"))
    assert {one.code for one in found if not one.line} >= {"test_half", "TestThing.test_in_class", "test_many[2]"}
    assert all(one.severity is Severity.ERROR for one in found if not one.line)
