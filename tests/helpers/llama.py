"""A real llama.cpp server in a process of its own, on a loopback port that it chose itself.

Run as a script (`python llama.py MODEL CONTEXT [KEY]`) this file is that process: it serves until its standard input
closes, so that it ends with whoever started it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ASKED: Final = re.compile(r"new prompt, .*task\.n_tokens = (\d+)")
_COUNTED: Final = "llamacpp:"
_DEBUG: Final = 5  # llama.cpp's verbosity at which it says what its grammars do.
_LOGGED_S: Final = 10.0


@dataclass(frozen=True)
class Server:
    """A running server: where it is asked, and what it says of itself."""

    url: str
    log: Path
    key: str = ""

    @property
    def base_url(self) -> str:
        """What `--base-url` takes."""
        return f"{self.url}/v1"

    def asked(self, least: int = 0) -> list[int]:
        """Return the tokens of each prompt that it was sent, in order, refused ones too.

        It waits some seconds until there are `least`: they are logged behind the replies.
        """
        deadline = time.monotonic() + _LOGGED_S
        while len(found := _ASKED.findall(self.says())) < least and time.monotonic() < deadline:
            time.sleep(0.02)
        return [int(tokens) for tokens in found]

    def says(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")

    def has_said(self, text: str) -> str:
        """Return its log so far, once the text is in it, or after some seconds: it's written behind the replies."""
        deadline = time.monotonic() + _LOGGED_S
        while text not in (log := self.says()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return log

    def counted(self) -> dict[str, float]:
        """Return its own counters by name: `prompt_tokens_total` (without cached ones), `tokens_predicted_total`, …"""
        request = Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.key}"})  # noqa: S310  # Ours.
        with urlopen(request, timeout=10) as answer:  # noqa: S310  # As above.
            lines = answer.read().decode().splitlines()
        pairs = (line.removeprefix(_COUNTED).split() for line in lines if line.startswith(_COUNTED))
        return {name: float(value) for name, value in pairs}


@contextmanager
def serve(model: Path, *, context: int, log: Path, key: str = "") -> Iterator[Server]:
    """Serve a model file with a window of `context` tokens, to who has the key; the server is gone after the block."""
    argv = [sys.executable, __file__, str(model), str(context), *([key] if key else [])]
    with (
        log.open("wb") as said,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdin, "as asked for"
        assert process.stdout, "as asked for"
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"the server didn't come up: {log.read_text(errors='replace')[-2000:]}"
        try:
            yield Server(url, log, key)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _main() -> None:
    import xllamacpp  # noqa: PLC0415  # Only in the server's process.

    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.n_ctx = int(sys.argv[2])
    parameters.api_keys = sys.argv[3:]
    parameters.fit_params = False  # The window is the one that was asked for.
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cache_ram_mib = 0  # What is cached is the last prompt, so that the counts are the same each time.
    parameters.endpoint_metrics = True
    parameters.ui = False
    parameters.verbosity = _DEBUG
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _main()
