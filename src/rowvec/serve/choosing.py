"""Which pipeline a request means."""

from __future__ import annotations

from collections.abc import Mapping

from rowvec.serve.problems import Problem
from rowvec.serve.service import Service
from rowvec.support.suggestions import suggestion


def choose(services: Mapping[str, Service], name: str | None) -> Service:
    """The service `name`; None means the only one.

    Raises:
        Problem: 404 for an unknown name, 400 for None if there are several.
    """
    if name is not None:
        if name not in services:
            raise Problem(404, f"There is no pipeline {name[:100]!r}.", suggestion(name, services))
        return services[name]
    if len(services) > 1:
        names = ", ".join(services)
        raise Problem(400, "There are several pipelines.", f"Ask /pipelines/NAME/… with one of: {names}.")
    return next(iter(services.values()))


def choose_or_first(services: Mapping[str, Service], name: str | None) -> Service:
    """The service `name`; None means the first one, as on the pages. Raises as `choose` does."""
    return choose(services, name or next(iter(services)))


def choose_by_model(services: Mapping[str, Service], model: str | None) -> Service:
    """The service that a request of an OpenAI client means, whose `model` may name a pipeline or the model of one.

    Raises:
        Problem: 404 for an unknown name, 400 where there are several and the name does not say which.
    """
    if model is None or model in services:
        return choose(services, model)
    found = [each for each in services.values() if each.embedder.fingerprint.model == model]
    if not found:
        hint = "Name a pipeline, or a model that GET /v1/models lists."
        raise Problem(404, f"No pipeline, and no model of one, is called {model[:100]!r}.", hint, param="model")
    if len({each.embedder.fingerprint for each in found}) > 1:
        names = ", ".join(each.name for each in found)
        raise Problem(400, f"Several pipelines have the model {model[:100]!r}.", f"Name one: {names}.", param="model")
    return found[0]
