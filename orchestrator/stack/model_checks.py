"""What `dreamdock doctor --model` proves of a model: its key is there, and it answers as an agent needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import DreamdockError
from orchestrator.models import catalog, is_scripted, open_model
from orchestrator.models.keys import read_key
from orchestrator.stack.check import HostCheck, failed, tried

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.models.families import Choice
    from orchestrator.settings import Settings


def model_checks(settings: Settings, name: str, base_url: str, environ: Mapping[str, str]) -> Iterator[HostCheck]:
    """Look for the model's key in `environ`, and ask the model for one call, which may cost a fraction of a cent.

    `base_url` is empty for the family's own address. Takes two minutes at most. Raises nothing.
    """
    if is_scripted(name):
        found = f"{name} follows a script: there is nobody to ask"
        yield HostCheck("model", ok=False, found=found, remedy="--model FAMILY/NAME, a real one")
        return
    try:
        choice = catalog(settings.families).choose(name, base_url=base_url)
    except DreamdockError as error:
        yield failed("model", error)
        return
    key = tried("model key", lambda: _key(choice, environ))
    yield key
    if key.ok:
        yield tried("model", lambda: _model(choice, environ))
    else:
        yield HostCheck("model", ok=False, found="not asked: it lacks its key", remedy=key.remedy)


def _key(choice: Choice, environ: Mapping[str, str]) -> HostCheck:
    """Say where the key is, never what."""
    name, variable = "model key", choice.family.key
    if variable and read_key(variable, environ) is not None:
        direct = environ.get(variable, "").strip()
        return HostCheck(name, ok=True, found=f"set in {variable if direct else f'{variable}_FILE'}")
    if choice.family.key_optional or not variable:
        found = f"{variable} is not set, which servers of one's own may do without" if variable else "none is needed"
        return HostCheck(name, ok=True, found=found)
    return HostCheck(
        name, ok=False, found=f"{variable} is not set", remedy=f"export {variable}=… (or {variable}_FILE=PATH)"
    )


def _model(choice: Choice, environ: Mapping[str, str]) -> HostCheck:
    from orchestrator.models.probe import PATIENCE, probe  # noqa: PLC0415  # The SDKs cost a second.

    model = open_model(choice, environ, patience=PATIENCE)
    try:
        answer = probe(model)
    finally:
        model.close()
    time = f"first piece after {answer.first_s:.1f} s, all after {answer.seconds:.1f} s"
    used = f"{answer.usage.input_tokens} tokens in, {answer.usage.output_tokens} out"
    cost = "price unknown" if answer.cost_usd is None else f"${answer.cost_usd:.6f}"
    return HostCheck("model", ok=True, found=f"{choice.name} called the tool; {time}; {used}; {cost}")
