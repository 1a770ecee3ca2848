"""What the documents name exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest

from orchestrator.cli.attacks import ALL
from orchestrator.cli.root import cli

ROOT = Path(__file__).resolve().parents[2]
PROMISED = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Promised")[2].partition("\n## ")[0]


def test_every_check_is_a_promise_and_every_named_check_exists() -> None:
    shown = " ".join(row.split("|")[2] for row in PROMISED.splitlines() if row.startswith("| "))
    named = set(re.findall(r"`([a-z0-9-]+)`", shown))
    assert named == {check.id for check in ALL}


def test_every_promise_names_what_shows_it() -> None:
    rows = [line for line in PROMISED.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    for row in rows:
        shown = row.split("|")[2]
        assert "`" in shown, row


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PROMISED))))
def test_every_named_test_exists(named: str) -> None:
    path, _, name = named.partition("::")
    assert (ROOT / path).is_file()
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8") if name else True


@pytest.mark.parametrize(
    "document", ["README.md", "SECURITY.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere_and_commands_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / document).parent / target).exists(), target
    for command in re.findall(r"(?:^|[`$ ])dreamdock ([a-z]+)\b", text, flags=re.MULTILINE):
        assert cli.get_command(click.Context(cli), command), command


def test_the_readme_begins_with_what_the_demo_really_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("```console\n")[2].partition("```")[0]
    demo = ROOT / "orchestrator/demo/boltons"
    replies = [json.loads(line) for line in (demo / "script.jsonl").read_text(encoding="utf-8").splitlines()]
    said = [reply["text"] for reply in replies]
    typed = [call["arguments"].get("command") for reply in replies for call in reply["calls"]]
    accept = tomllib.loads((demo / "project.toml").read_text(encoding="utf-8"))["accept"]
    steps = re.findall(r"^step (\d+)/200 +(.+)$", shown, flags=re.MULTILINE)
    assert len(steps) >= 4
    assert all(said[int(number) - 1] == text for number, text in steps)
    commands = re.findall(r"^ {14}\$ (.+)$", shown, flags=re.MULTILINE)
    assert commands == ["curl -sS --max-time 5 https://boltons.readthedocs.io/", typed[0], accept]
    assert set(commands) <= {*typed, accept}
    assert "Could not resolve host" in shown, "the sandbox is seen refusing"
