"""Enough of S3's HTTP interface for one bucket in memory, to test against a real socket."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from aiohttp import web


class S3Server:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.largest_body = 0
        self.parts_seen = 0
        self.failing = False

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{bucket}", self._delete)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.failing:
            return web.Response(status=403)
        key, query = request.match_info["key"], request.query
        body = await request.read()
        self.largest_body = max(self.largest_body, len(body))
        if request.method == "POST":
            return self._multipart(key, query)
        if request.method == "PUT":
            if "partNumber" in query:
                self.parts_seen += 1
                self.parts[query["uploadId"]][int(query["partNumber"])] = body
            else:
                self.objects[key] = body
            return web.Response(headers={"ETag": _tag(body)})
        return self._read(request, key)

    async def _delete(self, request: web.Request) -> web.Response:
        if self.failing:
            return web.Response(status=403)
        keys = re.findall("<Key>(.*?)</Key>", (await request.read()).decode())
        for key in keys:
            self.objects.pop(key, None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return web.Response(
            text=f"<DeleteResult>{gone}</DeleteResult>", content_type="application/xml"
        )

    def _multipart(self, key: str, query: Any) -> web.Response:
        if "uploads" in query:
            upload = f"u{len(self.parts)}"
            self.parts[upload] = {}
            text = (
                "<InitiateMultipartUploadResult><Bucket>b</Bucket>"
                f"<Key>{key}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        else:
            parts = self.parts.pop(query["uploadId"])
            self.objects[key] = b"".join(parts[each] for each in sorted(parts))
            text = (
                "<CompleteMultipartUploadResult><Location>x</Location><Bucket>b</Bucket>"
                f"<Key>{key}</Key><ETag>{_tag(self.objects[key])}</ETag>"
                "</CompleteMultipartUploadResult>"
            )
        return web.Response(text=text, content_type="application/xml")

    def _read(self, request: web.Request, key: str) -> web.Response:
        data = self.objects.get(key)
        if data is None:
            return web.Response(status=404)
        headers = {"ETag": _tag(data), "Last-Modified": "Mon, 23 Nov 2026 02:00:00 GMT"}
        wanted = request.http_range
        if wanted.start is None:
            return web.Response(body=data, headers=headers)
        stop = min(len(data), wanted.stop or len(data))
        headers["Content-Range"] = f"bytes {wanted.start}-{stop - 1}/{len(data)}"
        return web.Response(status=206, body=data[wanted.start : stop], headers=headers)


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
