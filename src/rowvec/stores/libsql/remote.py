"""A libSQL database over HTTP: Turso, or a server of one's own (sqld).

A thin client of Hrana over HTTP, version 2, which every such server speaks; version 3 adds nothing needed here
(HTTP_V2_SPEC.md and HRANA_3_SPEC.md in tursodatabase/libsql). A transaction is a batch, each step of which runs only
if the one before it did, so that it takes one round trip. One too large for a single request is spread over several,
tied together by the baton that the server hands out.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import tenacity

from rowvec.errors import DataRefused, StoreError, StoreUnavailable
from rowvec.stores.libsql.database import Answer, Query, Statement, Values, translated
from rowvec.stores.pulse import Address, Pulse, Silent
from rowvec.support.services import Answer as Reply
from rowvec.support.services import EndlessAnswer, checked_key, exchanged

_SCHEMES = {"libsql": "https", "wss": "https", "ws": "http", "https": "https", "http": "http"}
_REQUEST_BYTES = 4 << 20
_TRIES = 3
_LOOK_SECONDS = 0.1
MOST_BYTES = 2**30
"""An answer with more has no end: as many rows as are asked for at once take a hundredth of it."""


def is_remote(url: str) -> bool:
    return url.partition("://")[0] in _SCHEMES and "://" in url


class RemoteDatabase:
    """
    Args:
        url: `libsql://host`, `https://host` or `http://host:port`, optionally with `?authToken=…` and `?tls=0`.
        token: sent as a bearer token, nowhere else.
        timeout: seconds for one request, from one byte to the next; ten times as many for a whole answer.
        silent_seconds: a server that says nothing for this long, not even over a new connection, is given up by whoever
            reads.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        tries: int = _TRIES,
        silent_seconds: float = 10.0,
    ) -> None:
        import httpx2

        parts = urlsplit(url)
        options = parse_qs(parts.query)
        scheme = "http" if options.get("tls") == ["0"] else _SCHEMES[parts.scheme]
        token = checked_key(token or options.get("authToken", [None])[0] or parts.password, "store.token")
        host = parts.netloc.rpartition("@")[2]
        self.address = f"{scheme}://{host}{parts.path.rstrip('/')}"
        self._timeout = timeout
        self._has_token = token is not None
        self._client = httpx2.Client(timeout=timeout, headers={"Authorization": f"Bearer {token}"} if token else {})
        self._unreachable = httpx2.RequestError
        self._pulse = Pulse(self._answers, silent_seconds)
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            stop=tenacity.stop_after_attempt(tries),
            reraise=True,
        )
        self.location = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"

    def exists(self) -> bool:
        return True

    def check_place(self) -> None:
        pass

    def create(self) -> None:
        """A remote database is made with its provider's own tools; here it only has to answer."""
        self.query("select 1")

    def query(self, sql: str, values: Values = ()) -> list[Values]:
        request = self._execute(sql, values)

        def ask() -> list[Values]:
            with _Stream(self, reads=True) as stream:
                return self._rows(stream.send(request, last=True))

        return self._retry(ask)

    def in_one_snapshot(self, work: Callable[[Query], Answer]) -> Answer:
        def run() -> Answer:
            with _Stream(self, reads=True) as stream:
                stream.send(self._execute("begin"), last=False)
                answer = work(lambda sql, values: self._rows(stream.send(self._execute(sql, values), last=False)))
                stream.send(self._execute("commit"), last=True)
            return answer

        return self._retry(run)

    def _rows(self, response: Any) -> list[Values]:
        with _of_hrana(self.location):
            return [tuple(map(_decoded, row)) for row in response["result"]["rows"]]

    def _execute(self, sql: str, values: Values = ()) -> str:
        return f'{{"type": "execute", "stmt": {self._statement(sql, values)}}}'

    def transact(
        self, statements: Sequence[Statement], *, before_commit: Callable[[], None] | None = None
    ) -> list[int]:
        # Encoded once, however often it has to be sent.
        parts = list(_parts([self._statement(*statement) for statement in statements]))

        def send() -> list[int]:
            changed: list[int] = []
            with _Stream(self) as stream:
                for number, part in enumerate(parts):
                    first, last = number == 0, number == len(parts) - 1
                    if last and before_commit:
                        before_commit()
                    changed += self._changed(stream.send(_batch(part, first, last), last=last), len(part), first)
            return changed

        return self._retry(send)

    def _statement(self, sql: str, values: Values) -> str:
        try:
            return json.dumps({"sql": sql, "args": [_encoded(value) for value in values]}, allow_nan=False)
        except ValueError:
            raise DataRefused(f"{self.location}: an infinite number cannot be sent over HTTP.") from None

    def _changed(self, response: Any, statements: int, first: bool) -> list[int]:
        with _of_hrana(self.location):
            result = response["result"]
            failed = [str(error["message"]) for error in result["step_errors"] if error]
            if failed:
                raise translated(failed[0], self.location)
            return [step["affected_row_count"] for step in result["step_results"][int(first) :][:statements]]

    def post(self, base: str | None, body: str, *, reads: bool = False) -> Any:
        """One pipeline request.

        Args:
            reads: it is given up where the server says nothing more.

        Raises:
            StoreUnavailable: no connection, it was cut, or the server is overloaded or restarting.
            StoreError: the server refused.
        """
        address = f"{base or self.address}/v2/pipeline"

        def send() -> Reply:
            headers = {"Content-Type": "application/json"}
            return exchanged(
                self._client, "POST", address, most_bytes=MOST_BYTES, seconds=10 * self._timeout,
                heard=self._pulse.heard, content=body, headers=headers,
            )  # fmt: skip

        try:
            response = self._watched(send) if reads else send()
        except EndlessAnswer as error:
            # Not a fault that passes: it would be read to the same length again.
            raise StoreError(f"{self.location} {error}.", hint="Check that store.url is a libSQL server.") from None
        except Silent as error:
            raise StoreUnavailable(f"{self.location} does not answer: {error}.") from error
        except self._unreachable as error:
            raise StoreUnavailable(
                f"{self.location} does not answer: {str(error) or type(error).__name__}.",
                hint="Check the URL and the network; the sync goes on where it stopped.",
            ) from None
        status = response.status
        if status in (401, 403):
            raise self._refused(status)
        if status in (408, 425, 429) or status >= 500:
            raise StoreUnavailable(f"{self.location} is not available now (HTTP {status}).")
        try:
            answer = json.loads(response.content)
            if status == 200 and "results" in answer:
                return answer
            problem = str(answer["message"])
        except (ValueError, KeyError, TypeError):
            problem = ""
        if "stream" in problem.lower():
            # The server has closed the stream, and rolled its transaction back.
            raise StoreUnavailable(f"{self.location}: {problem}")
        raise _another_server(self.location, f"(HTTP {status}). {problem}".rstrip())

    def _refused(self, status: int) -> StoreError:
        if not self._has_token:
            return StoreError(
                f"{self.location} needs a token (HTTP {status}), and store.token is not set.",
                hint='Write token = "${TURSO_AUTH_TOKEN}" beside store.url, and set that variable.',
            )
        return StoreError(
            f"{self.location} refused the token (HTTP {status}).", hint="Make a new token for this database."
        )

    def _watched(self, send: Callable[[], Reply]) -> Reply:
        """
        Raises:
            Silent: the server says nothing; what comes after all is thrown away.
        """
        self._pulse.admit()
        began, sent = time.monotonic(), _in_background(send)
        while not wait([sent], _LOOK_SECONDS).done:
            self._pulse.watch({}, began, None)
        reply: Reply = sent.result()
        return reply

    def _answers(self, _: Address, seconds: float) -> bool:
        """Whether the server says anything at all over a new connection."""
        import httpx2

        try:
            httpx2.get(self.address, timeout=seconds)
        except self._unreachable:
            return False
        return True

    def close(self) -> None:
        self._client.close()


