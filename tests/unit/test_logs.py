from __future__ import annotations

import subprocess
import sys

from kit import SECRET

_FAIL = f"""
import structlog
from orchestrator import logs
logs.configure(["{SECRET}"])
log = structlog.get_logger("x")

def build(secret):
    raise ValueError("no good: " + secret[:4])

log.info("begun", run="r1", key="{SECRET}")
try:
    build("another-secret-0815")
except ValueError:
    log.exception("an attempt failed", run="r1")
"""


def test_a_log_tells_what_failed_but_no_value_and_no_key() -> None:
    told = subprocess.run([sys.executable, "-c", _FAIL], capture_output=True, text=True, check=True).stdout
    assert "begun run='r1'" in told
    assert "[redacted]" in told
    assert "an attempt failed run='r1'" in told
    assert "in build" in told
    assert "ValueError: no good: anot" in told
    assert SECRET not in told
    assert "another-secret-0815" not in told, "what a frame's variables hold"
