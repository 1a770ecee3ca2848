"""What eslint's stylish format, Node, and the test runners on it print; stack traces of Java look the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import Severity
from orchestrator.diagnostics.found import Found, Place, severity
from orchestrator.diagnostics.paths import is_file

if TYPE_CHECKING:
    from orchestrator.diagnostics.log import Log

_STYLISH: Final = re.compile(
    r"\s{1,8}(?P<line>\d{1,7}):(?P<column>\d{1,6})(?:-\d{1,7}:\d{1,6})?\s{1,9}"
    r"(?:(?P<word>error|warning|info|hint|note|✖|\u00d7|⚠|\u2139)\s{1,9}|(?P<rule>[A-Z]{1,6}\d{1,5}) )"
    r"(?P<message>\S.*)$",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"[\w@/.-]{1,100}$")
_SIGNS: Final = {"✖": "error", "\u00d7": "error", "⚠": "warning", "\u2139": "info"}
_CALL: Final = re.compile(
    r"\s*(?:\|\s*)?(?:at|\u276f) (?:(?P<what>[^()\n]{1,300}) ?\()?"
    r"(?P<file>(?:file://)?[^()\s][^()\n]{0,399}?):(?P<line>\d{1,7})(?::\d{1,6})?\)?,?$"
)
_JAVA: Final = re.compile(
    r"\s*at (?:[\w.@-]{1,100}/{1,2}){0,2}(?P<what>[\w.$<>]{1,300})"
    r"\((?P<file>[\w$-]{1,200}\.(?:java|kt|scala|groovy|clj)):(?P<line>\d{1,7})\)"
)
_RAISED: Final = re.compile(
    r"(?:\[\w{1,20}\]\s)?(?:Exception in thread \"[^\"\n]{0,200}\" |Caused by: |Uncaught |→ )?"
    r"(?P<kind>(?:[\w$]{1,100}[.]){0,12}\w{0,100}(?:Error|Exception|Failure|Failed)\w{0,30})"
    r"(?: \[\w+\])?(?::.*)?(?: \{)?$"
)
_THROWN: Final = re.compile(r"(?P<file>\S(?:.{0,398}\S)?):(?P<line>\d{1,7})$")
_TAP: Final = re.compile(r"\s+location: '(?P<file>[^'\n]{1,400}?):(?P<line>\d{1,7}):\d{1,6}'$")
_TAP_CALL: Final = re.compile(
    r"\s+[\w.<>$ ]{1,200} \((?P<file>(?:file://)?/[^()\n]{1,400}?):(?P<line>\d{1,7}):\d{1,6}\)$"
)
_NOT_OK: Final = re.compile(r"\s*not ok \d{1,6} - (.*)$")
_NAMED: Final = re.compile(r"[/\\:.]")
_MOST: Final = 400
_NEAR: Final = 12


def stylish(log: Log, number: int) -> Found | None:
    """Read a line of eslint's stylish format; the file stands above its first one."""
    if not log.at(number)[:1].isspace() or not (match := _STYLISH.match(log.at(number))):
        return None
    last, file = log.heading
    for above in log.back(number, number - last - 1):
        text = log.at(above)
        if text.strip() and not text[0].isspace():
            file = text.strip().removesuffix(":")
            break
    log.heading = (number, file)
    if not is_file(file) and not file.startswith("/"):
        return None
    word = _SIGNS.get(match["word"], match["word"])
    # The columns are two blanks apart: what was found, the rule, and for some tools their own name.
    message, *rest = [part.strip() for part in match["message"].split("  ") if part.strip()]
    code = match["rule"] or (rest[0] if rest and _CODE.match(rest[0]) else "")
    tool = "lint" if match["rule"] else "eslint"
    return Found(
        file, int(match["line"]), int(match["column"]), severity(word), message.removeprefix("[*] "), code, tool
    )


