"""Pairs of statements as a library gets them: said twice in other words, contradicting in one literal, or only similar.

Each frame is something that runs learn about a repository, in several wordings as different agents would note it. `{0}`
is what it is about, `{1}` and `{2}` are literals.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

SAME, CONTRADICTION, DIFFERENT = "same", "contradiction", "different"
_SEED: Final = 11


class Pair(NamedTuple):
    """Two statements and how they stand to one another."""

    kind: str
    one: str
    other: str


class Frame(NamedTuple):
    """Wordings of one statement, and what can stand in it."""

    wordings: tuple[str, ...]
    about: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...] = ("",)


_PATHS: Final = ("src/api/auth.py", "lib/cache/store.go", "web/src/App.tsx", "core/parser.rs", "conf/settings.yaml")
_PORTS: Final = ("5432", "6379", "8080", "8443", "9200", "3000")
_VERSIONS: Final = ("3.9", "3.11", "3.12", "18.2", "20.4", "1.75")
_COMMANDS: Final = (
    "make test",
    "npm run check",
    "cargo nextest run",
    "pytest -q tests/unit",
    "go test ./...",
    "tox -e py311",
)
_FLAGS: Final = ("--no-cache", "--frozen", "--all-features", "--race", "-x")
_NAMES: Final = ("SessionStore", "parse_header", "retry_policy", "UserIndex", "load_fixture")
_VARIABLES: Final = ("DATABASE_URL", "API_TIMEOUT", "CACHE_DIR", "LOG_LEVEL", "FEATURE_FLAGS")
_NUMBERS: Final = ("3", "5", "10", "30", "120", "250", "4096")
_PARTS: Final = ("billing", "search", "login", "export", "webhook", "invoice", "upload", "notification")

FRAMES: Final = (
    Frame(
        (
            "Run the {0} tests with `{1}`.",
            "Use `{1}` to run the tests of {0}.",
            "The {0} test suite is started by `{1}`.",
            "To execute tests for {0}, call `{1}`.",
        ),
        _PARTS,
        _COMMANDS,
    ),
    Frame(
        (
            "The {0} service listens on port {1}.",
            "{0} service is listening on port {1}",
            "Port {1} is where the {0} service listens.",
        ),
        _PARTS,
        _PORTS,
    ),
    Frame(
        (
            "The {0} code needs Python {1} or newer.",
            "{0} requires Python {1} or newer",
            "Python {1} or newer is required by the {0} code.",
        ),
        _PARTS,
        _VERSIONS,
    ),
    Frame(
        (
            "{0} settings are read from {1}.",
            "The settings of {0} live in {1}.",
            "{1} holds the {0} settings.",
            "The {0} configuration is in {1}.",
        ),
        _PARTS,
        _PATHS,
    ),
    Frame(
        (
            "`{1}` in {2} is not thread-safe: {0} workers must lock it.",
            "{0} workers must lock `{1}` ({2}), it is not thread-safe.",
            "Because `{1}` of {2} isn't thread-safe, {0} workers have to lock it.",
        ),
        _PARTS,
        _NAMES,
        _PATHS,
    ),
    Frame(
        (
            "The {0} request times out after {1} seconds.",
            "{0} requests time out after {1} seconds",
            "After {1} seconds a {0} request is timed out.",
        ),
        _PARTS,
        _NUMBERS,
    ),
    Frame(
        (
            "Set {1} before starting the {0} server, else it crashes.",
            "The {0} server crashes at start if {1} is not set.",
            "Without {1} set, the {0} server fails when it starts.",
        ),
        _PARTS,
        _VARIABLES,
    ),
    Frame(
        (
            "Pass {1} to the {0} build; without it stale artefacts are linked.",
            "The {0} build needs {1}, stale artefacts are linked without it.",
            "Stale artefacts are linked in the {0} build without {1}.",
        ),
        _PARTS,
        _FLAGS,
    ),
    Frame(
        (
            "`{1}` raises KeyError when the {0} payload is empty; check for that first.",
            "If the {0} payload is empty, `{1}` raises KeyError: check first.",
            "Check for an empty {0} payload first, `{1}` raises KeyError on it.",
        ),
        _PARTS,
        _NAMES,
    ),
    Frame(
        (
            "Generated {0} files live in {1} and must not be edited by hand.",
            "Do not edit the generated {0} files in {1} by hand.",
            "{1} has generated {0} files; never edit them by hand.",
        ),
        _PARTS,
        _PATHS,
    ),
    Frame(
        (
            "{0} retries are limited to {1} by {2}.",
            "{2} limits {0} retries to {1}.",
            "The limit of {0} retries is {1}, from {2}.",
        ),
        _PARTS,
        _NUMBERS,
        _VARIABLES,
    ),
    Frame(
        (
            "Dates of the {0} module are stored as UTC in the column {1}.",
            "The {0} module stores dates as UTC in column {1}.",
            "In column {1}, dates of the {0} module are kept as UTC.",
        ),
        _PARTS,
        ("created_at", "updated_at", "due_on", "paid_at"),
    ),
    Frame(
        (
            "The {0} migration {1} has to run after {2}.",
            "Migration {1} of {0} must run after {2}.",
            "Run {0} migration {1} after {2}.",
        ),
        _PARTS,
        ("0042_users", "0043_index", "0051_orders", "0060_prices"),
        ("0012_base", "0019_roles", "0030_teams"),
    ),
    Frame(
        (
            "{0} fixtures are cached under {1} for {2} minutes.",
            "Under {1} the {0} fixtures are cached for {2} minutes.",
            "Fixtures for {0} are cached {2} minutes in {1}.",
        ),
        _PARTS,
        _PATHS,
        _NUMBERS,
    ),
    Frame(
        (
            "We decided to keep {0} logic in `{1}` so that {2} stays free of I/O.",
            "Decision: {0} logic is kept in `{1}`, {2} stays free of I/O.",
            "{0} logic was decided to stay in `{1}`; this keeps {2} free of I/O.",
        ),
        _PARTS,
        _NAMES,
        _PATHS,
    ),
    Frame(
        (
            "The {0} endpoint returns status {1} for unknown ids.",
            "For unknown ids the {0} endpoint gives status {1}.",
            "Unknown ids make the {0} endpoint return status {1}.",
        ),
        _PARTS,
        ("404", "410", "422", "400"),
    ),
)
_TAILS: Final = ("", "", "", " This was seen again today.", " Note this for later.")
_FRONTS: Final = ("", "", "", "Remember: ", "Note that ")


def pairs(each: int = 400) -> tuple[Pair, ...]:
    """Return so many pairs of each kind, always the same."""
    chance = random.Random(_SEED)  # noqa: S311  # No secret: the same pairs each time.
    made = [
        make(chance, FRAMES[number % len(FRAMES)])
        for make in (_same, _contradicting, _different)
        for number in range(each)
    ]
    return tuple(made)


def _same(chance: random.Random, frame: Frame) -> Pair:
    filled = chance.choice(frame.about), chance.choice(frame.first), chance.choice(frame.second)
    one, other = chance.sample(frame.wordings, 2)
    return Pair(SAME, one.format(*filled), _dressed(chance, other.format(*filled)))


def _contradicting(chance: random.Random, frame: Frame) -> Pair:
    about, first, second = chance.choice(frame.about), chance.choice(frame.first), chance.choice(frame.second)
    changed = chance.choice([word for word in frame.first if word != first]), second
    if len(frame.second) > 1 and chance.random() < 0.5:  # noqa: PLR2004  # One of the two.
        changed = first, chance.choice([word for word in frame.second if word != second])
    one, other = chance.choice(frame.wordings), chance.choice(frame.wordings)
    return Pair(CONTRADICTION, one.format(about, first, second), _dressed(chance, other.format(about, *changed)))


def _different(chance: random.Random, frame: Frame) -> Pair:
    first, second = chance.choice(frame.first), chance.choice(frame.second)
    if chance.random() < 0.5:  # noqa: PLR2004  # Half of them are about another part, in nearly the same words.
        one, other = chance.sample(frame.about, 2)
        wording = chance.choice(frame.wordings)
        return Pair(DIFFERENT, wording.format(one, first, second), wording.format(other, first, second))
    fellow = chance.choice([one for one in FRAMES if one is not frame])
    about = chance.choice(frame.about)
    left = chance.choice(frame.wordings).format(about, first, second)
    right = chance.choice(fellow.wordings).format(about, chance.choice(fellow.first), chance.choice(fellow.second))
    return Pair(DIFFERENT, left, _dressed(chance, right))


def _dressed(chance: random.Random, text: str) -> str:
    """Return a statement with what agents put around one."""
    return f"{chance.choice(_FRONTS)}{text}{chance.choice(_TAILS)}"
