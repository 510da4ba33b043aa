"""Uploads that a visitor has no room for never reach Streamlit."""

import asyncio

import pytest

from explorer.visitors.uploads import UploadLimit

ROOM = {"ann": 1000, "bob": 0}


@pytest.fixture(autouse=True)
def visitors(monkeypatch):
    monkeypatch.setenv("EXPLORER_VISITORS", "1")


class App:
    """Notes what it is asked, and answers 204 once it may."""

    def __init__(self):
        self.asked, self.go = [], asyncio.Event()
        self.limit = UploadLimit(self, lambda session: ROOM.get(session, 0))

    async def __call__(self, scope, receive, send):
        self.asked.append(scope["path"])
        await self.go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def put(self, session: str, size: object, method: str = "PUT") -> int:
        """The status of the answer; whoever refuses has taken the whole body, so that a browser hears it."""
        sent, parts = [], [{"type": "http.request", "body": b"x", "more_body": more} for more in (False, True, True)]

        async def send(message):
            assert sent or not parts or message["status"] != 413
            sent.append(message)

        async def receive():
            return parts.pop()

        headers = [] if size is None else [(b"Content-Length", str(size).encode())]
        path = f"/base/_stcore/upload_file/{session}/some-file"
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await self.limit(scope, receive, send)
        return sent[0]["status"]


@pytest.mark.parametrize(
    ("session", "size", "status"),
    [
        ("ann", 1000, 204), ("ann", 1001, 413), ("bob", 1, 413), ("stranger", 1, 413),
        ("ann", None, 411), ("ann", "-1", 411), ("ann", "1e3", 411), ("ann", "9" * 5000, 411),
    ],
)  # fmt: skip
def test_what_is_larger_than_the_room_never_reaches_streamlit(session, size, status):
    async def run() -> tuple[int, int]:
        app = App()
        app.go.set()
        return await app.put(session, size), len(app.asked)

    assert asyncio.run(run()) == (status, int(status == 204))


def test_uploads_at_the_same_time_share_the_room():
    async def run() -> list[int]:
        app = App()
        under_way = asyncio.create_task(app.put("ann", 600))
        while not app.asked:
            await asyncio.sleep(0)
        refused = await app.put("ann", 401)
        app.go.set()
        return [refused, await under_way, await app.put("ann", 1000)]

    assert asyncio.run(run()) == [413, 204, 204]


def test_one_person_s_app_and_other_requests_are_left_alone(monkeypatch):
    async def run(method: str) -> int:
        app = App()
        app.go.set()
        return await app.put("bob", 10**9, method)

    assert asyncio.run(run("DELETE")) == 204
    monkeypatch.delenv("EXPLORER_VISITORS")
    assert asyncio.run(run("PUT")) == 204