def stack(log: Log, number: int) -> Found | None:
    """Read a stack trace of Node, Java or .NET from its first frame on, and above it what was thrown."""
    if (first := _frame(log.at(number))) is None:
        return None
    frames, past = [first], number + 1
    for past in log.ahead(number, _MOST):  # Where the trace ends.
        line = log.at(past).strip()
        if frame := _frame(log.at(past)):
            frames.append(frame)
        elif not line.startswith(("at ", "... ", "\u276f ")):
            break
    thrown, message, code = _above(log, number)
    java = (
        "." in first.what
        and first.file.endswith((".java", ".kt", ".scala", ".groovy"))
        and "/" not in first.file.rpartition("/")[2]
    )
    frames.reverse()
    if thrown is not None and thrown.file not in {one.file for one in frames}:
        frames.append(thrown)
    if not message and not thrown:
        return Found("", past=past)
    return Found(
        frames[-1].file,
        frames[-1].line,
        0,
        Severity.ERROR,
        message,
        code,
        "java" if java else "node",
        tuple(frames),
        past,
    )


def _frame(line: str) -> Place | None:
    if match := _JAVA.match(line):
        # The package is the directory: the name of the file alone says little.
        package = match["what"].split("$")[0].rpartition(".")[0].rpartition(".")[0]
        directory = package.replace(".", "/") + "/" if package else ""
        return Place(directory + match["file"], int(match["line"]), match["what"])
    if match := _CALL.match(line):
        file = match["file"]
        return Place(file, int(match["line"]), (match["what"] or "").strip()) if _NAMED.search(file) else None
    called, _, place = line.rpartition(" in ")
    file, _, row = place.rpartition(":line ")
    if file and called.lstrip().startswith("at ") and row.isascii() and row.isdigit() and len(row) < 8:  # noqa: PLR2004
        return Place(file, int(row), called.strip().removeprefix("at "))
    return None


def _above(log: Log, number: int) -> tuple[Place | None, str, str]:
    """Return where it was thrown, as Node prints it in front, what was thrown, and the test that Jest names."""
    message, test, thrown = "", "", None
    for above in log.back(number, 60):
        text = log.at(above).strip()
        if not message and _RAISED.match(text):
            message = text.removesuffix(" {")
        elif text.startswith(("● ", "✖ ", "not ok ", "FAIL ")):
            test = text.split(" ", 1)[1]
            message = message or next((log.at(n).strip() for n in range(above + 1, number) if log.at(n).strip()), "")
            break
        elif message and above < number - _NEAR:
            break
        elif not text and message:
            continue
        if (
            not text.startswith("at ")
            and (place := _THROWN.match(text))
            and number - above <= _NEAR
            and is_file(place["file"])
        ):
            thrown = Place(place["file"], int(place["line"]))
            break
    return thrown, message, test


def tap(log: Log, number: int) -> Found | None:
    """Read the place of a test that failed in Node's TAP output; the test is named above, the error below."""
    if not (match := _TAP.match(log.at(number))):
        return None
    test = next((t[1] for above in log.back(number, 5) if (t := _NOT_OK.match(log.at(above)))), None)
    if test is None:
        return Found("", past=number + 1)
    message, inner = "", None
    for past in log.ahead(number, 60):
        label, _, said = log.at(past).strip().partition(":")
        if label == "error":
            message = said.strip(" '") if said.strip() not in {"|-", "|"} else log.at(past + 1).strip()
        elif (called := _TAP_CALL.match(log.at(past))) and inner is None:
            inner = Place(called["file"], int(called["line"]))
        elif label == "...":
            break
    place = inner or Place(match["file"], int(match["line"]))
    return Found(place.file, place.line, 0, Severity.ERROR, message or test, test, "node", past=past)


def rejected(log: Log, number: int) -> Found | None:
    """Read the place that Node prints alone above the source and the syntax error."""
    line, _ = log.bare(number)
    if not line[-1:].isdigit() or not (match := _THROWN.match(line)) or not is_file(match["file"]) or "(" in line:
        return None
    for below in log.ahead(number, 8):
        if (raised := _RAISED.match(log.at(below).strip())) and not log.at(below)[:1].isspace():
            if log.at(below + 1).lstrip().startswith("at "):
                return None  # The stack trace below names the place too.
            return Found(
                match["file"],
                int(match["line"]),
                message=log.at(below).strip(),
                code=raised["kind"],
                tool="node",
                past=below,
            )
    return None
