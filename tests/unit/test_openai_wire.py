"""What an answer must look like, what a refusal means, and how long a 429 asks to wait."""

from __future__ import annotations

import base64
import email.utils
import json
from typing import Any

import numpy as np
import pytest

from rowvec.embedders.openai.limits import Pace, pause, stated_wait
from rowvec.embedders.openai.refusals import error_of
from rowvec.embedders.openai.wire import BrokenAnswer, Endpoint, OtherBytes, Usage, parse, usage_of, vectors_of
from rowvec.errors import EmbedderError, EmbedderUnavailable, RateLimited, TextRefused

ENDPOINT = Endpoint("some-model", "https://api.example.com/v1", "SOME_KEY", "sk-secret")
NOW = 1_800_000_000.0


def answer(*embeddings: Any) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": embedding} for index, embedding in enumerate(embeddings)]}


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def test_base64_is_little_endian_float32_and_floats_are_accepted_beside_it() -> None:
    vectors = vectors_of(ENDPOINT, answer(packed(1.0, 2.0), [3, 4.5]), 2)
    np.testing.assert_array_equal(vectors, np.array([[1, 2], [3, 4.5]], np.float32))
    assert vectors.flags.writeable


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        answer([1.0]),
        answer([1.0], [1.0], [1.0]),
        answer([1.0], [1.0, 2.0]),
        answer([1.0], []),
        answer([], []),
        answer([1.0], [float("nan")]),
        answer([1.0], [float("inf")]),
        answer([1.0], [1e300]),
        answer([1.0, 1.0], [0.0, 0.0]),
        answer([1.0], ["x"]),
        answer([1.0], [[1.0]]),
        answer([1.0], None),
        answer([1.0], "not base64!"),
        answer([1.0], base64.b64encode(b"abc").decode()),
        {"data": [{"index": 1, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 1, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": [{"index": -1, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [[1.0], [1.0]]},
    ],
    ids=str,
)
def test_a_broken_answer_for_two_texts_is_never_taken_for_vectors(body: dict[str, Any]) -> None:
    with pytest.raises(BrokenAnswer):
        vectors_of(ENDPOINT, body, 2)


@pytest.mark.parametrize("kind", ["<f8", ">f4", ">f8"])
@pytest.mark.parametrize("precision", [np.float16, np.float32, np.float64])
def test_base64_of_other_floats_is_told_by_its_numbers(kind: str, precision: type[np.floating[Any]]) -> None:
    """They have every exponent, or end in zeros, and would be a vector of finite numbers otherwise."""
    numbers = np.random.default_rng(3).standard_normal(256).astype(precision)
    packed_so = base64.b64encode(numbers.astype(kind).tobytes()).decode()
    with pytest.raises(OtherBytes):
        vectors_of(ENDPOINT, answer(packed_so), 1)
    assert vectors_of(ENDPOINT, answer([1e12, 1.0]), 1).shape == (1, 2), "floats in JSON are what they say"


@pytest.mark.parametrize(
    "vector", [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1e-9] * 8, [1e8, -1e8], [0.0, 3e-4, -0.0, 1.0, 5.0, 0.1]]
)
def test_base64_of_odd_but_right_floats_is_read(vector: list[float]) -> None:
    packed_so = base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
    assert vectors_of(ENDPOINT, answer(packed_so), 1)[0] == pytest.approx(vector)


def test_an_answer_without_vectors_is_quoted_without_the_key() -> None:
    with pytest.raises(BrokenAnswer, match=r"no vectors for 2 texts. It says: .*field required .*\*\*\*"):
        vectors_of(ENDPOINT, {"detail": "field required sk-secret"}, 2)


def test_where_a_redirect_leads_is_said() -> None:
    error = error_of(ENDPOINT, 301, {"location": "https://api.example.com/v2/embeddings"}, b"{}")
    assert "leads elsewhere (301): https://api.example.com/v2/embeddings" in error.message
    assert "base_url" in (error.hint or "")


