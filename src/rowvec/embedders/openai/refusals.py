"""What a refusal by the embeddings API of OpenAI means: of a text, of the key, of the model, or for a while.

Servers that speak this API say the same in many ways, some of them with status 200.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

from rowvec.embedders.openai.limits import stated_wait
from rowvec.embedders.openai.wire import KEY_SETTING, Endpoint, not_an_api
from rowvec.errors import EmbedderError, EmbedderUnavailable, RateLimited, TextRefused

_NO_MODEL = re.compile(r"\bmodels?\b.*\b(?:not found|not exist)", re.IGNORECASE | re.DOTALL)
_OF_A_TEXT = (400, 413, 422, 451)
"""Statuses of a refusal that is of a text, unless what is said is something else."""


def error_of(endpoint: Endpoint, status: int, headers: Mapping[str, str], content: bytes) -> EmbedderError:
    """The error that a refusal means. `headers` ignores case, or has lower-case names."""
    message, code, parsed = _error_object(content)
    if status < 300 and code.isdigit():
        # Routers pass an upstream error on inside a 200, with the status as its code.
        status = int(code)
    said = endpoint.quote(message)
    location = endpoint.location
    if refused := _text_refusal(status, message, content):
        return TextRefused(f"{location} {refused} ({status}): {said}")
    # Gemini says it with 400.
    if status in (401, 403) or (status == 400 and _about(message, "api key not valid")):
        return _key_error(endpoint, status, said)
    if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
        return EmbedderError(
            f"{location} refuses: the account of {endpoint.key_env} has no credit or quota left ({status}: {said}).",
            hint="Add credit at the provider, then run it again: what was embedded is kept.",
        )
    if status == 429 or (status == 503 and "retry-after" in headers):
        what = "limits the rate" if status == 429 else "is busy"
        return RateLimited(f"{location} {what} ({status}): {said}", retry_after=stated_wait(headers, time.time()))
    if _lacks_model(status, code, message):
        return EmbedderError(
            f"{location} does not know the model: {said}", hint="Check `model` against the provider's list."
        )
    if status in (404, 405) or 300 <= status < 400:
        return _not_there(endpoint, status, headers, said if parsed else None)
    if status in _OF_A_TEXT:
        if endpoint.dimensions is not None and _about(message, "dimension"):
            return EmbedderError(
                f"{location} does not give the dimension asked for: {said}",
                hint="Change `dimensions`, or leave it out.",
            )
        return TextRefused(f"{location} refuses the text ({status}): {said}")
    if status in (408, 409, 425) or status >= 500 or status < 300:
        return EmbedderUnavailable(f"{location} fails with {status}: {said}")
    return EmbedderError(f"{location} refuses with {status}: {said}")


def _not_there(endpoint: Endpoint, status: int, headers: Mapping[str, str], said: str | None) -> EmbedderError:
    """
    Args:
        said: what the service answered, None where that is not JSON.
    """
    if 300 <= status < 400 and (leads := headers.get("location")):
        return EmbedderError(
            f"{endpoint.base_url}/embeddings leads elsewhere ({status}): {endpoint.quote(leads)}",
            hint="If that is the service, write its address into base_url, without /embeddings.",
        )
    if said is not None:
        doubled = endpoint.base_url.endswith("/embeddings")
        hint = "Leave /embeddings out of base_url." if doubled else "Check base_url and model."
        return EmbedderError(f"{endpoint.location} refuses with {status}: {said}", hint=hint)
    error = not_an_api(endpoint, f"is not an embeddings API (status {status})")
    return EmbedderError(error.message, hint=error.hint)


def _text_refusal(status: int, message: str, content: bytes) -> str:
    """How the texts are refused by a status that is usually about something else; "" where they are not."""
    if status == 403 and _about(message, "flagged", "moderation"):
        return "refuses the text"
    if status == 403 and content.lstrip()[:1] == b"<":
        # The service itself answers in JSON. A text such as `' or 1=1` looks like an attack.
        return "has a firewall before it, which refuses the text with a web page"
    if status == 429 and _about(message, "request too large", "must be reduced"):
        # Larger than the limit of a minute: it never passes, however long one waits.
        return "refuses a request of this size"
    return ""


def _lacks_model(status: int, code: str, message: str) -> bool:
    """With 400, `not found` may be about what a model has not found in a text: a plain word shows which it is."""
    if code == "model_not_found" or _about(message, "not a valid model"):
        return True
    return status not in _OF_A_TEXT and status < 500 and _NO_MODEL.search(message) is not None


def missing_key(endpoint: Endpoint, status: int | None = None) -> EmbedderError:
    said = "" if status is None else f" ({status})"
    return EmbedderError(
        f"{endpoint.location} needs a key{said}, but {endpoint.key_env} is not set.",
        hint='Write api_key = "${YOUR_KEY}" beside base_url: a key is sent only where the config says so.'
        if endpoint.key_env == KEY_SETTING
        else f"export {endpoint.key_env}=…, or put it in the .env file.",
    )


def _key_error(endpoint: Endpoint, status: int, said: str) -> EmbedderError:
    if endpoint.key is None:
        return missing_key(endpoint, status)
    return EmbedderError(
        f"{endpoint.location} does not accept the key in {endpoint.key_env} ({status}): {said}",
        hint=f"Check {endpoint.key_env}: is it of this provider, and may it use this model?",
    )


def _error_object(content: bytes) -> tuple[str, str, bool]:
    """Message and code of an error body, and whether it was JSON, in the shapes that servers use."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        text = content.decode("utf-8", "replace").strip()
        return "no message" if not text or text[:1] in "<[{" else text, "", False
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error), "", True
    message = error.get("message") or error.get("detail") or error.get("title") or json.dumps(error)
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        message = f"{message}: {metadata['raw']}"
    code = error.get("code")
    return str(message), str(code) if code is not None else str(error.get("type") or ""), True


def _about(message: str, *words: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in words)
