"""The settings that a store keeps with each generation: to embed queries and changed rows when the config has moved on.

No secret is kept. A key is sent only to the service that the config, or the service's own variable, gives it for, and
code that comes with a model is run only for the model that the config names: whoever can write to the store's books
must not gain more than the choice of a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from rowvec.config import OpenAIEmbedderConfig, PipelineConfig, TextConfig, kinds, services
from rowvec.config.fields import in_clear
from rowvec.documents.passages import PassageSettings
from rowvec.documents.text import Documents, Recipe, build_context, build_recipe
from rowvec.embedders.base import Embedder
from rowvec.errors import ConfigError
from rowvec.sources.base import Source
from rowvec.sources.told_types import changes
from rowvec.support.stored import json_object
from rowvec.types import Column, ColumnType, Document, Fingerprint, Row


def kept(declared: PipelineConfig, source: Source, metadata: Sequence[Column]) -> str:
    """What to keep of a pipeline, as JSON: also what a search must know of the source, which may be away then."""
    chosen = declared.embedder
    left_out = {*chosen.not_kept, *chosen.of_the_machine}
    embedder = chosen.model_dump(mode="json", exclude=left_out, exclude_none=True)
    if "base_url" in embedder:
        embedder["base_url"] = _without_query(embedder["base_url"])
    # Not in mode "json": pydantic warns of columns that it has itself made a list of.
    text = declared.text.model_dump(exclude_none=True)
    values = {
        "embedder": {**embedder, "kind": chosen.kind},
        "text": text,
        "key": [source.key, source.key_type.value],
        "metadata": {column.name: column.type.value for column in metadata},
        "order": [column.name for column in metadata],
        "columns": [[each.name, each.type.value if each.told else None, each.yes_no] for each in source.columns],
        "ignores_case": [each.name for each in source.columns if each.ignores_case],
    }
    return json.dumps(values, sort_keys=True)


def known_columns(kept: str, key: str, names: Sequence[str]) -> tuple[ColumnType, tuple[Column, ...]] | None:
    """The type of the key, and the metadata columns of these names, as they were at the last sync; None where the
    settings do not say."""
    values = json_object(kept)
    types = json_object(values.get("metadata"))
    try:
        found_key, kind = values["key"]
        if found_key != key:
            return None
        folding = values.get("ignores_case", ())
        return ColumnType(kind), tuple(
            Column(name, ColumnType(types[name]), ignores_case=name in folding) for name in names
        )
    except (KeyError, TypeError, ValueError):
        # Another version of rowvec kept less, or other types.
        return None


def remembered_columns(kept: str) -> list[Column]:
    """The source's columns as they were at the last sync, in their order; none where the settings do not say."""
    values = json_object(kept)
    folding = values.get("ignores_case", ())
    try:
        return [
            Column(
                name,
                ColumnType(kind or ColumnType.TEXT),
                told=kind is not None,
                was_boolean=yes_no,
                ignores_case=name in folding,
            )
            for name, kind, yes_no in values["columns"]
        ]
    except (KeyError, TypeError, ValueError):
        return []


def column_changes(before: str, now: str) -> list[str]:
    """In sentences, what is of another type than at the last sync, new, or gone."""
    known = remembered_columns(before)
    return list(changes(known, remembered_columns(now))) if known else []


def with_columns(kept: str, now: str) -> str:
    """The settings of a generation that was made before, with the columns that its table has from now on."""
    values, today = json_object(kept), json_object(now)
    if not values or not today:
        return kept
    values |= {name: today[name] for name in ("key", "metadata", "order", "columns", "ignores_case") if name in today}
    return json.dumps(values, sort_keys=True)


def passage_settings(text: TextConfig) -> PassageSettings | None:
    if text.passages is None:
        return None
    told = text.passages
    return PassageSettings(told.tokens, told.overlap, told.split, told.context or "", told.max_passages)