def test_an_address_that_names_the_route_too_is_told() -> None:
    doubled = Endpoint("m", "https://api.example.com/v1/embeddings", "SOME_KEY", None)
    assert error_of(doubled, 404, {}, b'{"error": "Not Found"}').hint == "Leave /embeddings out of base_url."


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "total_tokens": 9}, Usage(7, None)),
        ({"total_tokens": 9}, Usage(9, None)),
        ({"prompt_tokens": 0, "total_tokens": 0}, Usage(None, None)),
        ({"prompt_tokens": 7, "cost": 0.5}, Usage(7, 0.5)),
        ({"prompt_tokens": 7, "cost": -1}, Usage(7, None)),
        ({"prompt_tokens": 7, "cost": "free"}, Usage(7, None)),
        (None, Usage(None, None)),
    ],
)
def test_usage_is_taken_where_it_is_stated(usage: object, expected: Usage) -> None:
    assert usage_of({"usage": usage}) == expected


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "maximum context length is 8192 tokens", None, TextRefused),
        (413, "Payload too large", None, TextRefused),
        (422, "inputs must have less than 512 tokens", None, TextRefused),
        (403, "Your input was flagged by moderation", None, TextRefused),
        (400, "foo/bar is not a valid model ID", None, EmbedderError),
        (404, 'model "x" not found, try pulling it first', None, EmbedderError),
        (401, "Incorrect API key provided: sk-secret", "invalid_api_key", EmbedderError),
        (403, "Forbidden", None, EmbedderError),
        (400, "API key not valid. Please pass a valid API key.", 400, EmbedderError),
        (402, "Insufficient credits", None, EmbedderError),
        (429, "You exceeded your current quota", "insufficient_quota", EmbedderError),
        (429, "Slow down", "rate_limit_exceeded", RateLimited),
        (200, "Provider returned error", 429, RateLimited),
        (200, "Provider returned error", 502, EmbedderUnavailable),
        (200, "Insufficient credits", 402, EmbedderError),
        (408, "Timeout", None, EmbedderUnavailable),
        (503, "Overloaded", None, EmbedderUnavailable),
        (307, "", None, EmbedderError),
        (418, "I am a teapot", None, EmbedderError),
        (400, "Token 30522 does not exist in the model's vocabulary", None, TextRefused),
        (422, "The model input has characters that were not found in the alphabet", None, TextRefused),
        (500, "token not found in model vocabulary", None, EmbedderUnavailable),
        (451, "Unavailable for legal reasons", None, TextRefused),
        (429, "Request too large for m: Limit 10000, Requested 15000. Input must be reduced", None, TextRefused),
    ],
)
def test_every_refusal_has_one_meaning_and_never_shows_the_key(
    status: int, message: str, code: object, kind: type[EmbedderError]
) -> None:
    content = json.dumps({"error": {"message": message, "code": code}}).encode()
    error = error_of(ENDPOINT, status, {}, content)
    assert type(error) is kind
    assert "sk-secret" not in str(error)
    assert "sk-secret" not in repr(ENDPOINT)


def test_a_page_of_a_firewall_is_about_the_text() -> None:
    """It takes a text such as `' or 1=1` for an attack. A key that is refused comes in JSON."""
    error = error_of(ENDPOINT, 403, {}, b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>")
    assert type(error) is TextRefused
    assert "firewall before it, which refuses the text with a web page (403)" in error.message


def test_a_busy_service_that_says_for_how_long_is_waited_for() -> None:
    error = error_of(ENDPOINT, 503, {"retry-after": "20"}, b'{"error": "Loading the model"}')
    assert isinstance(error, RateLimited)
    assert error.retry_after == 20
    assert "is busy (503): Loading the model" in str(error)


@pytest.mark.parametrize(
    "said", ["Thu, 01 Jan 2026 00:00:00 +" + 20 * "9", "Thu, " + 20 * "9" + " Jan 2026 00:00:00 GMT"]
)
def test_a_date_with_too_many_digits_says_nothing(said: str) -> None:
    error = error_of(ENDPOINT, 429, {"retry-after": said}, b"{}")
    assert isinstance(error, RateLimited)
    assert error.retry_after is None


def test_the_key_is_cut_out_of_what_the_service_says() -> None:
    error = error_of(ENDPOINT, 500, {}, b'{"error": "failed for sk-secret"}')
    assert str(error).endswith("failed for ***")


def test_the_reason_of_the_provider_behind_a_router_is_shown() -> None:
    body = {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "shared pool is full"}}}
    assert "shared pool is full" in str(error_of(ENDPOINT, 429, {}, json.dumps(body).encode()))


