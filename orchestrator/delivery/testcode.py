"""What test code looks like, line by line, in the usual languages: tests, assertions, marks that leave tests out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.delivery.changed import Line

_TEST_FILE: Final = re.compile(
    r"(^|/)(tests?|testing|__tests__|spec)/|(^|/)(test_[^/]*|tests?\.(py|[cm]?[jt]sx?|rb|php|sh|rs|go)|conftest\.py|[^/]*[._-](test|spec)s?\.[^/]+)$"
    r"|(^|/)[A-Z]\w*(Tests?|IT|Spec)\.(java|kt|kts|scala|groovy|cs|php|swift)$"
)
_INLINE: Final = re.compile(r"\.rs$")
"""Files that hold tests beside the code that they test."""

_NAMED: Final = re.compile(
    r"^\s*(?:async\s+)?def\s+(?P<python>test\w*)\s*\("
    r"|^\s*class\s+(?P<class>Test\w*)"
    r"|^\s*(?:x|f)?(?:it|test|specify)(?:\.\w+)*(?:\([^)'\"`]*\))?[\s(]\s*(?P<quote>['\"`])(?P<js>.+?)(?P=quote)"
    r"|^func\s+(?P<go>(?:Test|Fuzz)\w*)\s*\("
    r"|^\s*(?:public\s+)?function\s+(?P<php>test\w+)\s*\("
)
_ATTRIBUTE: Final = re.compile(
    r"^\s*(?:@(?:Test|ParameterizedTest|RepeatedTest|TestFactory)\b|#\[(?:\w+::)*test\b|\[(?:Fact|Theory|Test|TestMethod|TestCase)\b)"
)
_METHOD: Final = re.compile(r"\b(?:fn|fun|void|Task|func)\s+(?P<name>\w+|`[^`]+`)\s*[(<]")

_SKIPS: Final = re.compile(
    r"@(?:pytest\.)?mark\.(?:skip|skipif|xfail)\b|\bpytestmark\b.*(?:skip|xfail)|\bpytest\.(?:skip|xfail|importorskip)\("
    r"|@?\bunittest\.(?:skip\w*|expectedFailure)\b|\bself\.skipTest\(|\braise\s+(?:unittest\.)?SkipTest"
    r"|\b(?:it|test|describe|context|suite)\.(?:skip|todo|failing|skipIf|fixme)\b|^\s*x(?:it|test|describe|context)\s*[(\s]"
    r"|\bthis\.skip\(|\bt\.Skip(?:f|Now)?\(|^//\s*(?:go:build|\+build)\s+ignore|#\[ignore\b|#\[cfg\(any\(\)\)\]"
    r"|@(?:Disabled|Ignore)\b|\[Ignore\b|\(Skip\s*=|\bmarkTestSkipped\(|^\s*pending\(|\bassume(?:True|False|That)\("
    r"|^\s*if\s*\(?(?:False|false|0)\)?\s*[:{]|@nottest\b|__test__\s*=\s*False"
)
_ONLY: Final = re.compile(r"\b(?:it|test|describe|context|suite)\.only\b|^\s*f(?:it|describe|context)\s*\(")
_RETURNS: Final = re.compile(r"^\s+return\b\s*(?:None|;)?\s*(?:#.*|//.*)?$")
_SWALLOWS: Final = re.compile(
    r"\bexcept\s*(?:\(?[\w\s,.]*\b(?:AssertionError|Exception|BaseException)\b[^:]*)?:\s*(?:pass\b.*)?$"
)

_ASSERTS: Final = re.compile(
    r"^\s*assert\b|\bself\.(?:assert|fail)\w*\(|\bpytest\.(?:raises|approx|warns|fail)\(|\bexpect\(|\bassert(?:\.\w+)+\("
    r"|\bassert(?:_\w+)?!\(|\b(?:require|assert)\.[A-Z]\w*\(|\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow|is|not|like|true|false|truthy|falsy|deepEqual|equal|throws\w*)\("
    r"|^\s*if\s+(?!.*\bnil\b).+[!=]=.+\{$|\b(?:Assert|Assertions)\.\w+\(|\bassert[A-Z]\w*\(|\.should\b|\$this->assert\w+\(|\bnp\.testing\.assert\w+\("
)
_NUMBER: Final = r"(-?\d+(?:\.\d*)?(?:e-?\d+)?)"
_LOOSER_UP: Final = re.compile(
    rf"\b(?:abs|rel|delta|atol|rtol|eps\w*|tol\w*|abs_tol|rel_tol)\s*[=:]\s*{_NUMBER}|<=?\s*{_NUMBER}\s*[),;]*$"
)
_LOOSER_DOWN: Final = re.compile(
    rf"\bplaces\s*=\s*{_NUMBER}|toBeCloseTo\([^,]+,\s*{_NUMBER}|\bdecimal\s*=\s*{_NUMBER}|>=?\s*{_NUMBER}\s*[),;]*$"
)
_EXACT: Final = re.compile(
    r"(?<![=!<>])==(?!=)|===|\bassert(?:Equals?|Is|DictEqual|ListEqual|CountEqual|SequenceEqual|Same|ArrayEquals|Raises)\("
    r"|\bis (?:not )?(?:True|False)\b|\bis None\b|\bassert_eq!"
    r"|\.(?:toBe|toEqual|toStrictEqual|eql?|deepEqual|strictEqual|toThrow\w*)\("
    r"|\.(?:Equal|EqualValues|Exactly|ElementsMatch|AreEqual|Same)\(|\.should\s*(?:==|eq\b)|\bassert_(?:array_)?equal\(|\.isEqualTo\("
    r"|\b(?:pytest\.)?raises\(|\bassert(?:True|False)\(.*(?:==|\.equals\()"
)
_TRIVIAL: Final = re.compile(
    r"^\s*assert\s+(?:True|1|not False|not None)\s*(?:,.*|#.*)?$"
    r"|\bassertTrue\(\s*(?:True|true)\s*[,)]|\bassertFalse\(\s*(?:False|false)\s*[,)]"
    r"|\bexpect\((?:true|1)\)|\bassert!\(true|\bassert(?:\.ok)?\(true\)|\bor True\b|\|\|\s*true\b"
    r"|\bassert\s+(.+?)\s*==\s*\1\s*$"
)
_BROAD: Final = re.compile(r"(?:raises|assertRaises)\(\s*(?:Base)?Exception\b|\.toThrow\(\s*\)")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_NAMES: Final = re.compile(r"\b(?!(?:True|False|None|true|false|null|nil|undefined)\b)[A-Za-z_]\w+")
_SIDES: Final = re.compile(
    r"^\s*assert\s+(?P<left>.+?)\s*==\s*(?P<right>.+?)\s*(?:,\s*[f'\"].*)?$"
    r"|^\s*if\s+(?:.*;\s*)?(?P<got>.+?)\s*!=\s*(?P<want>.+?)\s*\{$|(?:expect)\((?P<expect>.+?)\)\.\w+\((?P<to>.*)\)|(?:assert\w*!?|Equals?\w*)\(\s*(?P<first>[^,]+?)\s*,\s*(?P<second>.+)\)"
)


class Test(NamedTuple):
    """A test on one side of a patch: what it is called, the line that it begins at, and the lines behind it."""

    name: str
    line: Line
    body: tuple[Line, ...]


def is_test(path: str) -> bool:
    """Whether a path is a test's by the usual names of the usual languages."""
    return bool(_TEST_FILE.search(path))


