"""Two people on one server: each has a workspace, and nothing of the other's opens by page, address or typed path."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer import paths
from explorer.models.source import ModelSource
from explorer.training.plan import Plan
from explorer.training.runs.folder import RunFolder, State, create_run, new_options
from explorer.visitors.cookie import NAME
from explorer.visitors.workspace import ID, folder_of
from tests.browser.conftest import TINY
from tests.browser.server import running_app
from tests.browser.test_home import drop, open_home, photo_file, thumbnail
from tests.digits import digits_zip

SECRET = "secret"  # the name of everything of Ann's
TOKEN = "a token that is long enough"


class Ann(NamedTuple):
    """The first visitor: her window, her workspace, and the addresses that show her things to her."""

    page: Page
    folder: Path
    photo: str
    data: str


@pytest.fixture(scope="module")
def folder(app_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's folder with the tiny model among the host's checkpoints."""
    folder = tmp_path_factory.mktemp("visitors")
    shutil.copytree(app_folder / "checkpoints", folder / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def open_app(browser: Browser, folder: Path) -> Iterator[str]:
    """The address of an app with many visitors."""
    workspaces = str(folder / "workspaces")
    with running_app(
        folder, EXPLORER_VISITORS="1", EXPLORER_WORKSPACES=workspaces, EXPLORER_ADMIN_TOKEN=TOKEN
    ) as server:
        yield server.url


def visitor_id(page: Page) -> str:
    """What the browser's cookie says; scripts can't read it."""
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie.get("name") == NAME]
    assert (cookie.get("sameSite"), cookie.get("httpOnly")) == ("Lax", True)
    return str(cookie.get("value"))


@pytest.fixture
def ann(new_window: Callable[..., Page], open_app: str, folder: Path, monkeypatch, tmp_path: Path) -> Ann:
    """Ann, with a photo, a data set, a model and a run of her own."""
    page = new_window()
    open_home(page, open_app)
    monkeypatch.setenv("EXPLORER_WORKSPACES", str(folder / "workspaces"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(folder / "checkpoints"))
    own = folder_of(f"cookie:{visitor_id(page)}")
    drop(page, photo_file(f"{SECRET}.png", "coral"))
    expect(thumbnail(page, f"{SECRET}.png")).to_have_attribute("aria-checked", "true")
    page.wait_for_url("**photo=mine-*")
    photo = page.url.split("?")[1]
    shutil.copytree(folder / "checkpoints" / TINY, own / "checkpoints" / SECRET)
    with paths.working_for(own):
        run = RunFolder(paths.runs() / SECRET)
        model = ModelSource(f"checkpoints/{TINY}")
        create_run(run, new_options(run, "digits", model, checkpoint=own / "checkpoints/other"), Plan(epochs=2))
        run.write_state(State("stopped", epoch=1, epochs=2))
    page.goto(f"{open_app}/finetune?model=checkpoints%2F{TINY}")
    page.locator("[data-testid=stMain] input[type=file]").set_input_files(digits_zip(tmp_path / f"{SECRET}.zip", 4))
    expect(page.get_by_role("button", name="Plan the training")).to_be_visible()
    page.wait_for_url("**data=*")
    return Ann(page, own, photo, re.findall("data=([^&]+)", page.url)[0])


def test_nothing_of_another_visitor_opens(new_window: Callable[..., Page], open_app: str, ann: Ann):
    ann.page.goto(f"{open_app}/finetune?step=Runs")
    expect(ann.page.get_by_text("Click a run to open it.")).to_be_visible()  # she sees her own
    bob = new_window()
    open_home(bob, open_app)
    assert visitor_id(bob) != visitor_id(ann.page) and all(ID.fullmatch(visitor_id(page)) for page in (bob, ann.page))

    # By pages and lists.
    bob.goto(f"{open_app}/finetune?step=Runs")
    expect(bob.get_by_text("No run yet.")).to_be_visible()
    bob.get_by_role("combobox", name="Model", exact=True).click()
    expect(bob.get_by_role("option", name=TINY)).to_be_visible()
    assert bob.get_by_role("option", name=SECRET).count() == 0
    bob.keyboard.press("Escape")

    # By the address: a run, a photo, data.
    for step in ("Train", "Result"):
        bob.goto(f"{open_app}/finetune?step={step}&run={SECRET}")
        expect(bob.get_by_text("No run yet: choose images")).to_be_visible()
    bob.goto(f"{open_app}/?{ann.photo}")
    expect(
        bob.get_by_text("This photo is no longer here").or_(bob.get_by_text("no longer here: photos go"))
    ).to_be_visible()
    assert thumbnail(bob, f"{SECRET}.png").count() == 0
    bob.goto(f"{open_app}/finetune?data={ann.data}")
    expect(bob.get_by_text("no longer on the server")).to_be_visible()

    # A model, by its name and by every way of writing its path.
    place = ann.folder / "checkpoints" / SECRET
    for source in (
        f"checkpoints/{SECRET}",
        str(place),
        f"{place}/model.safetensors",
        f"checkpoints/../../{ann.folder.name}/checkpoints/{SECRET}",
        f"checkpoints/../workspaces/{ann.folder.name}/checkpoints/{SECRET}",
    ):
        bob.goto(f"{open_app}/?model={quote(source, safe='')}")
        alert = bob.get_by_role("alert").filter(has_text=re.compile("no longer there|a model id|exist"))
        expect(alert.first).to_be_visible()


def test_a_cookie_of_another_shape_is_no_name(new_window: Callable[..., Page], open_app: str, folder: Path):
    for forged in ("../../checkpoints", "A" * 32, "a" * 31, "a" * 33):
        page = new_window()
        page.context.add_cookies([{"name": NAME, "value": forged, "url": open_app}])
        open_home(page, open_app)
        assert ID.fullmatch(visitor_id(page)) and visitor_id(page) != forged
        assert not folder_of(f"cookie:{forged}").exists()
        page.context.close()


def test_a_reload_and_a_second_window_are_the_same_visitor_and_the_admin_sees_all(
    new_window: Callable[..., Page], open_app: str, ann: Ann
):
    before = visitor_id(ann.page)
    ann.page.reload()
    second = ann.page.context.new_page()
    open_home(second, open_app, f"/?model=checkpoints%2F{SECRET}")
    assert visitor_id(ann.page) == before == visitor_id(second)

    host = new_window()
    host.goto(f"{open_app}/finetune?step=Runs&admin=1")
    host.get_by_label("Admin token").fill("a wrong token of that length")
    host.keyboard.press("Enter")
    expect(host.get_by_text("That is not the token.")).to_be_visible()
    host.get_by_label("Admin token").fill(TOKEN)
    host.keyboard.press("Enter")
    host.get_by_role("combobox", name="Workspace (admin)").click()
    host.get_by_role("option", name=re.compile(ann.folder.name[:8])).click()
    expect(host.get_by_text("Where next", exact=True)).to_be_visible()  # what was open may not be there any more
    host.get_by_role("link", name="Fine-tune").first.click()
    host.get_by_role("tab", name="Runs").click()
    expect(host.get_by_text("Click a run to open it.")).to_be_visible()
