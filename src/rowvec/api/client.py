"""A pipeline that `rowvec serve` has, searched over HTTP with the calls of the library."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import quote

from rowvec.api.calls import method
from rowvec.api.remote import Remote
from rowvec.api.replies import Described
from rowvec.api.tokens import own_key
from rowvec.errors import SearchError, ServerError, ServerSlow, ServerUnavailable
from rowvec.filters import Filter, from_json, to_json
from rowvec.rerankers.base import Scored
from rowvec.searcher import MAX_TEXTS, Mode, SearchResult
from rowvec.searcher.paging import Refine
from rowvec.support.forks import begins_again
from rowvec.support.keys import key_of
from rowvec.support.suggestions import suggestion
from rowvec.types import Key

Where = str | Mapping[str, Any] | Filter


class Client:
    """Searches one pipeline of a `rowvec serve`. Every method has a twin for coroutines: `await client.search.aio(…)`.

    Calls and results are those of `ProjectPipeline`. Safe to use from several threads. A request that finds no server,
    or one that has too much to do, is sent again; one that gets no answer in time is not.

    Args:
        url: of the server, such as `https://search.example.com`.
        pipeline: its name; None where the server has only one.
        key: an API key or a search token; by default the first key of the variable ROWVEC_API_KEY.
        timeout: seconds that a try may wait for the server to say something.
        tries: how often a request is sent at most.

    Raises:
        ConfigError: not the address of a server, or a key that no request can carry.
    """

    def __init__(
        self, url: str, pipeline: str | None = None, *, key: str | None = None, timeout: float = 10.0, tries: int = 3
    ) -> None:
        key = own_key() if key is None else key
        self._remote = Remote(url, key, timeout=timeout, tries=tries)
        self.pipeline = pipeline
        """As it was given; see `name`."""
        self._described: Described | None = None
        self._describing = threading.Lock()
        begins_again(self)

    def begin_again(self) -> None:
        """In a forked process. What it sends requests by does the same."""
        self._describing = threading.Lock()

    @property
    def url(self) -> str:
        return self._remote.url

    @property
    def name(self) -> str:
        """Of the pipeline.

        Raises:
            SearchError: the server has no such pipeline. Others as `search`.
        """
        return self._about().name

    @method
    def search(
        self,
        query: str | None = None,
        *,
        mode: Mode = "semantic",
        limit: int = 10,
        where: Where | None = None,
        explain: bool = False,
        passages: int = 1,
        rerank: bool | None = None,
        ranking: Mapping[str, Any] | None = None,
        generation: Literal["live", "previous", "building"] = "live",
        typos: bool | None = None,
        prefix: bool | None = None,
        partial: bool | None = None,
        facets: Sequence[str] = (),
        facet_limit: int = 10,
        distinct: str | None = None,
        offset: int = 0,
        after: str | None = None,
        order: str | None = None,
    ) -> SearchResult:
        """As `ProjectPipeline.search`; a search token narrows it to the rows that it opens.

        Raises:
            SearchError: the server cannot answer that. TokenRefused: it does not take the key, or the token is old.
            ServerUnavailable: the server does not answer, however often it is asked. ServerError: anything else.
        """
        Refine(tuple(facets), facet_limit, distinct, offset, after, order).check(browses=query is None)
        about = self._about()
        body: dict[str, Any] = {
            "limit": limit, "filters": _written(where), "passages": passages, "facets": list(facets),
            "facet_limit": facet_limit, "offset": offset, "after": after, "partial": partial,
        }  # fmt: skip
        if query is None:
            kind, body["order"] = "browse", order
        else:
            kind = mode
            body |= {
                "query": query, "explain": explain, "rerank": rerank, "typos": typos, "prefix": prefix,
                "distinct": distinct, "ranking": dict(ranking) if ranking else None, "generation": generation,
            }  # fmt: skip
        return about.result(self._remote.post(self._path(f"/search/{kind}"), body), filtered=where is not None)

    @method
    def similar(
        self,
        key: Key,
        *,
        limit: int = 10,
        where: Where | None = None,
        explain: bool = False,
        passages: int = 1,
        partial: bool | None = None,
    ) -> SearchResult:
        """As `ProjectPipeline.similar`. Raises as `search` does."""
        about = self._about()
        params: dict[str, Any] = {"limit": limit, "explain": explain, "passages": passages}
        if partial is not None:
            params["partial"] = partial
        if where is not None:
            params["where"] = _text(where)
        # A path of dots alone would be taken for a folder above.
        path = self._path(f"/search/similar/{quote(str(key), safe='').replace('.', '%2E')}")
        return about.result(self._remote.get(path, params), filtered=where is not None)

    @method
    def texts(self, keys: Sequence[Key]) -> Mapping[Key, str]:
        """As `ProjectPipeline.texts`. Raises as `search` does."""
        about, found = self._about(), dict[Key, str]()
        for start in range(0, len(keys), MAX_TEXTS):
            ids = [key if isinstance(key, int) else str(key) for key in keys[start : start + MAX_TEXTS]]
            reply = self._remote.post(self._path("/texts"), {"ids": ids})
            found |= {key_of(each["id"], about.key_type): each["text"] for each in reply["texts"]}
        return found

    @method
    def rerank(self, query: str, texts: Sequence[str]) -> Scored:
        """As `ProjectPipeline.rerank`. A search token does not open it. Raises as `search` does."""
        if not texts:
            return Scored([])
        try:
            reply = self._remote.post(self._path("/v1/rerank"), {"query": query, "documents": list(texts)})
        except (ServerUnavailable, ServerSlow) as error:
            return Scored(None, error.message)
        scores = {each["index"]: each["relevance_score"] for each in reply["results"]}
        if scores.keys() != set(range(len(texts))):
            raise ServerError(f"{self.url} gave {len(scores)} scores for {len(texts)} texts.")
        return Scored([scores[place] for place in range(len(texts))])

    @method
    def status(self) -> Mapping[str, Any]:
        """How far the vectors are in step with the rows, as `GET /status` has it. A search token does not open it.

        Raises as `search` does.
        """
        return self._remote.get(self._path("/status"))

    def close(self) -> None:
        self._remote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<rowvec.Client of {self.pipeline or 'the only pipeline'} at {self.url}>"

    def _path(self, path: str) -> str:
        return f"/pipelines/{quote(self._about().name, safe='')}{path}"

    def _about(self) -> Described:
        """Asked for once: what the columns hold."""
        with self._describing:
            if self._described is None:
                reply = self._remote.get("/pipelines")
                self._described = Described.among(reply, self.pipeline)
                if self._described is None:
                    raise self._no_pipeline(reply)
            return self._described

    def _no_pipeline(self, reply: Mapping[str, Any]) -> SearchError:
        names = [each["name"] for each in reply["pipelines"]]
        if self.pipeline is None:
            return SearchError(f"{self.url} has {len(names)} pipelines.", hint=f"Name one of: {', '.join(names)}.")
        return SearchError(f"{self.url} has no pipeline {self.pipeline!r}.", hint=suggestion(self.pipeline, names))


def _written(where: Where | None) -> Any:
    """A filter as JSON; a text stays one. Values are read as the library reads them: JSON has no dates and decimals."""
    if where is None or isinstance(where, str):
        return where
    return to_json(where if isinstance(where, Filter) else from_json(where))


def _text(where: Where) -> str:
    found = _written(where)
    return found if isinstance(found, str) else json.dumps(found)
