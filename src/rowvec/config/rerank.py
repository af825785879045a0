"""The table of a reranker in rowvec.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from rowvec.config.fields import (
    Count,
    OptionalText,
    Price,
    Section,
    blank_is_none,
    in_clear,
    key_of,
    number,
    path_or_name,
    seconds,
    without_password,
    wrong,
)

URLS = {
    "cohere": "https://api.cohere.com/v2/rerank",
    "jina": "https://api.jina.ai/v1/rerank",
    "voyage": "https://api.voyageai.com/v1/rerank",
}
KEY_VARIABLES = {
    "api.cohere.com": "COHERE_API_KEY",
    "api.jina.ai": "JINA_API_KEY",
    "api.voyageai.com": "VOYAGE_API_KEY",
}
"""Variables of API keys, by the host that the key is for."""
OF_SERVICES = frozenset({"url", "api_key", "allow_http", "price_per_million", "price_per_search", "max_cost"})
SECONDS, LOCAL_SECONDS = 0.3, 2.0
"""That a search waits: for a service, for a model on this machine."""
EXAMPLE = "http://127.0.0.1:8080/rerank"


def _model(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None:
        without_password(value)
    return value if value is None or info.data.get("kind") != "local" else path_or_name(value, info)


def _url(value: Any, info: ValidationInfo) -> Any:
    """Defaults to the service that the kind is named after."""
    if value in (None, ""):
        return URLS.get(info.data.get("kind", ""))
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        raise wrong("is not a web address", f"Write the whole one that requests go to, such as {EXAMPLE}.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise wrong("holds a user, a password or a query", "Leave it out of the address, and put the key into api_key.")
    if parts.path in ("", "/"):
        raise wrong("has no path", f"Write the whole address that requests go to, such as {EXAMPLE}.")
    return value


def _timeout(value: Any, info: ValidationInfo) -> Any:
    """Defaults to what suits the kind: a model of this machine is waited for longer."""
    if value is None:
        return LOCAL_SECONDS if info.data.get("kind") == "local" else SECONDS
    return seconds(value)


def _api_key(value: Any, info: ValidationInfo) -> Any:
    """Defaults to the variable in which people keep the key of that service, for that service only."""
    if value or not info.context:
        return value or None
    variable = key_of(KEY_VARIABLES, info.data.get("url") or "")
    return (info.context.environment.get(variable) or None) if variable else None


class RerankConfig(Section):
    """A service, or a model on this machine, that puts the best hits of a search into a better order."""

    kind: Literal["local", "cohere", "jina", "voyage", "tei"]
    """`local` runs a cross-encoder in this process; the others are the API of a service. vLLM, LiteLLM and Infinity
    speak `cohere`; `tei` is text-embeddings-inference."""
    model: Annotated[OptionalText, AfterValidator(_model)] = None
    """Name of the model at the service, needed by all but `tei`; of `local` a folder, or a name on the Hugging Face
    hub."""
    url: Annotated[str | None, BeforeValidator(_url)] = Field(default=None, validate_default=True)
    """The whole address that requests go to; by default that of Cohere, Jina or Voyage."""
    api_key: Annotated[SecretStr | None, BeforeValidator(_api_key)] = Field(default=None, validate_default=True)
    """API key; by default from `COHERE_API_KEY`, `JINA_API_KEY` or `VOYAGE_API_KEY` for these services, else none."""
    allow_http: bool = False
    """Send the key to another machine over `http`, where it can be read on the way."""
    top: Annotated[Count, Field(le=1000)] = 50
    """Number of hits that it puts into order."""
    weight: Annotated[float, BeforeValidator(number), Field(ge=0, le=1)] = 1.0
    """Weight of its score, 0 to 1; the score of the search gets the rest."""
    timeout: Annotated[float, BeforeValidator(_timeout), Field(gt=0, le=60, allow_inf_nan=False)] = Field(
        default=None, validate_default=True
    )
    """How long a search waits for it, in seconds or as `"300ms"`; then the search keeps the order it had. By default
    0.3 seconds, and 2 for `local`."""
    precision: Literal["float32", "bfloat16", "int8", "float16"] | None = None
    """Of `local`, as `embedder.precision` has it; `float32` by default."""
    price_per_million: Annotated[Price | None, BeforeValidator(blank_is_none)] = None
    """US dollars for a million tokens, as Voyage and Jina bill them."""
    price_per_search: Annotated[Price | None, BeforeValidator(blank_is_none)] = None
    """US dollars for one search, as Cohere bills them: `0.002` is 2 dollars for a thousand."""
    max_cost: Annotated[Price | None, Field(gt=0), BeforeValidator(blank_is_none)] = None
    """US dollars that one process, such as a server, may spend on it until it is restarted."""

    @model_validator(mode="before")
    @classmethod
    def _kind_is_named(cls, table: Any) -> Any:
        if isinstance(table, Mapping) and "kind" not in table:
            raise wrong("has no kind", 'Add kind = "local", "cohere", "jina", "voyage" or "tei".')
        return table

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> RerankConfig:
        """Before what follows: a key of another kind is named as such."""
        if self.kind != "local":
            if self.precision is not None:
                raise wrong('has precision, which only kind = "local" has', "Leave it out.")
            return self
        foreign = sorted(self.model_fields_set & OF_SERVICES)
        if foreign:
            raise wrong(f'has {foreign[0]}, which a service has and kind = "local" has not', "Leave it out.")
        if self.model is None:
            raise wrong("has no model", 'Name the folder of a cross-encoder, such as model = "models/reranker".')
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> RerankConfig:
        if self.kind == "local":
            return self
        if self.url is None:
            raise wrong("has no url", f'Add the whole address of your server, such as url = "{EXAMPLE}".')
        if self.model is None and self.kind != "tei":
            raise wrong("has no model", 'Name one that the service has, such as model = "rerank-v3.5" of Cohere.')
        if self.api_key is not None and in_clear(self.url) and not self.allow_http:
            raise wrong(
                "would send its key over http, where it can be read on the way",
                "Write an https address, or allow_http = true if the network is yours.",
            )
        if self.max_cost is not None and self.price_per_million is None and self.price_per_search is None:
            raise wrong("has max_cost without a price", "Add price_per_million or price_per_search, in US dollars.")
        return self

    @property
    def key_variable(self) -> str | None:
        """The variable that holds the key if `api_key` is left out; None if there is none."""
        return key_of(KEY_VARIABLES, self.url or "")
