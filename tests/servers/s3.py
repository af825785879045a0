"""A server on loopback that gives objects as S3 does: listing, whole objects and ranges of them.

    with S3Server({"bucket/rows/a.csv": b"id,name\\n1,one\\n"}) as server:
        FilesSource([server.url("bucket/rows/*.csv")], key="id")

Every request must be signed with its key; `objects` may change at any time; `broken` answers come as 503 first.
"""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.loopback import Handler, LoopbackServer

ACCESS_KEY = "AKIDTEST"
SECRET_KEY = "a-secret-of-the-test"


class S3Server(LoopbackServer):
    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(_Handler)
        self.objects = dict(objects)
        self.broken = 0
        self.requests: list[str] = []
        self.modified: dict[str, float] = {}

    def url(self, path: str, *, access_key: str = ACCESS_KEY) -> str:
        place = f"endpoint_override={self.address}&scheme=http&region=us-east-1"
        return f"s3://{access_key}:{SECRET_KEY}@{path}?{place}"

    def put(self, path: str, content: bytes, modified: float = 1.0) -> None:
        self.objects[path] = content
        self.modified[path] = modified


class _Handler(Handler):
    owner: S3Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        test = self.owner
        parts = urlsplit(self.path)
        path, query = unquote(parts.path).strip("/"), parse_qs(parts.query, keep_blank_values=True)
        test.requests.append(f"{self.command} {path}")
        if test.broken:
            test.broken -= 1
            return self._error(503, "SlowDown")
        if f"Credential={ACCESS_KEY}/" not in self.headers.get("Authorization", ""):
            return self._error(403, "AccessDenied")
        bucket, _, key = path.partition("/")
        if not any(name.startswith(f"{bucket}/") for name in test.objects):
            return self._error(404, "NoSuchBucket")
        if not key:
            return self._list(bucket, query)
        if path not in test.objects:
            return self._error(404, "NoSuchKey")
        return self._object(path)

    def _object(self, path: str) -> None:
        whole = self.owner.objects[path]
        headers = {
            "ETag": f'"{hashlib.md5(whole).hexdigest()}"',
            "Last-Modified": formatdate(self.owner.modified.get(path, 0.0), usegmt=True),
            "Content-Type": "application/octet-stream",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self.reply(200, whole, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(whole)), len(whole) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(whole)}"
        return self.reply(206, whole[first : last + 1], headers)

    def _list(self, bucket: str, query: dict[str, Any]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        contents, folders = [], set()
        for path in sorted(self.owner.objects):
            name, _, key = path.partition("/")
            if name != bucket or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            stamp = int(self.owner.modified.get(path, 0.0))
            contents.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(self.owner.objects[path])}</Size>"
                f"<LastModified>2024-05-01T00:00:{stamp:02d}.000Z</LastModified></Contents>"
            )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(contents)}</KeyCount>"
            + "".join(contents)
            + "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders))
            + "</ListBucketResult>"
        )
        self.reply(200, body.encode(), {"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
        self.reply(status, body, {"Content-Type": "application/xml"})
