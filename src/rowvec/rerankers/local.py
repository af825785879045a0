"""A reranker on this machine: a cross-encoder, loaded by the first search or when a server starts."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Protocol

from rowvec.rerankers.base import Unusable
from rowvec.rerankers.guarded import Guarded, failure


class ScoresPairs(Protocol):
    """A model that reads two texts as one. Safe to call from several threads at once."""

    def scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool]) -> Any | None:
        """One number for each text; None where it was abandoned."""
        ...

    def close(self) -> None: ...


class LocalReranker(Guarded):
    """A `Reranker` that asks nobody.

    The time of a search begins when the model is loaded, so the first search of a process takes longer.

    Args:
        load: makes the model; raises RowvecError where it cannot be had.
        model: its name, for messages.
        timeout: seconds that a search waits.
    """

    def __init__(
        self, load: Callable[[], ScoresPairs], model: str, *, top: int = 50, weight: float = 1.0, timeout: float = 2.0
    ) -> None:
        super().__init__(model, top=top, weight=weight, timeout=timeout)
        self._load, self._model = load, model
        self._loaded: ScoresPairs | None = None
        self._loading = threading.Lock()

    def __repr__(self) -> str:
        return f"LocalReranker({self._model!r})"

    @property
    def spent(self) -> float:
        return 0.0

    def warm(self) -> None:
        try:
            self._ready().scores("warm up", ["warm up"], lambda: False)
        except Exception as error:
            self._refused(failure(error))

    def close(self) -> None:
        """Gives the memory back. A later search loads the model again."""
        with self._loading:
            loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def _ready(self) -> ScoresPairs:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _ask(self, query: str, texts: Sequence[str]) -> list[float]:
        model, left, asked = self._ready(), threading.Event(), Future[Any]()

        def work() -> None:
            try:
                asked.set_result(model.scores(query, texts, left.is_set))
            except Exception as error:
                asked.set_exception(error)

        # A thread of its own, as for a service: no process waits for it at its end.
        threading.Thread(target=copy_context().run, args=(work,), name="rowvec-rerank", daemon=True).start()
        try:
            found = asked.result(self.timeout)
        except TimeoutError:
            left.set()
            raise self._late() from None
        scores = [float(score) for score in found]
        if not all(map(math.isfinite, scores)):
            raise Unusable("gave a score that is not a number")
        return scores
