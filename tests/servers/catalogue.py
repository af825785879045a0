"""A server on loopback that answers as the catalogues of Hugging Face and of Kaggle do.

    with CatalogueServer() as server:
        server.hub = [{"id": "someone/words", "downloads": 7}]
        server.kaggle = [{"ref": "someone/words", "title": "Words", "lastUpdated": "2024-01-01T00:00:00Z"}]

The hub's list comes in pages with a Link header; Kaggle's needs the user and the key. `refusals` answers of Kaggle
are "too many requests" first.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import Handler, LoopbackServer

USER, KEY = "someone", "a-key-of-the-test"
PAGE = 2


class CatalogueServer(LoopbackServer):
    def __init__(self) -> None:
        super().__init__(_Handler)
        self.hub: list[dict[str, Any]] = []
        self.kaggle: list[dict[str, Any]] = []
        self.refusals = 0
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def answer(self, path: str, asked: dict[str, str], authorization: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers."""
        if path == "/api/datasets":
            return self._hub_page(asked)
        expected = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, {"code": 401, "message": "Unauthenticated"}, {}
        if self.refusals:
            self.refusals -= 1
            return 429, {"code": 429, "message": "Too many requests"}, {"Retry-After": "1"}
        if path == "/api/v1/datasets/list":
            latest = sorted(self.kaggle, key=lambda each: each["lastUpdated"], reverse=True)
            first = PAGE * (int(asked.get("page", "1")) - 1)
            brief = [{k: v for k, v in each.items() if k != "description"} for each in latest]
            return 200, brief[first : first + PAGE], {}
        ref = path.removeprefix("/api/v1/datasets/view/")
        found = next((each for each in self.kaggle if each["ref"] == ref), None)
        if found is None:
            return 404, {"code": 404, "message": "Not found"}, {}
        # The answer about one dataset names the fields that may be missing differently.
        return 200, {name if name == "ref" else f"{name}Nullable": value for name, value in found.items()}, {}

    def _hub_page(self, asked: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        ordered = sorted(self.hub, key=lambda each: -each["downloads"])
        first = int(asked.get("cursor", "0"))
        headers = {}
        if first + PAGE < len(ordered):
            headers["Link"] = f'<{self.url}/api/datasets?cursor={first + PAGE}>; rel="next"'
        return 200, ordered[first : first + PAGE], headers


class _Handler(Handler):
    owner: CatalogueServer

    def do_GET(self) -> None:
        path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.owner.paths.append(path)
        status, body, headers = self.owner.answer(
            path, {name: values[-1] for name, values in asked.items()}, self.headers.get("Authorization", "")
        )
        self.reply(status, json.dumps(body).encode(), {**headers, "Content-Type": "application/json"})
