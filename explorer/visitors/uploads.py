"""Uploads that a visitor has no room for are forgotten as they come: Streamlit would hold them in memory."""

import re
from asyncio import to_thread
from collections import Counter
from collections.abc import Callable

from explorer.visitors.cookie import ASGIApp, Receive, Scope, Send
from explorer.visitors.settings import has_visitors

_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")
NO_LENGTH, TOO_LARGE = 411, 413  # HTTP


class UploadLimit:
    """ASGI middleware: answers an upload that is larger than room(session) with 413, and keeps nothing of it.

    room: bytes that a session's visitor may still send, those apart that are on their way.
    """

    def __init__(self, app: ASGIApp, room: Callable[[str], int]):
        self.app, self.room = app, room
        self._coming: Counter[str] = Counter()  # bytes of each session's uploads under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        asked = _UPLOAD.search(scope["path"]) if scope["type"] == "http" and scope["method"] == "PUT" else None
        if asked is None or not has_visitors():
            await self.app(scope, receive, send)
            return
        session, size = asked[1], _length(scope)
        if size is None:
            await _answer(send, NO_LENGTH)
            return
        self._coming[session] += size
        try:
            if fits := self._coming[session] <= await to_thread(self.room, session):
                await self.app(scope, receive, send)
        finally:
            self._coming[session] -= size
            if not self._coming[session]:
                del self._coming[session]
        if not fits:
            while (await receive()).get("more_body"):  # a browser hears no answer while it sends
                pass
            await _answer(send, TOO_LARGE)


def _length(scope: Scope) -> int | None:
    """What the request says that it holds; the server reads no more than that."""
    given = {name.lower(): value for name, value in scope["headers"]}.get(b"content-length", b"")
    return int(given) if given.isdigit() and len(given) < 20 else None


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body"})
