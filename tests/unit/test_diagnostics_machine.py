"""The formats that are made for machines."""

from __future__ import annotations

import json

import pytest

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.reading import read


def test_junit_names_the_test_and_reads_its_trace() -> None:
    failure = '<failure message="assert 1 == 2">t/a.py:7: AssertionError</failure>'
    case = f'<testcase classname="t.A" name="x" file="t/a.py" line="4">{failure}</testcase>'
    (one,) = read(f'<?xml version="1.0"?><testsuites><testsuite>{case}<testcase name="ok"/></testsuite></testsuites>')
    assert (one.file, one.line, one.code) == ("t/a.py", 7, "t.A.x")


def test_junit_without_a_trace_keeps_the_place_of_the_test() -> None:
    (one,) = read('<testsuite><testcase name="x" file="a.py" line="4"><error message="no"/></testcase></testsuite>')
    assert (one.file, one.line, one.message) == ("a.py", 4, "no")


@pytest.mark.parametrize(
    "prologue",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
    ],
)
def test_a_report_with_a_document_type_is_refused(prologue: str) -> None:
    case = '<testsuite><testcase name="&a;"><failure message="m"/></testcase></testsuite>'
    assert read(f'<?xml version="1.0"?>{prologue}{case}') == ()


def test_checkstyle() -> None:
    error = '<error line="3" column="5" severity="warning" message="m"/>'
    (one,) = read(f'<checkstyle><file name="/workspace/a.js">{error}</file></checkstyle>')
    assert (one.file, one.line, one.column, one.severity) == ("a.js", 3, 5, Severity.WARNING)


def test_sarif() -> None:
    place = {"physicalLocation": {"artifactLocation": {"uri": "a.c"}, "region": {"startLine": 3, "startColumn": 5}}}
    result = {"ruleId": "R1", "message": {"text": "bad"}, "locations": [place]}
    log = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "T"}}, "results": [result, "junk", {}]}]}
    first, *_ = read(json.dumps(log))
    assert (first.file, first.line, first.column, first.severity, first.code, first.tool) == (
        *("a.c", 3, 5, Severity.WARNING, "R1", "T"),
    )


def test_json_between_other_lines_and_text_behind_it_are_both_read() -> None:
    report = [{"filename": "a.py", "location": {"row": 3, "column": 5}, "code": "F401", "message": "unused"}]
    found = read(f"> lint\n{json.dumps(report, indent=2)}\nb.c:4:1: error: bad\n")
    assert [(one.file, one.line) for one in found] == [("a.py", 3), ("b.c", 4)]


def test_json_of_something_else_says_nothing() -> None:
    assert read(json.dumps({"name": "x", "version": 3, "scripts": {"line": "a:1"}})) == ()


def test_go_test_as_json_is_read_as_what_the_tests_printed() -> None:
    events = [
        {"Action": "output", "Test": "TestX", "Output": "=== RUN   TestX\n"},
        {"Action": "output", "Test": "TestX", "Output": "    x_test.go:3: got 1\n"},
        {"Action": "output", "Test": "TestX", "Output": "--- FAIL: TestX (0.00s)\n"},
    ]
    (one,) = read("\n".join(map(json.dumps, events)))
    assert (one.file, one.line, one.code) == ("x_test.go", 3, "TestX")
