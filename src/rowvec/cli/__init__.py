"""The `rowvec` command. Whatever imports this is its process, and its garbage is looked for as suits a command."""

from __future__ import annotations

import gc
import os
from typing import Any

USUAL = (10_000, 20, 50)
"""When Python looks for garbage: the rows of a batch are none, and far more objects than the 700 after which it would
look."""
FIRST = 300_000
"""Objects before it looks at all. A command imports about 150,000, none of them garbage: it would look 54
times while a sync starts, for some 50 ms."""


def _from_now_on(phase: str, info: dict[str, Any]) -> None:
    gc.set_threshold(*USUAL)
    gc.callbacks.remove(_from_now_on)


gc.set_threshold(FIRST, *USUAL[1:])
gc.callbacks.append(_from_now_on)
# Pydantic looks through the metadata of every installed package for plugins: 2 % of a sync that finds nothing to do,
# with 200 packages. None has to do with how a command reads its settings. A value of the user's own counts.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
