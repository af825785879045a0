"""The embeddings API of OpenAI on the wire: whom to ask, and what an answer must look like.

Nothing here sends anything. Servers that speak this API differ: usage may be missing or zero, `dimensions` ignored,
base64 unknown, and an error may come with status 200. https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from rowvec.embedders.pricing import WITH_KEY, bare_model
from rowvec.errors import ConfigError, EmbedderUnavailable
from rowvec.support.services import quoted
from rowvec.types import Vectors


@dataclass(frozen=True, slots=True)
class Model:
    dimension: int
    shortens: bool
    """It gives any smaller dimension, too."""


MODELS = {
    "text-embedding-3-small": Model(1536, True),
    "text-embedding-3-large": Model(3072, True),
    "text-embedding-ada-002": Model(1536, False),
}

PROVIDERS = {
    "api.cohere.com": "cohere", "api.mistral.ai": "mistral_ai", "generativelanguage.googleapis.com": "gcp.gemini",
}  # fmt: skip
"""What OpenTelemetry calls those that speak OpenAI's API beside OpenAI, by their host."""

KEY_SETTING = "embedder.api_key"
"""The variable of a key, if the service is not known."""


def provider(base_url: str) -> str:
    """The name of a service in traces. By the conventions, one that is not known has the name of the API it speaks."""
    return PROVIDERS.get(urlsplit(base_url).hostname or "", "openai")


LARGEST = 1e9
"""No vector has a number beyond it that is not one of other bytes, read as 32-bit floats."""
SMALLEST = 1e-20
"""Nor is the largest number of a vector below it."""
_NUMBER_BYTES = 40
"""Of one number in JSON, with what stands around it."""
_MOST_DIMENSIONS = 8192
"""Of a service that has not answered yet."""


class BrokenAnswer(EmbedderUnavailable):
    """Status 200 with a body that breaks the contract. Asking again may help, and was billed all the same."""


class OtherBytes(BrokenAnswer):
    """The base64 is not of 32-bit floats, their least byte first: some servers send 64-bit ones, or turn them round."""


class SpoiledAnswer(BrokenAnswer):
    """Vectors of which some can be used.

    Attributes:
        vectors: shape (texts, dimension); what stands in the rows of the bad ones does not matter.
        bad: positions of those, each with what is wrong.
    """

    def __init__(self, message: str, vectors: Vectors, bad: Mapping[int, str]) -> None:
        super().__init__(message)
        self.vectors = vectors
        self.bad = bad


class Usage(NamedTuple):
    """What an answer says it billed; None if it does not say."""

    tokens: int | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom an error message is about. It shows the key to nobody."""

    model: str
    base_url: str
    key_env: str
    key: str | None = field(repr=False)
    dimensions: int | None = None
    """What is asked for, None to ask for none."""

    @property
    def location(self) -> str:
        return f"{self.base_url} (model {self.model!r})"

    @property
    def lacks_key(self) -> bool:
        """The service is known to refuse requests without a key: it need not be asked."""
        return self.key is None and urlsplit(self.base_url).hostname in WITH_KEY

    def quote(self, message: str) -> str:
        """What the service said, short, on one line and without the key."""
        return quoted(message, self.key)


def parse(endpoint: Endpoint, content: bytes) -> dict[str, Any]:
    """
    Raises:
        BrokenAnswer: not a JSON object.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return body
    if content.lstrip()[:1] == b"<":
        raise not_an_api(endpoint, "answers with a web page instead of JSON")
    what = "a body that is not the JSON of an embeddings API" if content.strip() else "an empty body"
    raise BrokenAnswer(f"{endpoint.location} answered 200 with {what}.")


def not_an_api(endpoint: Endpoint, what: str) -> BrokenAnswer:
    error = BrokenAnswer(f"{endpoint.base_url}/embeddings {what}.")
    error.hint = "Check base_url: it ends where the API's version does, as in https://api.openai.com/v1."
    return error


def most_bytes(texts: int, dimension: int | None) -> int:
    """How large an answer for that many texts may be."""
    return 2**24 + texts * _NUMBER_BYTES * (dimension or _MOST_DIMENSIONS)


