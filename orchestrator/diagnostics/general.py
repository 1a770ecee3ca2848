"""The shapes that most tools share: `file:line:column: severity: message`, and `file(line,column): …`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import WORDS, Found, severity
from orchestrator.diagnostics.paths import is_file, is_rooted

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_SEVERITY: Final = (
    r"(?:fatal |internal compiler |code |hint |syntax |parse )?"
    r"(?:error|warning|note|info|information|hint|fatal|style|convention|refactor)s?"
)
# file:3:5, file:3, file:[3,5], file:3.5, file: (3, 5): ranges of clang and of others behind it.
COLON: Final = re.compile(
    r":(?:(?P<line>\d{1,7})(?:[:.](?P<column>\d{1,6}))?(?![\w.]*/)"
    r"(?:-\d{1,7}(?:[:.]\d{1,6})?)?(?::?(?:\{[\d:-]{1,40}\}){1,9})?"
    r"|\s?[\[(](?P<line2>\d{1,7})[,:]\s?(?P<column2>\d{1,6})[\])](?:-\(\d{1,7},\s?\d{1,6}\))?)(?=[\s:,;)\]\-]|$)(?!\d)"
)
PAREN: Final = re.compile(
    r"\s?[(\[](?P<line>\d{1,7})(?:[,:]\s?(?P<column>\d{1,6}))?(?:[,-]\d{1,7}){0,3}[)\]]\s?:?\s(?=(?P<word>"
    + _SEVERITY
    + r")\b)",
    re.IGNORECASE,
)
_LINE_WORD: Final = re.compile(
    r"[:,]? (?:at |on )?line:?\s(?P<line>\d{1,7})(?:[,:]? (?:col(?:umn)?:? )?(?P<column>\d{1,6}))?\s?(?:[:,.-]\s*|$)",
    re.IGNORECASE,
)
TAIL: Final = re.compile(
    r"[\s:,-]*(?:(?P<word>" + _SEVERITY + r"|[CEFIRW](?=:| \[)(?!:\w))(?![\w'])|\[(?P<tag>[A-Za-z]{1,11})\])?[\s:-]*"
    r"(?:(?P<code>(?-i:[A-Z]{1,8}-?\d{1,6}))(?![\w-])|\[(?P<code2>[\w-]{2,60})\](?=\s)"
    r"|\[(?P<code3>[A-Z]\d{0,5})(?:\([\w-]{1,60}\))?(?:, ?[\w.<>]{0,120})?\])?[\s:]*"
    r"(?P<message>.*)",
    re.IGNORECASE | re.DOTALL,
)
_EXCEPTION: Final = re.compile(r"(?:\w{1,60}\.){0,8}\w{0,60}(?P<kind>Error|Exception|Warning)\b")
_BEHIND: Final = re.compile(r"\s[\[(](?P<code>-W[\w+=,-]{1,80}|[A-Za-z][\w@./:-]{1,80}|[A-Z]{1,3}\d{1,6})[\])]\s*$")
_UNIX: Final = re.compile(r"\s\[(?P<word>Error|Warning)(?:/(?P<code>[^\]\s]{1,100}))?\]\s*$")
_PROSE: Final = re.compile(r"[A-Z][A-Za-z]{0,30} [\w`'\"$:\\]")
_LEADING: Final = re.compile(
    r"\s*(?:(?P<word>error|warning|warn|err|info|e|w|i|vet|fatal|location"
    r"|in file|✖|\u00d7|✘|⚠|-)(?::|\s(?=[/.\w]))\s*|[-*•] ){1,2}",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(r"\b(?:fatal|error|warning|note|info)", re.IGNORECASE)
_BEFORE_FILES: Final = frozenset(("at", "in", "-", "\u2022", "\u2013"))
"""What stands between a message and the place behind it."""
_OF_GCC: Final = (
    *("c", "cc", "cpp", "cxx", "h", "hh", "hpp", "hxx", "m", "mm", "S", "l", "y"),
    *("ipp", "inl", "tcc", "cu"),
)
_TOOLS: Final = {
    "java": "javac",
    "kt": "kotlinc",
    "py": "python",
    "pyi": "python",
    "go": "go",
    "rs": "rustc",
    "ts": "tsc",
    "tsx": "tsc",
    "js": "eslint",
    "jsx": "eslint",
    "mjs": "eslint",
    "cmake": "cmake",
    "mk": "make",
    "gradle": "gradle",
} | dict.fromkeys(_OF_GCC, "gcc")


@lru_cache(1024)
def tool_of(file: str) -> str:
    """Return the tool that most likely speaks of such a file, where it doesn't say so."""
    name = file.replace("\\", "/").rpartition("/")[2]
    return "make" if name.endswith("akefile") else _TOOLS.get(name.rpartition(".")[2], "")


