"""What a run's patch did to the tests that are to prove it: deleted, removed, left out, weakened. Named, not judged.

A test that was renamed or moved isn't deleted; a line that only looks otherwise isn't changed; a new test may be left
out on some machine. What the acceptance command rests on beside the tests is in `rests_on`, what comes
before it in `in_front`.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.delivery import rests_on, testcode
from orchestrator.delivery.changed import Changed, Line, changed_files
from orchestrator.delivery.in_front import put_in_front
from orchestrator.runs import Weakening, Weakness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.delivery.testcode import Test

_MOST: Final = 200
"""Findings of a patch; who needs more to look closely won't look at more."""
_ALIKE: Final = 0.4
"""How much of two assertions must be the same for one to stand in place of the other."""
_KEPT_BODY: Final = 0.6
_LAYOUT: Final = re.compile(r"[\s()\[\],;'\"`]+")
_WORD: Final = re.compile(r"\w+")
_CASE: Final = re.compile(r"^\s*(?:pytest\.param)?(?:\(.*\),|\[.*\],|\{.*\},|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\})$")
_COMPARED: Final = 16
"""Assertions that one is compared with, to find the one that stands in its place."""
_SHORTEST: Final = 3


def weakened(patch: bytes, *, accept: str = "") -> tuple[Weakness, ...]:
    """Return what a patch weakened, file by file; `accept` is the acceptance command."""
    files, unread = changed_files(patch)
    view = _View(files)
    words = rests_on.words_of(accept)
    found = [one for file in files for one in (*_of_tests(file, view), *rests_on.edited(file, accept))]
    found += [one for file in files for one in put_in_front(file, words)]
    found += [Weakness(kind=Weakening.UNREAD, path=path, line=0, text="") for path in unread]
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda one: (one.path, one.line))[:_MOST])


class _View:
    """What can only be seen on the whole patch: where tests and lines went."""

    def __init__(self, files: Sequence[Changed]) -> None:
        tests = [file for file in files if testcode.holds_tests(file.name) or testcode.holds_tests(file.before)]
        self._code = [(_stem(file.name), _words(file)) for file in files if file not in tests]
        kept = [file for file in tests if file.path and testcode.holds_tests(file.path)]
        self.added = Counter(_plain(line.text) for file in kept for line in file.lines("+"))
        before = Counter(test.name for file in tests for test in _tests(file, "-"))
        after = [test for file in kept for test in _tests(file, "+")]
        self.gone = before - Counter(test.name for test in after)
        """Names of tests that are nowhere any more."""
        self.came = Counter(test.name for test in after) - before
        self.known = frozenset(before)
        """Names of the tests that stood where something was changed."""

    def renamed(self, test: Test) -> bool:
        """Whether a test that is gone goes on under another name; each new name is taken once."""
        asserted = [line for line in test.body if testcode.asserts(line.text)]
        looked_at = asserted or [line for line in test.body if line.text.strip()]
        kept = [line for line in looked_at if line.sign == " " or self.added[_plain(line.text)]]
        enough = len(kept) >= (len(looked_at) if asserted else _KEPT_BODY * len(looked_at))
        if not enough or not looked_at or not self.came:
            return False
        self.came -= Counter([next(iter(self.came))])
        return True

    def explains(self, file: Changed, looked_at: str) -> bool:
        """Whether the code that an assertion is about was changed, too."""
        words = {word for word in _WORD.findall(looked_at) if len(word) >= _SHORTEST}
        return any((len(stem) >= _SHORTEST and stem in _stem(file.name)) or words & told for stem, told in self._code)


class _Block(NamedTuple):
    """Lines in a row that were taken away, and those that came in their place."""

    removed: list[Line]
    added: list[Line]


def _of_tests(file: Changed, view: _View) -> Iterator[Weakness]:
    """Yield what was done to the tests in a file."""
    if not (testcode.holds_tests(file.before) or testcode.holds_tests(file.path)):
        return
    gone = [test for test in _tests(file, "-") if view.gone[test.name] > 0 and not view.renamed(test)]
    if gone and (not file.path or (testcode.holds_tests(file.before) and not testcode.holds_tests(file.path))):
        names = ", ".join(test.name for test in gone)
        yield _named(Weakening.DELETED, file.before, Line("-", 0, f"{len(gone)} tests: {names}"))
        return
    for test in gone:
        yield _named(Weakening.REMOVED, file.name, test.line)
    if not file.path:
        return
    yield from _left_out(file, view)
    lost = {id(line) for test in gone for line in test.body}
    for block in _blocks(file):
        yield from _assertions(file, block, view, lost)
        yield from _cases(file, block, view, lost)


def _left_out(file: Changed, view: _View) -> Iterator[Weakness]:
    """Yield marks that leave tests out, unless they are on tests that are new themselves."""
    for hunk, within in zip(file.hunks, file.within, strict=True):
        after = [line for line in hunk if line.sign != "-"]
        before = Counter(_plain(line.text) for line in hunk if line.sign == "-")
        tests = list(testcode.tests_in(after))
        for place, line in enumerate(after):
            kind = _mark(after, place, tests)
            if kind is None or line.sign != "+" or before[_plain(line.text)]:
                continue
            test = _concerned(line, tests)
            if test is not None:
                fresh = test.line.sign == "+" and test.name not in view.known
            else:
                fresh = not file.before and not any(one.name in view.known for one in tests)
            outside = kind is Weakening.WEAKER and test is None and "test" not in within.casefold()
            if testcode.leaves_out_others(line.text) or not (fresh or outside):
                yield _named(kind, file.path, line)


