"""A server on loopback that answers as Cohere, Gemini, Jina and Voyage do, and as strictly: a field that they do not
know is an error. The vector of a text follows from the text and from what it was said to be, a query or a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.servers.loopback import Handler, LoopbackServer
from tests.servers.openai import vector_of

KEY = "test-key-of-a-provider"
SIZE = 8
FIELDS = {
    "/cohere/embed": {"model", "texts", "input_type", "embedding_types", "output_dimension", "truncate"},
    "/jina/embeddings": {"model", "input", "task", "dimensions", "late_chunking"},
    "/voyage/embeddings": {"model", "input", "input_type", "output_dimension", "encoding_format", "truncation"},
}


class ProviderServer(LoopbackServer):
    """Starts on entering, on a free port.

    Attributes:
        bodies: of the requests so far.
        fewer: the next answer lacks its last vector.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.bodies: list[dict[str, Any]] = []
        self.fewer = False

    def url(self, api: str) -> str:
        return f"http://{self.address}/{api}"

    def answer(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        self.bodies.append(body)
        key = headers.get("x-goog-api-key") if path.startswith("/gemini") else headers.get("Authorization")
        if key not in (KEY, f"Bearer {KEY}"):
            return 401, {"message": "invalid api token"}
        if path == "/gemini/models/m:batchEmbedContents":
            return self._gemini(body)
        unknown = set(body) - FIELDS[path]
        if unknown:
            return 400, {"detail": f"Extra inputs are not permitted: {sorted(unknown)}"}
        if path == "/cohere/embed":
            if "input_type" not in body:
                return 400, {"message": "invalid request: valid input_type must be provided"}
            size = body.get("output_dimension", SIZE)
            vectors = self._vectors(body["texts"], body["input_type"], size)
            return 200, {"id": "x", "embeddings": {"float": vectors}, "meta": {"billed_units": {"input_tokens": 7}}}
        said = body.get("task") or body.get("input_type")
        size = body.get("dimensions") or body.get("output_dimension") or SIZE
        vectors = self._vectors(body["input"], said, size)
        data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
        return 200, {"object": "list", "data": data, "model": body["model"], "usage": {"total_tokens": 7}}

    def _gemini(self, body: dict[str, Any]) -> tuple[int, Any]:
        found = []
        for each in body["requests"]:
            unknown = set(each) - {"model", "content", "taskType", "title", "outputDimensionality"}
            if unknown or each["model"] != "models/m":
                message = f"Invalid JSON payload received. Unknown name: {sorted(unknown)}"
                return 400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
            texts = [part["text"] for part in each["content"]["parts"]]
            found += self._vectors(texts, each["taskType"], each.get("outputDimensionality", SIZE))
        return 200, {"embeddings": [{"values": vector} for vector in found]}

    def _vectors(self, texts: list[str], said: str | None, size: int) -> list[list[float]]:
        found = [vector_of(f"{said}|{text}", size).tolist() for text in texts]
        if self.fewer:
            self.fewer = False
            found.pop()
        return found


class _Handler(Handler):
    owner: ProviderServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.owner.answer(self.path, body, dict(self.headers))
        self.reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})