def _another_server(location: str, told: str) -> StoreError:
    return StoreError(
        f"{location} does not answer as a libSQL server {told}",
        hint="Give the store the URL that `turso db show` prints, or that of an sqld server.",
    )


@contextmanager
def _of_hrana(location: str) -> Iterator[None]:
    """
    Raises:
        StoreError: what is read here of an answer has another form.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _another_server(location, f"({type(error).__name__} in an answer).") from error


def _may_pass(error: BaseException) -> bool:
    """A server that said nothing would have to be waited for once more."""
    return isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, Silent)


def _in_background(work: Callable[[], Any]) -> Future[Any]:
    """In a thread that no end of the process waits for."""
    found: Future[Any] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, name="rowvec-libsql", daemon=True).start()
    return found


class _Stream:
    """A connection on the server, held together by batons."""

    def __init__(self, database: RemoteDatabase, *, reads: bool = False) -> None:
        self._database = database
        self._reads = reads
        self._baton: str | None = None
        self._base: str | None = None

    def send(self, request: str, *, last: bool) -> Any:
        """The response to one request, given as JSON; the stream ends with the `last` one.

        Raises:
            StoreError: as `post`, or what the engine said.
        """
        close = ', {"type": "close"}' if last else ""
        answer = self._database.post(
            self._base, f'{{"baton": {json.dumps(self._baton)}, "requests": [{request}{close}]}}', reads=self._reads
        )
        with _of_hrana(self._database.location):
            self._baton, self._base = answer["baton"], answer.get("base_url") or self._base
            result = answer["results"][0]
            if result["type"] == "error":
                raise translated(str(result["error"]["message"]), self._database.location)
            return result["response"]

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Left open after an error it would keep its transaction, and so everybody else out, until the server notices.
        if kind is not None and self._baton is not None:
            closing = json.dumps({"baton": self._baton, "requests": [{"type": "close"}]})
            try:
                self._database.post(self._base, closing, reads=self._reads)
            except StoreError:
                self._baton = None


def _parts(statements: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for statement in statements:
        if part and size + len(statement) > _REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(statement)
        size += len(statement)
    yield part


def _batch(statements: Sequence[str], first: bool, last: bool) -> str:
    """A batch request as JSON: `begin` before the first part of a transaction, `commit` after its last, and a rollback
    where anything went wrong."""
    texts = [*statements]
    if first:
        texts.insert(0, '{"sql": "begin immediate"}')
    if last:
        texts.append('{"sql": "commit"}')
    steps = [
        f'{{"condition": {{"type": "ok", "step": {number - 1}}}, "stmt": {text}}}' if number else f'{{"stmt": {text}}}'
        for number, text in enumerate(texts)
    ]
    failed = f'{{"type": "not", "cond": {{"type": "ok", "step": {len(texts) - 1}}}}}'
    steps.append(f'{{"condition": {failed}, "stmt": {{"sql": "rollback"}}}}')
    return f'{{"type": "batch", "batch": {{"steps": [{", ".join(steps)}]}}}}'


def _encoded(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"type": "null"}
        case bool() | int():
            return {"type": "integer", "value": str(int(value))}
        case float():
            return {"type": "float", "value": value}
        case str():
            return {"type": "text", "value": value}
        case _:
            return {"type": "blob", "base64": base64.b64encode(value).decode()}


def _decoded(value: Any) -> Any:
    match value["type"]:
        case "null":
            return None
        case "integer":
            return int(value["value"])
        case "blob":
            text = value["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4))
        case _:
            return value["value"]
