"""The shapes that most tools share: `file:line:column: severity: message`, and `file(line,column): …`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import WORDS, Found, severity
from orchestrator.diagnostics.paths import is_file

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
    r"[:,]? (?:at |on )?line:?\s(?P<line>\d{1,7})(?:[,:]? (?:col(?:umn)?:? )?(?P<column>\d{1,6}))?\s?[:,.-]\s*",
    re.IGNORECASE,
)
TAIL: Final = re.compile(
    r"[\s:,-]*(?:(?P<word>" + _SEVERITY + r"|[CEFIRW](?=:| \[)(?!:\w))(?![\w'])|\[(?P<tag>[A-Za-z]{1,11})\])?[\s:-]*"
    r"(?:(?P<code>[A-Z]{1,8}-?\d{1,6})(?![\w-])|\[(?P<code2>[\w-]{2,60})\](?=\s)"
    r"|\[(?P<code3>[A-Z]\d{0,5})(?:\([\w-]{1,60}\))?(?:, ?[\w.<>]{0,120})?\])?[\s:]*"
    r"(?P<message>.*)",
    re.IGNORECASE | re.DOTALL,
)
_EXCEPTION: Final = re.compile(r"(?:\w{1,60}\.){0,8}\w{0,60}(?P<kind>Error|Exception|Warning)\b")
_BEHIND: Final = re.compile(r"\s[\[(](?P<code>-W[\w+=,-]{1,80}|[A-Za-z][\w@./:-]{1,80}|[A-Z]{1,3}\d{1,6})[\])]\s*$")
_UNIX: Final = re.compile(r"\s\[(?P<word>Error|Warning)(?:/(?P<code>[^\]\s]{1,100}))?\]\s*$")
_PROSE: Final = re.compile(r"[A-Z][A-Za-z]{0,30} [\w`'\"$:\\]")
_LEADING: Final = re.compile(
    r"\s*(?:(?P<word>error|warning|warn|err|info|e|w|i|vet|fatal|✖|\u00d7|✘|⚠|-)(?::|\s(?=[/.\w]))\s*|[-*•] ){1,2}",
    re.IGNORECASE,
)
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
    file, lead = _lead(line[: place.start()])
    if " " in file and (("/" not in file and "\\" not in file) or (not lead and not _told(line, place.end()))):
        return None
    if not is_file(file):
        return None
    row, column = place["line"] or place["line2"], place["column"] or place["column2"]
    rest = line[place.end() :]
    tail = TAIL.match(rest)
    if tail is None:
        return None
    word = tail["word"] or (tail["tag"] if (tail["tag"] or "").lower() in WORDS else None)
    if word is None and not lead and not (place["line2"] or _says(rest, with_column=bool(column), tagged=tag)):
        return None
    return told(file, row, column, tail, word=word or lead or (tag if tag.lower() in _TAGS else None))


_TAGS: Final = frozenset(("error", "warning", "info"))


def _told(line: str, end: int) -> bool:
    """Say whether what stands behind a place names its severity."""
    tail = TAIL.match(line, end)
    return tail is not None and tail["word"] is not None


def _lead(text: str) -> tuple[str, str]:
    """Return the file in front of a place, and the severity in front of that."""
    if match := _LEADING.match(text):
        return _without_module(text[match.end() :].strip()), (match["word"] or "").strip()
    return _without_module(text.strip()), ""


def _without_module(file: str) -> str:
    """Return a file without the module that old pylints print behind it."""
    return file.partition(".py:")[0] + ".py" if ".py:" in file else file


def _says(rest: str, *, with_column: bool, tagged: str) -> bool:
    """Say whether what follows a place without a severity is a message, and not a line that grep printed."""
    if with_column and rest.startswith((" ", ":")):
        return len(rest) > 1
    if rest.startswith(": "):
        return rest[2:3] not in {"", " ", "\t"}
    if rest.startswith(" ") and tagged.lower() in _TAGS:
        return True
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
    """Read `file: line 3, col 5, Error - message`: eslint's compact format, shells, Gradle."""
    line, _ = log.bare(number)
    if not (place := _LINE_WORD.search(line)):
        return None
    file, lead = _lead(line[: place.start()].strip().strip("'\""))
    file = file.rpartition(" ")[2].strip("'\"")
    if not is_file(file):
        return None
    tail = TAIL.match(line, place.end())
    return told(file, place["line"], place["column"], tail, word=tail["word"] or lead or None) if tail else None


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