def _mark(after: Sequence[Line], place: int, tests: Sequence[Test]) -> Weakening | None:
    """Return what a line does to the test that it is for, if anything."""
    text = after[place].text
    if testcode.leaves_out(text) or testcode.leaves_out_others(text):
        return Weakening.SKIPPED
    if testcode.returns(text) and place and (test := _concerned(after[place], tests)) and test.line is after[place - 1]:
        return Weakening.SKIPPED
    return Weakening.WEAKER if testcode.swallows(text) else None


def _concerned(line: Line, tests: Sequence[Test]) -> Test | None:
    """Return the test that a mark is for: the one that it stands in, or, at the margin, the one below it."""
    place = bisect_right(tests, line.number, key=lambda test: test.line.number)
    if line.text.lstrip().startswith(("@", "#[", "[")):
        return tests[place] if place < len(tests) else None
    return tests[place - 1] if place else None


def _assertions(file: Changed, block: _Block, view: _View, lost: set[int]) -> Iterator[Weakness]:
    """Yield what became of the assertions in a block, but of those in tests that are gone as a whole."""
    if _joined(block.removed) == _joined(block.added):
        return
    here = Counter(_plain(line.text) for line in block.added)
    old = [
        line
        for line in block.removed
        if testcode.asserts(line.text)
        and id(line) not in lost
        and not here[_plain(line.text)]
        and not view.added[_plain(line.text)]
    ]
    gone = Counter(_plain(line.text) for line in block.removed)
    new = [line for line in block.added if testcode.asserts(line.text) and not gone[_plain(line.text)]]
    words = set(_WORD.findall(" ".join(line.text for line in block.added)))
    for line in old:
        instead = _closest(line, new)
        if instead is None:
            if not set(_WORD.findall(line.text)) <= words:  # Else it was put together with another one.
                yield _named(Weakening.LOST, file.path, line)
            continue
        del new[next(place for place, one in enumerate(new) if one is instead)]
        stricter = testcode.weaker(instead.text, line.text)
        looked_at = "" if stricter else testcode.expects_otherwise(line.text, instead.text)
        if testcode.weaker(line.text, instead.text):
            yield _changed(Weakening.WEAKER, file.path, line, instead)
        elif looked_at and not view.explains(file, looked_at):
            yield _changed(Weakening.EXPECTED, file.path, line, instead)


def _cases(file: Changed, block: _Block, view: _View, lost: set[int]) -> Iterator[Weakness]:
    """Yield cases of a table that aren't there any more, where fewer came in their place."""
    old = [
        line
        for line in block.removed
        if _CASE.match(line.text) and id(line) not in lost and not testcode.asserts(line.text)
    ]
    new = [line for line in block.added if _CASE.match(line.text)]
    if len(new) < len(old) and _joined(block.removed) != _joined(block.added):
        for line in old:
            if not view.added[_plain(line.text)]:
                yield _named(Weakening.CASE, file.path, line)


def _closest(line: Line, others: Sequence[Line]) -> Line | None:
    """Return the assertion that stands in place of this one, if one does."""
    best, most = None, _ALIKE
    matcher = difflib.SequenceMatcher(b=line.text.strip())
    for other in others[:_COMPARED]:
        matcher.set_seq1(other.text.strip())
        if matcher.real_quick_ratio() > most and matcher.quick_ratio() > most and (ratio := matcher.ratio()) > most:
            best, most = other, ratio
    return best


def _blocks(file: Changed) -> Iterator[_Block]:
    for hunk in file.hunks:
        for changed, lines in groupby(hunk, key=lambda line: line.sign != " "):
            if changed:
                block = list(lines)
                yield _Block([line for line in block if line.sign == "-"], [line for line in block if line.sign == "+"])


def _tests(file: Changed, sign: str) -> Iterator[Test]:
    """Yield the tests of the side of a patch that has the lines with this sign."""
    for hunk in file.hunks:
        yield from testcode.tests_in(line for line in hunk if line.sign in {sign, " "})


def _plain(text: str) -> str:
    """Return a line without what a formatter may change."""
    return _LAYOUT.sub("", text)


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".", maxsplit=1)[0]


def _words(file: Changed) -> frozenset[str]:
    return frozenset(_WORD.findall(" ".join((*file.within, *(line.text for line in file.lines("-", "+", " "))))))


def _joined(lines: Iterable[Line]) -> str:
    return "".join(_plain(line.text) for line in lines)


def _named(kind: Weakening, path: str, line: Line) -> Weakness:
    return Weakness(kind=kind, path=path, line=line.number, text=line.text.strip())


def _changed(kind: Weakening, path: str, old: Line, new: Line) -> Weakness:
    return Weakness(kind=kind, path=path, line=new.number, text=f"{old.text.strip()} → {new.text.strip()}")
