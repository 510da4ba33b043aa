"""The cookie that tells visitors apart, as a browser gets it with the page."""

import asyncio
import re

import pytest

from explorer.visitors.cookie import VisitorCookie, visitor_in

MINE = "0123456789abcdef" * 2


def answer(kind: bytes = b"text/html; charset=utf-8", scheme: str = "http", **headers: str) -> dict[bytes, bytes]:
    """The headers of an answer of that type to a request with these headers."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})

    async def send(message):
        sent.append(message)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "scheme": scheme, "headers": given}
    asyncio.run(VisitorCookie(app)(scope, None, send))  # pyright: ignore[reportArgumentType]
    return dict(sent[0]["headers"])


@pytest.fixture(autouse=True)
def visitors(monkeypatch):
    monkeypatch.setenv("EXPLORER_VISITORS", "1")
    monkeypatch.setenv("EXPLORER_VISITORS_DAYS", "2")


def test_a_new_visitor_gets_random_bits_that_scripts_can_t_read():
    one, other = (answer()[b"set-cookie"].decode() for _ in range(2))
    shape = r"explorer_visitor=[0-9a-f]{32}; Path=/; Max-Age=172800; HttpOnly; SameSite=Lax"
    assert re.fullmatch(shape, one) and re.fullmatch(shape, other) and one != other


def test_a_visitor_who_comes_again_keeps_the_name():
    assert f"explorer_visitor={MINE};" in answer(cookie=f"a=b; explorer_visitor={MINE}")[b"set-cookie"].decode()


@pytest.mark.parametrize("forged", ["../../etc", MINE.upper(), MINE[1:], MINE + "0", "", f'"{MINE}x"', "%00" * 16])
def test_a_cookie_of_another_shape_is_no_name(forged):
    assert visitor_in(f"explorer_visitor={forged}") is None
    assert forged not in answer(cookie=f"explorer_visitor={forged}")[b"set-cookie"].decode() or not forged


@pytest.mark.parametrize(
    ("scheme", "proxy", "secure"), [("http", "http", False), ("https", "", True), ("http", "https", True)]
)
def test_behind_https_it_never_travels_without(scheme, proxy, secure):
    assert answer(scheme=scheme, x_forwarded_proto=proxy)[b"set-cookie"].endswith(b"; Secure") is secure


def test_only_pages_set_it_and_only_where_there_are_visitors(monkeypatch):
    assert b"set-cookie" not in answer(b"image/png")
    monkeypatch.delenv("EXPLORER_VISITORS")
    assert b"set-cookie" not in answer()
