"""What the server does on its own: it loads everything when it starts, and answers visits before Streamlit is ready."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from threading import Event, Thread

import streamlit
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from explorer import paths
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.ui.components import asset
from explorer.ui.navigation import PAGES, Entry
from explorer.visitors.cookie import VisitorCookie
from explorer.visitors.passes import spin_briefly
from explorer.visitors.settings import has_visitors
from explorer.visitors.uploads import UploadLimit
from explorer.web.welcome import PAGE, first_page, with_first_picture

LOCAL = ("localhost", "127.0.0.1", "::1")
STATIC = Path(streamlit.__file__).parent / "static"
GRACE = 1.0  # seconds from the server's start until PyTorch is imported where nobody comes
_answered = Event()  # whether somebody has the first picture
FONTS = {
    "Source Sans": "SourceSansVF-Upright",
    "Source Serif": "SourceSerifVariable-Roman",
}  # how Streamlit's files begin


@asynccontextmanager
async def lifespan(_: streamlit.App) -> AsyncIterator[None]:
    """Import everything and load the model that is shown first, in a thread of its own, before anybody comes."""
    _say_who_can_come()
    if has_visitors():
        spin_briefly()
    Thread(target=_load, name="get-ready", daemon=True).start()
    yield


def _load() -> None:
    # Importing PyTorch holds the interpreter up for long: a visitor who comes at once is answered first.
    _answered.wait(GRACE)
    from explorer.ui import cached  # brings all that reads photos and models

    with paths.working_for(None):  # no visitor in particular
        cached.begin_loading(ModelSource(registry.default_source()))


def _say_who_can_come() -> None:
    """Tell the terminal that the app is one person's, and how to open it to others."""
    address = streamlit.get_option("server.address")
    if address in LOCAL and not has_visitors():
        print(
            "  Only this computer can open it. For others: EXPLORER_VISITORS=1, with the option "
            "--server.address 0.0.0.0 (see docs/deploy.md).",
            file=sys.stderr,
            flush=True,
        )


@cache
def _index(first: bool) -> str:
    index = (STATIC / "index.html").read_text("utf-8")
    # With the menu's own rule from the start: a menu that is measured before it comes hides its last pages for a while.
    index = index.replace("</head>", f"<style>{asset('menu.css')}</style></head>")
    return with_first_picture(index) if first else index


@cache
def _frame() -> str:
    found = {font: next((STATIC / "static" / "media").glob(f"{name}*"), None) for font, name in FONTS.items()}
    faces = (
        f'@font-face {{ font-family: "{font}"; font-weight: 200 900; src: url("./static/media/{file.name}"); }}\n'
        for font, file in found.items()
        if file
    )
    return first_page("".join(faces))


async def _answer_visit(request: Request) -> HTMLResponse:
    """Streamlit's index.html; at the bare address, which shows the bundled model, with the first picture over it."""
    bare = request.url.path == "/" and not request.url.query
    first = bare and registry.default_source() == registry.BUNDLED
    return HTMLResponse(_index(first), headers={"Cache-Control": "no-cache"})


async def _answer_other_spelling(request: Request) -> RedirectResponse:
    """/Attention, /fine-tune; and /home, which Streamlit doesn't know, since the first page has the bare address."""
    name = request.url.path.strip("/").lower().replace("-", "")
    address = "./" if name == PAGES[0].name else f"./{name}"
    return RedirectResponse(f"{address}?{request.url.query}" if request.url.query else address)


def _other_spellings(entry: Entry) -> set[str]:
    own = set() if entry is PAGES[0] else {entry.name}
    return {entry.name, entry.name.upper(), entry.name.capitalize(), entry.title, entry.title.lower()} - own


async def _answer_frame(_: Request) -> HTMLResponse:
    return HTMLResponse(_frame(), headers={"Cache-Control": "no-cache"}, background=BackgroundTask(_answered.set))


def _room_for_upload(session: str) -> int:
    from explorer.ui.visitor import room_for_upload  # imports much, for which no first picture waits

    return room_for_upload(session)


MIDDLEWARE = (Middleware(VisitorCookie), Middleware(UploadLimit, room=_room_for_upload))
ROUTES = (
    Route("/", _answer_visit),
    *(Route(f"/{entry.name}", _answer_visit) for entry in PAGES[1:]),
    *(Route(f"/{name}", _answer_other_spelling) for entry in PAGES for name in _other_spellings(entry)),
    Route(f"/{PAGE}", _answer_frame),
)
