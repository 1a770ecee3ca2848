"""Debian packages: whether we may install them, and doing it.

Standard library only: set-up runs it before the venv exists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import UnavailableError
from orchestrator.stack.process import run_told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.stack.report import Reporter


@dataclass(frozen=True)
class Rights:
    """What this process may do to the machine."""

    euid: int
    sudo_ok: bool
    """`sudo` works without a password."""
    apt_present: bool

    @classmethod
    def probe(cls) -> Rights:
        """Try it out."""
        euid = os.geteuid()
        return cls(euid=euid, sudo_ok=euid != 0 and _sudo_works(), apt_present=shutil.which("apt-get") is not None)

    @property
    def as_root(self) -> tuple[str, ...] | None:
        """What goes in front of a command that needs root; None where there is no way."""
        if self.euid == 0:
            return ()
        return ("sudo", "-n") if self.sudo_ok else None


def may_install(*, euid: int, sudo_ok: bool, apt_present: bool) -> bool:
    """Whether Debian packages may be installed: apt is there, and root or password-less sudo."""
    return apt_present and Rights(euid=euid, sudo_ok=sudo_ok, apt_present=apt_present).as_root is not None


def install(packages: Sequence[str], reporter: Reporter, *, why: str, rights: Rights | None = None) -> None:
    """Install Debian packages, without what they merely recommend.

    `why` completes the sentence "Debian's ... is needed to ...". On a tty the person is asked first.
    Raises UnavailableError with what to type where it may not, or was told no.
    """
    rights = rights or Rights.probe()
    names = " ".join(packages)
    by_hand = f"sudo apt-get install --no-install-recommends {names}"
    if not may_install(euid=rights.euid, sudo_ok=rights.sudo_ok, apt_present=rights.apt_present):
        lacking = "neither root nor password-less sudo" if rights.apt_present else "there is no apt-get here"
        hint = by_hand if rights.apt_present else f"install {names} with this system's package manager"
        raise UnavailableError(f"{names} is needed to {why}", cause=f"may not install it: {lacking}", hint=hint)
    if not reporter.ask(f"Debian's {names} is needed to {why}: it will be installed with apt-get."):
        raise UnavailableError(f"{names} is needed to {why}", cause="not installed: the answer was no", hint=by_hand)
    apt = (*(rights.as_root or ()), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300")
    with reporter.step(f"installing {names}") as detail:
        with suppress(UnavailableError):  # One broken third-party source fails it; the installation tells what matters.
            run_told((*apt, "update"), detail, failed="apt-get update failed", hint="mend this machine's apt sources")
        wanted = ("install", "--yes", "--no-install-recommends", *packages)
        run_told((*apt, *wanted), detail, failed=f"{names} can't be installed", hint=by_hand)


def _sudo_works() -> bool:
    if shutil.which("sudo") is None:
        return False
    tried = subprocess.run(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return tried.returncode == 0
