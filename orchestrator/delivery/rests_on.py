"""What an acceptance command rests on beside the tests: scripts, targets, configuration; and what of it was changed."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from orchestrator.delivery.testcode import is_test
from orchestrator.runs import Weakening, Weakness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.delivery.changed import Changed, Line

_INTERPRETERS: Final = frozenset(
    {"bash", "sh", "dash", "zsh", "python", "python3", "node", "ruby", "perl", "source", ".", "env"}
)
_MAKEFILE: Final = re.compile(r"(^|/)(GNUm|M|m)akefile$")
_TARGET: Final = re.compile(r"^([\w.-]+)\s*:(?!=)")
_SCRIPT: Final = re.compile(r"^\s*\"(pre|post)?([\w:.-]+)\"\s*:\s*\"")
_CI: Final = re.compile(
    r"(^|/)\.github/workflows/|(^|/)(\.gitlab-ci\.ya?ml|azure-pipelines\.ya?ml|Jenkinsfile|\.travis\.ya?ml)$|(^|/)\.circleci/"
)
_RUNNER: Final = re.compile(
    r"(^|/)(?:[^/]*[_.-])?(?:run)?(?:tests?|checks?|verify|ci)(?:[_-][^/.]*)?(?:\.(?:sh|bash|py|[cm]?js|ts|rb|pl))?$"
    r"|(^|/)(noxfile\.py|tox\.ini|package\.json|conftest\.py)$",
    re.IGNORECASE,
)
_RUNS_TESTS: Final = re.compile(
    r"\b(?:pytest|unittest|jest|vitest|mocha|tox|nox|ctest|rspec|phpunit|gotestsum|nextest)\b"
    r"|\b(?:npm|yarn|pnpm|go|cargo|mvn|gradlew?|make|dotnet|bundle|rake|bazel|swift|mix)\b.*\b(?:test|check|verify)\b"
    r"|[\w./-]*(?:test|check)\w*\.(?:sh|py|js)\b"
)
_FORGIVES: Final = re.compile(r"\|\|\s*(?:true|:|exit 0|echo\b)|;\s*(?:true|exit 0)\s*\"?,?$")
_ENDS_WELL: Final = re.compile(
    r"^\s*(?:exit 0|(?:sys\.|os\._|process\.)?exit\(0\);?|set \+e|raise SystemExit\(0\))\s*(?:#.*)?$"
)
_FORGIVING: Final = re.compile(
    r"\bcontinue-on-error:\s*true|\ballow_failure:\s*true|\bif:\s*(?:\$\{\{\s*)?false"
    r"|--passWithNoTests|\bpassWithNoTests\"?\s*[:=]\s*true|maven\.test\.failure\.ignore|\bignoreFailures\s*=\s*true"
    r"|\bignore_outcome\s*=\s*true|\bexitstatus\s*=\s*(?:0|ExitCode\.OK)|\boutcome\s*=\s*['\"]passed['\"]|--no-fail\b"
)
_NARROWS: Final = (
    (
        re.compile(r"(^|/)(\.?pytest\.(?:ini|toml)|tox\.ini|setup\.cfg|pyproject\.toml|noxfile\.py|\.coveragerc)$"),
        re.compile(
            r"--ignore(?:-glob)?[= ]\S*(?:test|/)|--deselect\b|\s-[km]\s*['\"]?(?:not\b|\w)|-p\s+no:|\bnorecursedirs\b"
            r"|--(?:co|collect-only|setup-plan)\b|\bcollect_ignore|^\s*(?:testpaths|python_files|python_classes|python_functions)\b"
            r"|\bxfail_strict\s*=\s*(?:false|False)"
        ),
    ),
    (
        re.compile(r"(^|/)conftest\.py$"),
        re.compile(
            r"\bcollect_ignore|\bitem\.add_marker\(|\bpytest_(?:collection_modifyitems|ignore_collect|collection_finish"
            r"|runtest_makereport|runtest_protocol|sessionfinish)\b"
        ),
    ),
    (
        re.compile(
            r"(^|/)(package\.json|\.mocharc[^/]*|\.?nycrc[^/]*|(jest|vitest|vite|karma|playwright|cypress)\.config\.[^/]+)$"
        ),
        re.compile(
            r"\b(?:testPathIgnorePatterns|testMatch|testRegex|testIgnore|testNamePattern|modulePathIgnorePatterns)\b"
            r"|--testPathIgnore|^\s*\"?(?:ignore|exclude|spec)\"?\s*:.*test"
        ),
    ),
    (
        re.compile(r"(^|/)(pom\.xml|build\.gradle(\.kts)?|phpunit\.xml[^/]*)$"),
        re.compile(
            r"\b(?:skipTests|maven\.test\.skip|skipITs)\b|<exclude>.*[Tt]est|^\s*(?:exclude|filter)\b.*[Tt]est"
            r"|\benabled\s*=\s*false"
        ),
    ),
    (re.compile(r"(^|/)Cargo\.toml$"), re.compile(r"^\s*(?:test|doctest|harness)\s*=\s*false")),
)
"""Files that say which tests there are, and what in them says that some aren't."""
_THRESHOLD: Final = re.compile(
    r"(?:fail[_-]under|(?:branches|functions|lines|statements)\"?\s*[:=]|minimum)\D{0,4}(\d+(?:\.\d+)?)"
)


