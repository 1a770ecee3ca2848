"""`dreamdock queue` as it's typed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from orchestrator.cli.queue import queue


@pytest.mark.parametrize("command", ["drain", "resume"])
@pytest.mark.parametrize("host", ["", " "])
def test_an_empty_host_isnt_every_host(command: str, host: str) -> None:
    done = CliRunner().invoke(queue, [command, host])
    assert done.exit_code == 2, "a script's variable that isn't set drains nothing"
    assert "leave it out" in done.output