def with_passages(made: Fingerprint, passages: PassageSettings | None) -> Fingerprint:
    """What decides the vectors of rows whose texts are cut so."""
    return made if passages is None else replace(made, passages=passages.identity)


def documents_of(
    source: Source, recipe: Recipe, passages: PassageSettings | None, metadata: tuple[Column, ...], model: Fingerprint
) -> tuple[Documents, tuple[str, ...]]:
    """What makes documents of rows, and the columns that it reads."""
    if passages is None or not passages.context:
        return Documents(recipe, metadata), recipe.columns
    context = build_context(source.columns, passages.context)
    columns = tuple(dict.fromkeys((*recipe.columns, *context.columns)))
    return Documents(recipe, metadata, context, model.max_tokens or passages.tokens), columns


class KeptSettings:
    """Makes the parts of a former pipeline; see rowvec.pipeline.Former.

    Args:
        declared: the pipeline of today.
        columns: what its source reads.
        build: makes an embedder of a declared pipeline.
    """

    def __init__(
        self,
        declared: PipelineConfig,
        source: Source,
        columns: list[str],
        metadata: tuple[Column, ...],
        excluded: Callable[[PipelineConfig], list[str]],
        build: Callable[[PipelineConfig], Embedder],
    ) -> None:
        self._declared = declared
        self._source = source
        self._columns = columns
        self._metadata = metadata
        self._excluded = excluded
        self._build = build
        self._embedders: dict[str, Embedder] = {}

    def embedder(self, kept: str) -> Embedder:
        if kept not in self._embedders:
            self._embedders[kept] = self._build(replace(self._declared, embedder=self._embedder_settings(kept)))
        return self._embedders[kept]

    def passages(self, kept: str) -> PassageSettings | None:
        return passage_settings(_validated(TextConfig, _part(kept, "text")))

    def documents(self, kept: str, model: Fingerprint) -> tuple[Callable[[Row], Document], tuple[str, ...]]:
        former = replace(self._declared, text=_validated(TextConfig, _part(kept, "text")))
        text = former.text
        recipe = build_recipe(
            self._source.columns, self._source.key, columns=text.columns, exclude=self._excluded(former),
            repeat=text.repeat, template=text.template, lines=text.lines,
        )  # fmt: skip
        made, columns = documents_of(self._source, recipe, passage_settings(text), self._metadata, model)
        self._columns += [name for name in columns if name not in self._columns]
        self._source.select(self._columns)
        return made, columns

    def close(self) -> None:
        for embedder in self._embedders.values():
            embedder.close()

    def _embedder_settings(self, kept: str) -> Any:
        values, today = _part(kept, "embedder"), self._declared.embedder
        kind = kinds.find("embedder", str(values.get("kind")))
        if kind is None:
            raise ConfigError(f"no installed package has an embedder of kind {str(values.get('kind'))[:40]!r}")
        if today.kind == values["kind"]:
            values |= {name: getattr(today, name) for name in today.of_the_machine}
        if values["kind"] == "openai":
            address = str(values.get("base_url", services.OPENAI))
            if isinstance(today, OpenAIEmbedderConfig) and _without_query(today.base_url) == address:
                values |= {"base_url": today.base_url, "api_key": today.api_key, "allow_http": today.allow_http}
            elif (variable := services.key_variable(address)) and not in_clear(address):
                values["api_key"] = os.environ.get(variable)
        return _validated(kind.config, values)


def _part(kept: str, name: str) -> dict[str, Any]:
    """
    Raises:
        ConfigError: another version of rowvec kept it in another way.
    """
    found = json_object(json_object(kept).get(name))
    if not found:
        raise ConfigError(f"the settings kept with it do not name its {name}")
    return found


def _validated(model: type[Any], values: dict[str, Any]) -> Any:
    """What the model does not know is left out: the fingerprint tells whether that made a difference."""
    try:
        return model.model_validate({name: value for name, value in values.items() if name in model.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"the settings kept with it do not fit this version of rowvec ({first['msg']})") from None


def _without_query(url: str) -> str:
    return url.partition("?")[0]
