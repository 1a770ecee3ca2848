from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UnavailableError
from orchestrator.stack.packages import Rights, install, may_install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Refusing:
    """A person at a terminal who says no."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.steps: list[str] = []

    def line(self, text: str) -> None:
        pass

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        self.steps.append(text)
        yield lambda _: None

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return False


@pytest.mark.parametrize(
    ("euid", "sudo_ok", "apt_present", "expected"),
    [
        (0, False, True, True),
        (1000, True, True, True),
        (1000, False, True, False),
        (0, False, False, False),
        (1000, True, False, False),
    ],
)
def test_packages_may_be_installed_by_root_or_sudo_where_apt_is(
    euid: int, sudo_ok: bool, apt_present: bool, expected: bool
) -> None:
    assert may_install(euid=euid, sudo_ok=sudo_ok, apt_present=apt_present) is expected


def test_without_rights_the_error_says_what_to_type() -> None:
    person = Refusing()
    rights = Rights(euid=1000, sudo_ok=False, apt_present=True)
    with pytest.raises(UnavailableError) as caught:
        install(["docker.io"], person, why="run sealed containers", rights=rights)
    assert caught.value.exit_code == 5
    assert caught.value.hint == "sudo apt-get install --no-install-recommends docker.io"
    assert "neither root nor password-less sudo" in caught.value.cause
    assert not person.asked


def test_without_apt_the_error_names_the_package() -> None:
    rights = Rights(euid=0, sudo_ok=False, apt_present=False)
    with pytest.raises(UnavailableError) as caught:
        install(["docker.io"], Refusing(), why="run sealed containers", rights=rights)
    assert "docker.io" in caught.value.hint
    assert "apt-get install" not in caught.value.hint


def test_a_no_at_the_terminal_installs_nothing() -> None:
    person = Refusing()
    rights = Rights(euid=0, sudo_ok=False, apt_present=True)
    with pytest.raises(UnavailableError, match="needed to run sealed containers"):
        install(["docker.io"], person, why="run sealed containers", rights=rights)
    assert person.asked == ["Debian's docker.io is needed to run sealed containers: it will be installed with apt-get."]
    assert not person.steps
