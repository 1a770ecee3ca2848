"""A repository's skills on a terminal and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli import document, layout
from orchestrator.cli.shelved import changes, history_fields, say_away
from orchestrator.cli.text import age, lines, visible
from orchestrator.cli.wording import Line
from orchestrator.library.skill import SkillStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.cli.screen import Screen
    from orchestrator.librarian import Librarian
    from orchestrator.library.history import Written
    from orchestrator.library.skill import Skill

_STATUS: Final = {
    SkillStatus.PROPOSED: ("?", "yellow"),
    SkillStatus.TRIED: ("?", "yellow"),
    SkillStatus.FAILED: ("✗", "red"),
    SkillStatus.APPROVED: ("✓", "green"),
    SkillStatus.DECLINED: ("·", "dim"),
}


def fields(skill: Skill) -> dict[str, Any]:
    """Return a skill as JSON, with its file and the commands of its steps."""
    told = skill.model_dump(mode="json", exclude={"more", "about"})
    return {**told, "commands": skill.commands, "file": skill.path}


def table(screen: Screen, skills: Sequence[Skill]) -> None:
    """Print skills as aligned lines; nothing where there are none."""
    if not skills:
        return
    now = datetime.now(UTC)
    rows = [[Text(word, "dim") for word in ("SKILL", "STATUS", "AGE", "DESCRIPTION")]]
    rows += [
        [
            Text(f"skills/{one.name}", "bold"),
            _status(one),
            Text(age((now - one.updated).total_seconds()) if one.updated else "?"),
            Text(visible(one.description)),
        ]
        for one in skills
    ]
    screen.line()
    screen.lines(layout.table(rows, right=(2,)))


def whole(screen: Screen, librarian: Librarian, skill: Skill, history: list[Written]) -> None:
    """Print a skill whole."""
    if screen.json:
        known = {**fields(skill), "history": history_fields(history)}
        document.write("dreamdock.memory.skill/1", {"skill": known})
        return
    screen.line(Text(f"skills/{skill.name}", "bold"))
    layout.beside(screen, Text("  "), Text(visible(skill.description)))
    screen.line()
    for row in lines(skill.text) if skill.text else []:
        layout.beside(screen, Text("  "), Text(row))
    screen.line()
    seen = ", ".join(f"run {visible(one.run)} step {one.step}" for one in skill.evidence)
    layout.put(screen, [Line("status", _status(skill)), Line("seen in", Text(seen or "no run"), prose=True)])
    if skill.tried:
        layout.put(screen, [Line("tried", Text(visible(skill.tried)), prose=True)])
    layout.put(screen, changes(history))
    screen.whole(Text.assemble(("file".ljust(layout.LABEL), "dim"), visible(str(librarian.root / skill.path))))
    if skill.status is SkillStatus.TRIED:
        screen.next(f"dreamdock memory approve skills/{skill.name}", f"dreamdock memory forget skills/{skill.name}")


def settled(screen: Screen, skill: Skill, away: str) -> None:
    """Print what became of a skill."""
    if screen.json:
        document.write("dreamdock.memory.skill/1", {"skill": fields(skill), "away": away or None})
        return
    screen.line(_status(skill).append(f": skills/{skill.name}", "bold"))
    say_away(screen, away)
    screen.next(f"dreamdock memory show skills/{skill.name}")


def exported(screen: Screen, files: Mapping[str, str], folder: Path) -> None:
    """Write skills below a folder, over what lies there under their names, and say where."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    if screen.json:
        told = {"folder": str(folder), "files": list(files)}
        document.write("dreamdock.memory.skills/1", told)
        return
    for path in files:
        screen.line(visible(str(folder / path)))
    if not files:
        screen.say("no skill is approved")
        screen.next("dreamdock memory list")


def _status(skill: Skill) -> Text:
    glyph, style = _STATUS[skill.status]
    return Text(f"{glyph} {skill.status}", style)