_PLAIN: Final = re.compile(
    r"(?P<file>[\w./+@~-]{1,300}\.[A-Za-z][\w+]{0,9}):(?P<line>\d{1,7}):(?:(?P<column>\d{1,6}):)? "
    r"(?P<word>(?:fatal )?error|warning|note): (?P<message>.*?)(?:\s+\[(?P<code>[\w+=#:./-]{2,80})\])?$"
)


def plain(log: Log, number: int) -> Found | None:
    """Read `file:line:column: severity: message [code]` at once: what compilers print by the thousand."""
    if not (match := _PLAIN.match(log.at(number))):
        return None
    file, line, column, word, message, code = match.groups()
    tool, lead = tool_of(file), ""
    if code is None and (coded := _CODED.match(message)):
        lead, code = coded.group(), coded[1]
    tool = "mypy" if tool == "python" else tool
    return Found(file, int(line), int(column or 0), WORDS[word], message[len(lead) :], code or "", tool)


_CODED: Final = re.compile(r"\[([\w-]{2,60})\] ")


def colon(log: Log, number: int) -> Found | None:
    """Read `file:line:column: severity: message`, with or without column and severity."""
    line, tag = log.bare(number)
    if not (place := COLON.search(line)):
        return None
    file, lead, said = _lead(line[: place.start()])
    rest = line[place.end() :]
    tail = TAIL.match(rest)
    if tail is None or not is_file(file) or (" " in file and not _may_have_blanks(file, lead, tail)):
        return None
    row, column = place["line"] or place["line2"], place["column"] or place["column2"]
    word = tail["word"] or (tail["tag"] if (tail["tag"] or "").lower() in WORDS else None)
    if said and severity(lead, Severity.NOTE) is Severity.NOTE and not (column and tail["message"]):
        return None
    told_so = word or lead or said or place["line2"] or tail["code"]
    if not told_so and not _says(rest, with_column=bool(column), tagged=tag):
        return _alone(log, number, told(file, row, column, tail, word=None)) if rest == ":" else None
    found = told(file, row, column, tail, word=word or lead or (tag if tag.lower() in _TAGS else None))
    if not found.message or found.message.endswith(":"):
        found = found._replace(message=said or _below(log, number) or found.message)
    return found


def _may_have_blanks(file: str, lead: str, tail: re.Match[str]) -> bool:
    """Say whether a path with blanks is one: it has directories, and a severity stands beside it."""
    return ("/" in file or "\\" in file) and (bool(lead) or tail["word"] is not None)


def _below(log: Log, number: int) -> str:
    """Return the line below, where that is what the message went on to."""
    line = log.at(number + 1)
    return line.strip() if line[:1].isspace() else ""


def _alone(log: Log, number: int, found: Found) -> Found | None:
    """Read a place that stands alone above the source: what is wrong stands below it (gfortran) or above (esbuild)."""
    for above in log.back(number, 2):
        if match := _TITLE.search(log.at(above)):
            return found._replace(severity=severity(match["word"]), message=match["message"])
    for below in log.ahead(number, 6):
        if match := _VERDICT.match(log.at(below)):
            return found._replace(severity=severity(match["word"]), message=match["message"], past=below + 1)
    return None


_TITLE: Final = re.compile(r"\[(?P<word>ERROR|WARNING)\] (?P<message>.*)")
_VERDICT: Final = re.compile(r"(?:Fatal )?(?P<word>Error|Warning): (?P<message>.*)")
_TAGS: Final = frozenset(("error", "warning", "warn", "info"))


def _lead(text: str) -> tuple[str, str, str]:
    """Return the file in front of a place, the severity in front of that, and a message that stands there."""
    lead = said = ""
    if match := _LEADING.match(text):
        text, lead = text[match.end() :], (match["word"] or "").strip()
    text = text.strip()
    # `%Error: file`, `Type Mismatch Error: file`: what is in front of the colon says how bad it is.
    head, colon, last = text.rpartition(": ")
    if colon and (word := _NAMED.search(head)):
        text, lead, said = last, lead or word.group(), head
    # `… at file`, `InvalidReturn - file`: the message stands in front of its place.
    before, blank, last = text.rpartition(" ")
    if blank and before.rpartition(" ")[2] in _BEFORE_FILES and is_file(last) and not is_rooted(text):
        text, said = last, before.rpartition(" ")[0]
    return _without_module(text), lead, said


def _without_module(file: str) -> str:
    """Return a file without the module that old pylints print behind it."""
    return file.partition(".py:")[0] + ".py" if ".py:" in file else file


def _says(rest: str, *, with_column: bool, tagged: str) -> bool:
    """Say whether what follows a place without a severity is a message, and not a line that grep printed."""
    if rest.startswith(": "):
        return rest[2:3] not in {"", " ", "\t"}
    if rest.startswith(" ") and (with_column or tagged.lower() in _TAGS):
        return True
    if rest.startswith((" at ", " in ")) and rest.endswith(":"):  # pydocstyle: the message stands below.
        return True
    if rest.startswith(":in "):  # Ruby names the method first.
        return "': " in rest
    return (rest[:1] == ":" and _PROSE.match(rest, 1) is not None) or rest[:2] == " ["


