"""What `dreamdock run` does: from the words on the command line to the outcome of the run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from pydantic import ValidationError
from rich.text import Text

from orchestrator import settings
from orchestrator.cli import document, layout, states, wording
from orchestrator.cli.door import opened, told_away, without_secrets
from orchestrator.cli.follow import tell
from orchestrator.cli.patch import coloured
from orchestrator.cli.reporter import TalkReporter
from orchestrator.cli.waits import sentence
from orchestrator.errors import NotFoundError, UsageError
from orchestrator.models import is_scripted
from orchestrator.models.keys import has_key
from orchestrator.requests import RunRequest, read_spec_file
from orchestrator.runs import LONGEST_TASK, Outcome, Requires
from orchestrator.settings import reasons
from orchestrator.stack.image import check_image
from orchestrator.stack.up import ensure_served, take_down
from orchestrator.steering import taking_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.api import Door
    from orchestrator.cli.screen import Screen
    from orchestrator.runs import RunSpec, RunView
    from orchestrator.settings import Settings

DETACHED: Final = 8
_DIFF_LINES: Final = 400
_LIMITS: Final = {
    "steps": "steps",
    "tokens": "tokens",
    "money": "money_usd",
    "seconds": "seconds",
    "candidates": "candidates",
}
_REQUIRABLE: Final = ("label", "memory_mb", "cpus", "gpus")
_HINT: Final = 'dreamdock run "fix the failing tests"'


def carry_out(screen: Screen, request: RunRequest, *, detach: bool = False, dry_run: bool = False) -> int:
    """Resolve a request, start what is missing, submit it and follow it. Returns the exit code."""
    with opened() as door:
        task = without_secrets(screen, door, request.task, "the task")
        spec = door.resolve(request.model_copy(update={"task": task}))
        if dry_run:
            _plan(screen, door, spec)
            return 0
        loaded, reporter = settings.load(), TalkReporter(screen)
        ensure_served(loaded, reporter)
        if spec.image and not spec.build:
            check_image(spec.image)
        _pass_keys_on(door, spec, loaded, reporter)
        if is_scripted(spec.model) and not spec.script:
            screen.say(
                "no model key is set: a script looks around and changes nothing (export MIMO_API_KEY=…, or another)"
            )
        for danger in door.dangers():
            screen.say(Text.assemble(("warning: ", "bold yellow"), danger))
        view = door.submit(spec)
        if waits := sentence(door.show(view.id).waiting):
            screen.say(Text.assemble(("it waits: ", "bold yellow"), waits))
        if detach:
            _detached(screen, view)
            return 0
        return _follow(screen, door, view.id, request)


def _pass_keys_on(door: Door, spec: RunSpec, loaded: Settings, reporter: TalkReporter) -> None:
    """Start idle workers anew where they lack a key and this shell has it: keys travel by environment."""
    variables = [key.variable for key in door.lacking(spec) if has_key(key.variable, os.environ)]
    if variables and not door.runs(include_done=False, limit=1).runs:
        reporter.line(f"the workers were started without {' and '.join(variables)}; starting them anew")
        take_down(loaded)
        ensure_served(loaded, reporter)


def read_request(task: str | None, file: str | None, asked: dict[str, Any], stdin: TextIO) -> RunRequest:
    """Put argument, file and flags together; a flag wins over the file. Raises UsageError for an empty task."""
    spec_file = file is not None and file.endswith(".toml")
    if task is not None and file is not None and not spec_file:
        raise UsageError("there are two tasks", cause=f"one is an argument, one is in {file}", hint="leave one out")
    base = read_spec_file(Path(file)) if file is not None and spec_file else RunRequest()
    text = _read(task, None if spec_file else file, stdin)
    flags = {key: value for key, value in asked.items() if value is not None and value is not False and value != ()}
    wanted = _required(base.requires, flags.pop("require", ()))
    limits = {key: float(flags.pop(flag)) for flag, key in _LIMITS.items() if flag in flags}
    origin = {"accept_origin": "flag"} if "accept" in flags else {}
    words = {} if text is None else {"task": text}
    request = base.model_copy(update={**flags, **origin, **words, "limits": base.limits | limits, "requires": wanted})
    if not request.task.strip():
        raise UsageError("the task is empty", cause="nothing says what to do", hint=_HINT)
    return request


def _required(known: Requires, asked: Sequence[str]) -> Requires:
    """Put what flags require to what the spec file does. Raises UsageError."""
    labels, figures = [*known.labels], dict[str, str]()
    for text in asked:
        key, equals, value = text.partition("=")
        if not equals or key not in _REQUIRABLE:
            cause = f"it has to be KEY=VALUE, the key one of {', '.join(_REQUIRABLE)}"
            raise UsageError(f"{text!r} is no requirement", cause=cause, hint="--require label=ssd")
        if key == "label":
            labels.append(value)
        else:
            figures[key] = value
    try:
        return Requires.model_validate(known.model_dump() | figures | {"labels": labels})
    except ValidationError as error:
        raise UsageError("a requirement can't be", cause=reasons(error), hint="--require memory_mb=8192") from error


def _read(task: str | None, file: str | None, stdin: TextIO) -> str | None:
    if file is None and task != "-":
        return task
    try:
        if "-" in {task, file}:
            return _bounded(stdin)
        with Path(str(file)).open(encoding="utf-8") as text:
            return _bounded(text)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file}", hint="dreamdock run --help") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file or 'standard input'} can't be read as text", cause=str(error), hint="dreamdock run --help"
        ) from error


def _bounded(text: TextIO) -> str:
    """Read a task; one that is too long for a run is refused before it is read to its end."""
    read = text.read(LONGEST_TASK + 1)
    if len(read) > LONGEST_TASK:
        raise UsageError("the task is too long", cause=f"it has more than {LONGEST_TASK} characters", hint=_HINT)
    return read


def _plan(screen: Screen, door: Door, spec: RunSpec) -> None:
    """Print what would run, and what it would be sealed with."""
    policy, setup_policy = door.policy(spec), door.setup_policy(spec)
    if screen.json:
        told = {"spec": spec.model_dump(mode="json", exclude={"script"}), "policy": policy}
        document.write("dreamdock.plan/1", told | ({"setup_policy": setup_policy} if setup_policy else {}))
        return
    layout.put(screen, wording.describe(spec))
    if spec.recall_tokens:
        most = f"up to {spec.recall_tokens:,} tokens at its start, and as many for each search of its own"
        layout.put(screen, [wording.Line("memory", Text(most), prose=True)])
    screen.line()
    layout.facts(screen, policy)
    if setup_policy:
        screen.line()
        screen.line("set-up has a container of its own, before the run; by this machine's settings it is as above, but")
        layout.facts(screen, setup_policy)
    screen.next("the same command without --dry-run")


def _detached(screen: Screen, view: RunView) -> None:
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    for line in wording.describe(view.spec):
        if line.label in {"acceptance", "left out", "submodules", "LFS files"}:
            screen.say(Text.assemble((f"{line.label}: ", "dim"), line.text))
    screen.line(view.id)
    _come_back(screen, view.id)


def _come_back(screen: Screen, run_id: str) -> None:
    short = screen.id(run_id)
    screen.next(f"dreamdock logs -f {short}", f"dreamdock cancel {short}")


def _follow(screen: Screen, door: Door, run_id: str, request: RunRequest) -> int:
    try:
        end, outcome = tell(screen, run_id, door.listen(run_id, away=told_away(screen)), progress=True)
    except KeyboardInterrupt:
        if screen.json:
            document.write("dreamdock.detached/1", {"run": run_id})
        screen.say(f"detached; run {screen.id(run_id)} goes on")
        _come_back(screen, run_id)
        return DETACHED
    if outcome is None:  # It is parked.
        short = screen.id(run_id)
        screen.next(f"dreamdock resume {short}", f"dreamdock diff {short}", f"dreamdock cancel {short}")
        return DETACHED
    told = door.costs(run_id)
    if screen.json:
        document.cost(run_id, told)
    else:
        changed = _show_diff(screen, door.diff(run_id))
        layout.put(screen, [*end, *wording.costs(told)])
        short = screen.id(run_id)
        where = "" if request.repo == "." or "://" in request.repo else f" --repo {shlex.quote(request.repo)}"
        work = (f"dreamdock diff {short}", f"dreamdock apply {short}{where}") if changed else ()
        again = () if outcome is Outcome.SUCCEEDED else (taking_up(door.show(run_id).view, short),)
        screen.next(*work, *again, f"dreamdock audit {short}")
    return states.EXIT_CODES[outcome]


def _show_diff(screen: Screen, patch: bytes) -> bool:
    """Print the patch between blank lines; false where there is none."""
    if not patch:
        return False
    screen.line()
    for line in coloured(patch, limit=_DIFF_LINES):
        screen.whole(line)
    screen.line()
    return True