def edited(file: Changed, accept: str) -> Iterator[Weakness]:
    """Yield what was changed of a file that decides how, and whether, tests are run."""
    words = words_of(accept)
    script = is_script(file.before, words)
    if script:
        first = next(file.lines("+", "-"), None)
        yield _named(Weakening.ACCEPTANCE, file, first)
    else:
        yield from _steps(file, words)
    if not file.path:
        return
    before = {line.text.strip() for line in file.lines("-")}
    runner = script or bool(
        _RUNNER.search(file.path) or _CI.search(file.path) or _MAKEFILE.search(file.path) or is_test(file.path)
    )
    for line in file.lines("+"):
        if line.text.strip() in before or line.text.lstrip().startswith(("#", "//")):
            continue
        forgiven = _CI.search(file.path) and _FORGIVING.search(line.text)
        if forgiven or (runner and _fakes(line.text, file, script=script)):
            yield _named(Weakening.EXIT, file, line)
        elif any(where.search(file.path) and _leaves_out(line.text, what) for where, what in _NARROWS):
            yield _named(Weakening.CONFIGURED, file, line)
    yield from _thresholds(file)


def _leaves_out(text: str, narrows: re.Pattern[str]) -> bool:
    return bool(narrows.search(text) or _FORGIVING.search(text))


def _fakes(text: str, file: Changed, *, script: bool) -> bool:
    """Whether a line has a run of the tests end well, however it went."""
    if _FORGIVES.search(text):
        return script or bool(_RUNS_TESTS.search(text))
    return bool(_ENDS_WELL.match(text)) and bool(file.before) and not _CI.search(file.path)


def is_script(path: str, words: Sequence[str]) -> bool:
    """Whether a command of these words runs this file: by its name, or by an interpreter."""
    for place, word in enumerate(words):
        called = place == 0 or words[place - 1] in _INTERPRETERS | {"&&", "||", ";", "|"}
        if called and (_same(word, path) or ("cd" in words and _same(word, path.rpartition("/")[2]))):
            return True
    return False


def _same(word: str, path: str) -> bool:
    return bool(path) and (word.removeprefix("./").removeprefix("/workspace/")) == path


def _steps(file: Changed, words: Sequence[str]) -> Iterator[Weakness]:
    """Yield changes of the target of a Makefile, or the script of a package.json, that the acceptance command names."""
    if _MAKEFILE.search(file.before) and "make" in words:
        named = {word for word in words if not word.startswith("-")} - {"make"}
        yield from _of_targets(file, named)
    elif file.before.rsplit("/", 1)[-1] == "package.json" and {"npm", "yarn", "pnpm", "npx"} & set(words):
        for line in file.lines("+"):
            found = _SCRIPT.match(line.text)
            if found and found[2] in ({"test"} if "t" in words else set(words)):
                yield _named(Weakening.ACCEPTANCE, file, line)


def _of_targets(file: Changed, named: set[str]) -> Iterator[Weakness]:
    for hunk, within in zip(file.hunks, file.within, strict=True):
        found = _TARGET.match(within)
        target = found[1] if found else ""
        for line in hunk:
            if begins := _TARGET.match(line.text):
                target = begins[1]
            elif line.text and not line.text.startswith(("\t", " ", "#")):
                target = ""
            if line.sign != " " and line.text.strip() and target in named:
                yield _named(Weakening.ACCEPTANCE, file, line)
                break


def _thresholds(file: Changed) -> Iterator[Weakness]:
    """Yield figures that less than before is enough for."""
    before = {
        _THRESHOLD.sub("", line.text): found for line in file.lines("-") if (found := _THRESHOLD.search(line.text))
    }
    for line in file.lines("+"):
        now = _THRESHOLD.search(line.text)
        was = before.get(_THRESHOLD.sub("", line.text)) if now else None
        if now and was and float(now[1]) < float(was[1]):
            yield _named(Weakening.CONFIGURED, file, line)


def words_of(command: str) -> list[str]:
    """Return the words of a command, as a shell would tell them apart."""
    try:
        return shlex.split(command)
    except ValueError:  # A quote is open; bash will say so.
        return command.split()


def _named(kind: Weakening, file: Changed, line: Line | None) -> Weakness:
    return Weakness(kind=kind, path=file.name, line=line.number if line else 0, text=line.text.strip() if line else "")
