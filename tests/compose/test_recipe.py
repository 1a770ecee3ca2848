"""What compose.yaml and the image of its services are made from, looked at without starting them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kit import SECRET

from orchestrator.models import catalog
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.service_image import ensure_service_image
from sandbox import engine, images

if TYPE_CHECKING:
    from conftest import Services

ROOT = Path(__file__).resolve().parents[2]
FILE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("variable", sorted({family.key for family in catalog({}).families.values() if family.key}))
def test_every_familys_key_is_passed_on_by_name_and_has_no_value(variable: str) -> None:
    assert f"\n  {variable}:\n" in FILE
    assert f"\n  {variable}_FILE:\n" in FILE


def test_the_image_installs_what_the_projects_lock_says() -> None:
    whole = dict(PIN.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    service = dict(PIN.findall((ROOT / "images/service/requirements.lock").read_text(encoding="utf-8")))
    assert service.pop("pip")
    assert "redis" in service
    assert "pytest" not in service
    assert {name: whole.get(name) for name in service} == service, "make lock"


@pytest.mark.needs_engine
@pytest.mark.needs_root
@pytest.mark.usefixtures("services")
def test_the_image_holds_every_file_of_the_packages_and_the_base_recipe(tmp_path: Path) -> None:
    name = ensure_service_image(ROOT, images.base_image(), PlainReporter(), scratch=tmp_path)
    ask = "import sandbox, pathlib, os; os.chdir(pathlib.Path(sandbox.__file__).parents[1])\n"
    ask += "for top in ('orchestrator', 'sandbox', 'images/base'):\n"
    ask += "    print(*[p for p in pathlib.Path(top).rglob('*') if p.is_file() and p.suffix != '.pyc'], sep='\\n')\n"
    run = engine.client().containers.run
    held = run(name, ["-c", ask], entrypoint="python", network_mode="none", remove=True).decode().split()
    tops = ("orchestrator", "sandbox", "images/base")
    ours = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sorted(held) == sorted(str(path.relative_to(ROOT)) for path in ours)


@pytest.mark.needs_engine
def test_compose_accepts_the_file_and_shows_one_path_inside_and_outside(services: Services) -> None:
    shown = services.compose("config")
    assert SECRET in shown, "compose itself shows what it would pass on; the file doesn't hold it"
    assert SECRET not in FILE
    state = os.fspath(services.settings.state_dir)
    mounts = re.findall(r"source: (\S+)\n\s+target: (\S+)", re.sub(r"\n\s+type: bind", "", shown))
    assert {source == target for source, target in mounts} == {True}
    assert state in {source for source, _ in mounts}


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_services_that_cannot_start_say_why(services: Services, tmp_path: Path) -> None:
    config = tmp_path / "config" / "dreamdock" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("nonsense = 1\n")
    environ = services.environ | {"DREAMDOCK_STATE_DIR": str(tmp_path), "COMPOSE_PROJECT_NAME": f"ddbad{os.getpid()}"}
    step = [sys.executable, "-m", "orchestrator.stack.compose"]
    try:
        done = subprocess.run([*step, "up"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    finally:
        subprocess.run([*step, "down"], cwd=ROOT, env=environ, capture_output=True, check=True)
        subprocess.run(["umount", tmp_path], capture_output=True, check=False)  # Under systemd it's no mount.
    assert done.returncode == 5
    assert "error: redis can't start\ncause: nonsense: Extra inputs are not permitted\ntry: docker" in done.stderr
