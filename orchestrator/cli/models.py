"""`dreamdock models`: what can be named with --model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.models.listing import ListedModel

_HEADER: Final = ("KEY", "WINDOW", "OUTPUT", "$/M IN", "CACHED", "OUT", "MODEL")


@click.command()
@with_screen
def models(screen: Screen, /) -> None:
    """List the models: window, price, and whether a key is set.

    Prices are in US dollars per million tokens of input, cached input and output.
    A family serves other names than these, too; families of your own go into the settings.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.models import catalog
    from orchestrator.models.listing import listed

    told = listed(catalog(settings.load().families), os.environ)
    if screen.json:
        document.write("dreamdock.models/1", {"models": [model.model_dump(mode="json") for model in told]})
        return
    for line in table(told):
        screen.line(line)
    ready = [model for model in told if model.key_set or (model.base_url and model.key_optional)]
    usable = [model.name for model in ready if not model.name.endswith("/NAME")]
    name = usable[0] if usable else told[0].name
    screen.next(*(() if usable else (f"export {told[0].key}=…",)), f"dreamdock doctor --model {name}")


def table(told: tuple[ListedModel, ...]) -> list[Text]:
    """Return the models as aligned lines under a header."""
    from rich.text import Text

    from orchestrator.cli import layout

    rows = [[Text(word, "dim") for word in _HEADER], *(_row(model) for model in told)]
    return layout.table(rows, right=(1, 2, 3, 4, 5))


def _row(model: ListedModel) -> list[Text]:
    from rich.text import Text

    from orchestrator.cli.text import count, visible

    price = [f"{figure:.4g}" for figure in model.price] if model.price else ["?", "?", "?"]
    sizes = [count(size) if size else "?" for size in (model.window, model.output)]
    name = Text.assemble((visible(model.name), "bold"), (f"  {model.key}", "dim"))
    return [_key(model), *map(Text, sizes), *map(Text, price), name]


def _key(model: ListedModel) -> Text:
    from rich.text import Text

    if model.key_set:
        return Text("✓ set", "green")
    return Text("· optional") if model.key_optional else Text("✗ not set", "yellow")
