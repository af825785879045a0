"""An old model and a new one, and pipelines that change from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rowvec.embedders.base import Embedder
from rowvec.errors import EmbedderError
from rowvec.pipeline import Pipeline
from rowvec.testing import HashEmbedder
from tests.support import simple_document


class Known:
    """Embedders by the settings that a store kept: here, the name of the model."""

    def __init__(self, *embedders: HashEmbedder) -> None:
        self.embedders = {each.fingerprint.model: each for each in embedders}

    def embedder(self, settings: str) -> Embedder:
        if settings not in self.embedders:
            raise EmbedderError(f"there is no model {settings}")
        return self.embedders[settings]

    def documents(self, settings: str, model: Any) -> Any:
        return simple_document, ("name",)

    def passages(self, settings: str) -> None:
        return None

    def close(self) -> None:
        pass


@dataclass
class Models:
    """Of one test."""

    old: HashEmbedder = field(default_factory=lambda: HashEmbedder(model="old"))
    new: HashEmbedder = field(default_factory=lambda: HashEmbedder(24, model="new"))

    def of(self, embedder: HashEmbedder, base: Pipeline, **changes: Any) -> Pipeline:
        """The same pipeline with another model in its config."""
        made = embedder.fingerprint
        spec = replace(base.spec, fingerprint=made, dimension=made.dimension, settings=made.model)
        changes = {"former": Known(self.old, self.new), **changes}
        return replace(base, embedder=embedder, spec=spec, **changes)


@pytest.fixture
def models() -> Models:
    return Models()