def holds_tests(path: str) -> bool:
    """Whether tests may stand in a file: it is a test's, or of a language that has them beside the code."""
    return is_test(path) or bool(_INLINE.search(path))


def tests_in(lines: Iterable[Line]) -> Iterator[Test]:
    """Yield the tests that begin in lines of one side of a patch."""
    name, begins = "", None
    body: list[Line] = []
    for line, found in _named(lines):
        if found and begins is not None:
            yield Test(name, begins, tuple(body))
        if found:
            name, begins, body = found, line, []
        elif begins is not None:
            body.append(line)
    if begins is not None:
        yield Test(name, begins, tuple(body))


def _named(lines: Iterable[Line]) -> Iterator[tuple[Line, str]]:
    """Yield each line with the name of the test that begins there, or the empty string."""
    marked = False
    for line in lines:
        found = _NAMED.match(line.text)
        name = (
            next((value for key, value in found.groupdict().items() if value and key != "quote"), "") if found else ""
        )
        if _ATTRIBUTE.match(line.text):
            marked = True
        if marked and (method := _METHOD.search(line.text)):
            name, marked = name or method["name"], False
        yield line, name


def leaves_out(text: str) -> bool:
    """Whether a line has a test left out, or counted as passed when it fails."""
    return bool(_SKIPS.search(text))


def leaves_out_others(text: str) -> bool:
    """Whether a line has every other test left out."""
    return bool(_ONLY.search(text))


def returns(text: str) -> bool:
    """Whether a line ends a test where it stands."""
    return bool(_RETURNS.match(text))


def swallows(text: str) -> bool:
    """Whether a line takes a failed assertion for none."""
    return bool(_SWALLOWS.search(text))


def asserts(text: str) -> bool:
    """Whether a line asserts something."""
    return bool(_ASSERTS.search(text)) and not text.lstrip().startswith(("#", "//", "*"))


def weaker(old: str, new: str) -> bool:
    """Whether an assertion demands less than the one that it stands in place of."""
    if _TRIVIAL.search(new) or (_BROAD.search(new) and not _BROAD.search(old)):
        return not _TRIVIAL.search(old)
    if bool(_EXACT.search(old)) and not _EXACT.search(new):
        return True
    return _looser(_LOOSER_UP, old, new, 1) or _looser(_LOOSER_DOWN, old, new, -1)


def expects_otherwise(old: str, new: str) -> str:
    """Return what an assertion looks at where only the value that it expects of it was changed; else empty."""
    before, after = _sides(old), _sides(new)
    if before is None or after is None:
        return ""
    same = [one for one, other in zip(before, after, strict=True) if one == other]
    value = [other for one, other in zip(before, after, strict=True) if one != other]
    return same[0] if len(same) == 1 and not _NAMES.search(_QUOTED.sub("", value[0])) else ""


def _sides(text: str) -> tuple[str, str] | None:
    found = _SIDES.search(text)
    if found is None:
        return None
    parts = [value for value in found.groups() if value is not None]
    return (parts[0], parts[1]) if len(parts) == 2 else None  # noqa: PLR2004  # What is looked at, what is expected.


def _looser(figures: re.Pattern[str], old: str, new: str, way: int) -> bool:
    """Whether a figure moved the way that lets more pass, and nothing else did."""
    before, after = _figures(figures, old), _figures(figures, new)
    if len(before) != len(after) or figures.sub("", old) != figures.sub("", new):
        return False
    return any(way * (now - was) > 0 for was, now in zip(before, after, strict=True))


def _figures(figures: re.Pattern[str], text: str) -> list[float]:
    return [float(next(filter(None, found.groups()))) for found in figures.finditer(text)]