def usage_of(body: Mapping[str, Any]) -> Usage:
    """Zero tokens for a text that is not empty is taken as not said."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Usage(None, None)
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")]
    tokens = next((count for count in counts if isinstance(count, int) and count > 0), None)
    cost = usage.get("cost")
    if not isinstance(cost, int | float) or not 0 <= cost < math.inf:
        cost = None
    return Usage(tokens, cost)


def vectors_of(endpoint: Endpoint, body: Mapping[str, Any], count: int, known: int | None = None) -> Vectors:
    """The vectors of an answer, placed by `index`, shape (count, dimension).

    Args:
        known: the dimension that the service has given before. Where all vectors have another one, that is for the
            caller to judge; else those that have another one are bad.

    Raises:
        BrokenAnswer: not `count` vectors of one dimension with all their numbers finite and a length above zero.
        OtherBytes: base64 of something else than 32-bit floats.
        SpoiledAnswer: that is so of some of them only.
    """
    data = body.get("data")
    if not isinstance(data, list) or len(data) != count:
        found = f"{len(data)} vectors" if isinstance(data, list) else "no vectors"
        said = "" if isinstance(data, list) else f" It says: {endpoint.quote(json.dumps(body, ensure_ascii=False))}"
        raise BrokenAnswer(f"{endpoint.location} answered with {found} for {count} texts.{said}")
    rows: list[Any] = [None] * count
    for position, item in enumerate(data):
        index = item.get("index", position) if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < count or rows[index] is not None:
            raise BrokenAnswer(f"{endpoint.location} answered with vectors whose index is missing, wrong or repeated.")
        rows[index] = _unpack(item.get("embedding"))
        if isinstance(item.get("embedding"), str) and _are_other_bytes(rows[index]):
            raise OtherBytes(f"{endpoint.location} answered with base64 that is not of 32-bit floats.")
    sizes = Counter(len(row) for row in rows if not isinstance(row, str))
    if len(sizes) == 1 and sizes.total() == count:
        vectors: Vectors = np.stack(rows)
        # A length of zero, or one that overflows, would make every distance to the vector meaningless.
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if vectors.shape[1] and np.isfinite(lengths).all() and lengths.all():
            return vectors
    elif known is None and len(sizes) > 1 and len(set(sizes.values())) == 1:
        raise BrokenAnswer(f"{endpoint.location} answered with vectors of different dimensions: {sorted(sizes)}.")
    raise _spoiled(endpoint, rows, known or (sizes.most_common(1)[0][0] if sizes else 0))


def _spoiled(endpoint: Endpoint, rows: list[Any], dimension: int) -> BrokenAnswer:
    bad: dict[int, str] = {}
    vectors: Vectors = np.zeros((len(rows), dimension), np.float32)
    for index, row in enumerate(rows):
        problem = row if isinstance(row, str) else _problem(row, dimension)
        if problem is None:
            vectors[index] = row
        else:
            bad[index] = problem
    said = f"{endpoint.location} answered with {bad[min(bad)]}."
    return SpoiledAnswer(said, vectors, bad) if len(bad) < len(rows) else BrokenAnswer(said)


def _problem(row: Vectors, dimension: int) -> str | None:
    if len(row) != dimension or not dimension:
        return f"a vector of {len(row)} dimensions instead of {dimension}"
    length = float(np.linalg.norm(row.astype(np.float64)))
    return None if math.isfinite(length) and length > 0 else "a vector that is all zeros or holds NaN or infinity"


def _are_other_bytes(row: Vectors | str) -> bool:
    """Bytes of larger floats, or in the other order, have every exponent there is: some numbers of such a vector are
    enormous, and it would be taken for one all the same. Those of a model in half precision end in zeros: the numbers
    are next to nothing then, or every second one of 64-bit floats is 0."""
    if isinstance(row, str):
        return False
    sizes = np.abs(row)
    filled = sizes > 0
    halves = len(row) % 2 == 0 and not filled[::2].any() and filled[1::2].all()
    return bool(filled.any() and ((sizes > LARGEST).any() or (sizes < SMALLEST).all() or halves))


_NUMBERS = {int, float}


def _unpack(embedding: object) -> Vectors | str:
    """A vector, or what is wrong with it."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32, copy=False)
        # NumPy also takes the texts of numbers, "1_0" for 10 among them, and true for 1.
        if isinstance(embedding, list) and set(map(type, embedding)) <= _NUMBERS:
            with np.errstate(over="ignore"):  # an infinity is found later
                row = np.asarray(embedding, np.float64).astype(np.float32)
            if row.ndim == 1:
                return row
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        return f"a vector that cannot be read: {error}"
    return "a vector that is neither a list of numbers nor base64"


def checked_url(base_url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ConfigError: not an http address, or one that holds a secret.
    """
    try:
        parts = urlsplit(base_url.strip())
        port_is_a_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_a_number = False
        parts = urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        # The URL is shown in messages and kept in run records, so it must hold nothing secret.
        raise ConfigError(
            f"base_url of the embedder at {parts.hostname} holds a user, a password or a query.",
            hint="Give the plain address, as in https://api.openai.com/v1, and the key in the environment.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_a_number:
        raise ConfigError(
            "The base_url of the embedder is not an http address.", hint="For example: https://api.openai.com/v1"
        )
    return base_url.strip().rstrip("/")


def checked_dimensions(model: str, dimensions: int | None) -> int | None:
    """The dimension to ask for, None to ask for none."""
    known = MODELS.get(bare_model(model))
    if dimensions is None:
        return None
    if dimensions < 1:
        raise ConfigError(
            f"dimensions is {dimensions}; it must be at least 1.", hint="Leave it out for the model's own."
        )
    if known and (dimensions > known.dimension or (dimensions != known.dimension and not known.shortens)):
        kind = f"{known.dimension} or fewer" if known.shortens else f"only {known.dimension}"
        raise ConfigError(f"{model!r} gives {kind} dimensions, not {dimensions}.", hint="Leave `dimensions` out.")
    # Asking a fixed model for what it gives anyway would be refused.
    return dimensions if not known or known.shortens else None