@pytest.mark.parametrize("number", ["0.1", "1_0", " 5", True, [0.1], {}])
def test_a_vector_of_anything_but_numbers_is_bad(number: Any) -> None:
    """NumPy takes "1_0" for 10 and true for 1."""
    with pytest.raises(BrokenAnswer, match="neither a list of numbers nor base64"):
        vectors_of(ENDPOINT, answer([0.1, 0.2], [0.3, number]), 2)


@pytest.mark.parametrize("content", [b"", b"<html>", b"null", b'"no"', b"[1]", b'{"error": null}', b"\xff"])
def test_any_error_body_is_understood_somehow(content: bytes) -> None:
    assert isinstance(error_of(ENDPOINT, 500, {}, content), EmbedderUnavailable)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": email.utils.formatdate(NOW - 30, usegmt=True)}, 0),
        ({"retry-after": email.utils.formatdate(NOW), "date": email.utils.formatdate(NOW - 9)}, 9),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "149984",
            },
            1,
        ),
        ({"x-ratelimit-reset": str(int((NOW + 5) * 1000))}, 5),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-5"}, None),
    ],
    ids=str,
)
def test_a_429_says_in_one_of_many_ways_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert stated_wait(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_stated_wait_is_kept_to_and_an_unstated_one_grows() -> None:
    assert all(20 <= pause(20, 1) <= 22 for _ in range(100))
    assert all(pause(0, 9) > pause(0, 1) > 0 for _ in range(100))
    assert all(0.75 <= pause(None, 1) <= 1.25 and pause(None, 12) <= 75 for _ in range(100))


def test_a_pace_never_lets_more_than_the_limit_into_any_minute() -> None:
    pace = Pace(60)
    starts = [pace.book(1, now=0.0) for _ in range(100)]
    assert starts == pytest.approx(list(range(100)))
    assert pace.book(1, now=500.0) == 500.0


def test_a_pace_is_corrected_by_what_was_really_used() -> None:
    pace = Pace(600)
    pace.book(100, now=0.0)
    pace.correct(-50)
    assert pace.book(100, now=0.0) == pytest.approx(5.0)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"data": ' + b"[" * 200_000])
def test_an_answer_of_many_brackets_is_a_broken_answer(content: bytes) -> None:
    with pytest.raises(BrokenAnswer, match="not the JSON"):
        parse(ENDPOINT, content)
    assert "no message" in str(error_of(ENDPOINT, 500, {}, content))


def test_an_empty_answer_is_said_to_be_empty() -> None:
    with pytest.raises(BrokenAnswer, match="empty body"):
        parse(ENDPOINT, b"")


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (
            401,
            "Incorrect API key provided: sk-s**cret. Ask at our office",
            "Incorrect API key provided: ***. Ask at our",
        ),
        (403, "Your organization must be verified", "Your organization must be verified"),
        (402, "Top up at our desk", "Top up at our desk"),
        (418, "I am a teapot", "I am a teapot"),
    ],
)
def test_the_services_own_words_are_shown_without_the_key(status: int, message: str, said: str) -> None:
    error = error_of(ENDPOINT, status, {}, json.dumps({"error": {"message": message}}).encode())
    assert said in str(error)
    assert "cret" not in str(error)


def test_plain_words_of_a_proxy_are_shown_and_cut() -> None:
    assert "no healthy upstream" in str(error_of(ENDPOINT, 503, {}, b"no healthy upstream"))
    assert len(str(error_of(ENDPOINT, 500, {}, b"x" * 10_000))) < 500
