"""The cookie that names a visitor without a login: 128 random bits, set with the page, never seen by a script."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from explorer.errors import SettingsError
from explorer.visitors.settings import has_visitors, settings
from explorer.visitors.workspace import ID, new_id

NAME = "explorer_visitor"
_DAY = 24 * 60 * 60

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class VisitorCookie:
    """ASGI middleware: with each page that a browser loads, its cookie is set again, or for the first time.

    SameSite=Lax, so that no other site's page sends it; Secure behind https, which a proxy says by X-Forwarded-Proto.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the cookie to a page."""
        if scope["type"] != "http" or not has_visitors():
            await self.app(scope, receive, send)
            return

        async def with_cookie(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and _is_page(message):
                message = {**message, "headers": [*message["headers"], (b"set-cookie", _set_cookie(scope))]}
            await send(message)

        await self.app(scope, receive, with_cookie)


def _is_page(message: MutableMapping[str, Any]) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])


def _set_cookie(scope: Scope) -> bytes:
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    name = visitor_in(headers.get(b"cookie", "")) or new_id()
    secure = "https" in (scope.get("scheme"), headers.get(b"x-forwarded-proto"))
    try:
        days = settings().days
    except SettingsError:  # which the page says
        days = 1
    parts = [f"{NAME}={name}", "Path=/", f"Max-Age={round(days * _DAY)}", "HttpOnly", "SameSite=Lax"]
    return "; ".join([*parts, *["Secure"] * secure]).encode()


def visitor_in(cookies: str) -> str | None:
    """Whom a request's cookies name; None where that isn't of the right shape."""
    given = re.findall(rf"(?:^|;) *{NAME}=([^;]*)", cookies)
    return given[-1] if given and ID.fullmatch(given[-1]) else None
