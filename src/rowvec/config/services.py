"""The table of an embedder that is a service, in rowvec.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from rowvec.config.bases import EmbedderConfig
from rowvec.config.fields import (
    Count,
    Name,
    OptionalCount,
    Price,
    Text_,
    absolute,
    blank_is_none,
    in_clear,
    key_of,
    number,
    wrong,
)
from rowvec.embedders.params import problem_of

OPENAI = "https://api.openai.com/v1"
URLS = {
    "openai": OPENAI,
    "cohere": "https://api.cohere.com/v2",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "jina": "https://api.jina.ai/v1",
    "voyage": "https://api.voyageai.com/v1",
}
"""By API."""
KEY_VARIABLES = {
    "api.openai.com": "OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "api.cohere.com": "COHERE_API_KEY",
    "generativelanguage.googleapis.com": "GEMINI_API_KEY",
    "api.jina.ai": "JINA_API_KEY",
    "api.voyageai.com": "VOYAGE_API_KEY",
}
"""Variables of API keys, by the host that the key is for; its subdomains count too."""

Params: TypeAlias = dict[str, Any]


def _base_url(url: str) -> str:
    if not re.match(r"https?://[^/?#]", url):
        raise wrong("is not a web address", f"Write one up to the API's version, such as {OPENAI}.")
    if "@" in url:
        raise wrong("holds a user or password", "Leave it out of the address, and put the key into api_key.")
    return url


def _api_key(value: Any, info: ValidationInfo) -> Any:
    """Defaults to the variable in which people keep the key of that service, for that service only."""
    if value or not info.context:
        return value or None
    variable = key_variable(info.data.get("base_url", OPENAI))
    return (info.context.environment.get(variable) or None) if variable else None


def key_variable(base_url: str) -> str | None:
    """The variable whose key is for that address; None if a key must be written into the config."""
    return key_of(KEY_VARIABLES, base_url)


class OpenAIEmbedderConfig(EmbedderConfig):
    """Any service that speaks OpenAI's embeddings API."""

    kind: Literal["openai"] = "openai"
    model: Name = Field(examples=["text-embedding-3-small"])
    """Name of the model at the service."""
    api: Literal["openai", "cohere", "gemini", "jina", "voyage"] = "openai"
    """The API that it speaks. All but `openai` are told which texts are queries and which are rows."""
    base_url: Annotated[Text_, AfterValidator(_base_url)] = OPENAI
    """The address of the service, up to its version; by default that of the service that `api` is named after."""
    api_key: Annotated[SecretStr | None, BeforeValidator(_api_key)] = Field(default=None, validate_default=True)
    """API key; by default from the variable of that service, such as `OPENAI_API_KEY`, else none."""
    allow_http: bool = False
    """Send the key to another machine over `http`, where it can be read on the way."""
    dimensions: OptionalCount = None
    """Dimension of the vectors, if the service can make them shorter than the model's own."""
    batch_size: Count = 100
    """Texts in one request."""
    concurrency: Count = 4
    """Requests sent at once."""
    requests_per_minute: OptionalCount = None
    """Maximum number of requests a minute; no limit by default."""
    tokens_per_minute: OptionalCount = None
    """Maximum number of tokens a minute; no limit by default."""
    tokenizer: Annotated[Path | None, BeforeValidator(absolute), BeforeValidator(blank_is_none)] = None
    """The model's `tokenizer.json`: tokens are counted rather than estimated."""
    price_per_million: Annotated[Price | None, BeforeValidator(blank_is_none)] = None
    """US dollars for a million tokens; overrides the built-in table."""
    max_cost: Annotated[Price | None, Field(gt=0), BeforeValidator(blank_is_none)] = None
    """US dollars that one process, such as a server or a worker, may spend until it is restarted; `--max-cost`
    overrides it."""
    timeout: Annotated[float, BeforeValidator(number), Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    """Seconds without a byte after which a request counts as lost. An answer that has not ended after ten times as long
    is lost as well."""
    max_tries: Count = 3
    """Maximum number of tries of one request."""
    query_prompt: str | None = None
    """Prefix of a query."""
    passage_prompt: str | None = None
    """Prefix of the text of a row."""
    query_params: Params = Field(default_factory=dict)
    """More fields of each request for a query, such as `{ input_type = "query" }`."""
    passage_params: Params = Field(default_factory=dict)
    """More fields of each request for texts of rows; a change of them is a change of model."""

    not_kept: ClassVar = frozenset({"api_key", "allow_http"})
    of_the_machine: ClassVar = frozenset({"batch_size", "concurrency", "max_cost"})

    @model_validator(mode="before")
    @classmethod
    def _usual_address(cls, table: Any) -> Any:
        usual = URLS.get(str(table.get("api"))) if isinstance(table, Mapping) else None
        return {"base_url": usual, **table} if usual else table

    @model_validator(mode="after")
    def _params_hold_no_key(self) -> OpenAIEmbedderConfig:
        key = self.api_key.get_secret_value() if self.api_key is not None else None
        for name in ("query_params", "passage_params"):
            problem = problem_of(getattr(self, name), key)
            if problem is not None:
                raise wrong(f"has {name} that {problem[0].replace('holds', 'hold', 1)}", problem[1])
        return self

    @model_validator(mode="after")
    def _key_is_not_sent_in_clear(self) -> OpenAIEmbedderConfig:
        if self.api_key is not None and in_clear(self.base_url) and not self.allow_http:
            raise wrong(
                "would send its key over http, where it can be read on the way",
                "Write an https address, or allow_http = true if the network is yours.",
            )
        return self

    @property
    def key_variable(self) -> str | None:
        """The variable that holds the key if `api_key` is left out; None if there is none."""
        return key_variable(self.base_url)