def paren(log: Log, number: int) -> Found | None:
    """Read `file(line,column): severity code: message`: tsc, MSVC and its kin."""
    line, _ = log.bare(number)
    if not (place := PAREN.search(line)):
        return None
    file = line[: place.start()].strip()
    if " : " in file:  # MSBuild names the file of targets first.
        file = file.rpartition(" : ")[2].rpartition(": ")[2]
    if not is_file(file):
        return None
    tail = TAIL.match(line, place.end())
    return told(file, place["line"], place["column"], tail, word=place["word"]) if tail else None


def worded(log: Log, number: int) -> Found | None:
    """Read `file: line 3, col 5, Error - message`, `message in file on line 3`: eslint compact, shells, PHP."""
    line, _ = log.bare(number)
    if not (place := _LINE_WORD.search(line)):
        return None
    _, lead, _ = _lead(line[: place.start()])
    before, _, file = line[: place.start()].strip().removeprefix("In ").rpartition(" ")
    file = file.strip("'\",:")
    tail = TAIL.match(line, place.end())
    if tail is None or not is_file(file):
        return None
    found = told(file, place["line"], place["column"], tail, word=tail["word"] or lead or None)
    return (
        found
        if found.message
        else found._replace(message=before.removesuffix(" in").removesuffix(" at") or log.at(number + 1))
    )


def told(file: str, line: str, column: str | None, tail: re.Match[str], *, word: str | None) -> Found:
    """Return what stands behind a place as a finding of the tool that most likely said it."""
    message = tail["message"].strip().removeprefix("[*] ")
    code = tail["code"] or tail["code2"] or tail["code3"] or ""
    if tail["tag"] and tail["tag"].lower() not in WORDS:
        code = code or tail["tag"]
    if unix := _UNIX.search(message):
        word, code, message = unix["word"], unix["code"] or "", message[: unix.start()]
    elif not code and (behind := _BEHIND.search(message)):
        code, message = behind["code"], message[: behind.start()]
    worst = severity(word.split()[-1] if word and " " in word else word)
    if word is None and (raised := _EXCEPTION.match(message)) and raised["kind"] == "Warning":
        worst = Severity.WARNING
    tool = tool_of(file)
    if tool == "python":
        tool = "mypy" if word and code and code.islower() else "lint" if code else "python"
    return Found(file, int(line), int(column or 0), worst, message, code, tool)


def boxed(log: Log, number: int) -> Found | None:
    """Read places in brackets and by name: gosec, old cppcheck, scalastyle, tslint, webpack."""
    line = log.at(number).strip()
    if match := _BOXED.match(line):
        return Found(match["file"], int(match["line"]), 0, severity(match["word"]), match["message"])
    if (match := _NAMED_PARTS.match(line)) or (match := _INDEXED.match(line)):
        column = int(match["column"] or 0)
        return Found(match["file"], int(match["line"]), column, severity(match["word"]), match["message"])
    return None


_BOXED: Final = re.compile(
    r"\[(?P<file>[^\s:\[\]]{1,400}\.\w{1,8}):(?P<line>\d{1,7})(?::\d{1,6})?\]\s?[:-] "
    r"(?:\((?P<word>[a-z]{1,20})\) )?(?P<message>.+)"
)
_INDEXED: Final = re.compile(
    r"(?P<word>ERROR|WARNING)(?:: | in )(?P<file>[^\s\[(]{1,400})[\[(](?P<line>\d{1,7}), ?(?P<column>\d{1,6})[\])]:?\s*"
    r"(?P<message>.*)"
)
_NAMED_PARTS: Final = re.compile(
    r"(?P<word>error|warning|info) file=(?P<file>\S{1,400}) message=(?P<message>.{1,400}) line=(?P<line>\d{1,7})"
    r"(?: column=(?P<column>\d{1,6}))?$"
)


def workflow(log: Log, number: int) -> Found | None:
    """Read the commands by which tools mark places for GitHub's and Azure's build logs."""
    if not (match := _WORKFLOW.search(log.at(number))):
        return None
    said = dict(part.partition("=")[::2] for part in (match["github"] or match["azure"]).replace(";", ",").split(","))
    file, line = said.get("file") or said.get("sourcepath", ""), said.get("line") or said.get("linenumber", "")
    if not file or not line.isascii() or not line.isdigit() or len(line) > 7:  # noqa: PLR2004  # No line of a file.
        return None
    return Found(
        file, int(line), 0, severity(match["word"] or said.get("type")), match["message"], said.get("code", "")
    )


_WORKFLOW: Final = re.compile(
    r"(?:::(?P<word>error|warning|notice) (?P<github>[^\n]{1,900}?)::"
    r"|\#\#vso\[task\.logissue (?P<azure>[^\]\n]{1,900})\])(?P<message>.*)"
)
