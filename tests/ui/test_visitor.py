"""Whose session it is, and what a demonstration leaves out."""

import threading
from contextlib import suppress
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from explorer import paths
from explorer.errors import ModelError, TrainingError
from explorer.training.runs.folder import RunFolder, State
from explorer.ui import visitor
from explorer.visitors.workspace import folder_of
from explorer.web.welcome import LOGIN, with_first_picture
from tests.app import open_app, sentences


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    """An app with many visitors."""
    monkeypatch.setenv("EXPLORER_VISITORS", "1")
    monkeypatch.setenv("EXPLORER_WORKSPACES", str(tmp_path / "workspaces"))
    monkeypatch.setattr(paths, "_find", paths._from_environment)


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints", "visitors")
def test_a_session_without_a_cookie_is_a_new_visitor_and_stays_one():
    app = open_app()
    assert not app.exception and not sentences(app)
    name = app.session_state["visitor"]
    app.run()
    assert app.session_state["visitor"] == name and name.startswith("cookie:")
    assert not folder_of(name).exists(), "who keeps nothing has no folder"


@pytest.mark.usefixtures("visitors")
def test_a_thread_that_works_for_nobody_opens_nothing():
    paths.find_workspace_with(visitor._of_this_session)
    found = []

    def ask() -> None:
        try:
            paths.runs()
        except LookupError as error:
            found.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert len(found) == 1 and "works for no visitor" in found[0]


def test_one_training_at_a_time(visitors, tmp_path):
    with paths.working_for(tmp_path):
        assert visitor.why_not_train() == ""
        folder = RunFolder(tmp_path / "runs/pets")
        folder.path.mkdir(parents=True)
        folder.write_state(State("running"))
        with pytest.raises(TrainingError, match="One training at a time: pets is running"):
            visitor.check_may_train()
    with paths.working_for(tmp_path / "other"):
        visitor.check_may_train()


def test_two_windows_of_a_visitor_that_start_at_once_start_one_training(visitors, tmp_path):
    inside, began = threading.Barrier(2), []

    def press_start(name: str) -> None:
        with suppress(TrainingError), paths.working_for(tmp_path), visitor.starting():
            visitor.check_may_train()
            with suppress(threading.BrokenBarrierError):
                inside.wait(0.2)  # for the other, which must not get in here
            folder = RunFolder(tmp_path / "runs" / name)
            folder.path.mkdir(parents=True)
            folder.write_state(State("running"))
            began.append(name)

    windows = [threading.Thread(target=press_start, args=(name,)) for name in ("cats", "dogs")]
    for window in windows:
        window.start()
    for window in windows:
        window.join()
    assert len(began) == 1


def test_a_demonstration_trains_nothing_and_loads_only_what_it_lists(monkeypatch):
    visitor.check_may_type("org/name")
    monkeypatch.setenv("EXPLORER_DEMO", "1")
    with pytest.raises(TrainingError, match="demonstration"):
        visitor.check_may_train()
    with pytest.raises(ModelError, match="only the models in the list, not 'org/name'"):
        visitor.check_may_type("org/name")


def test_a_setting_that_is_none_is_a_sentence_and_nothing_else(monkeypatch):
    def page() -> None:
        import streamlit as st

        from explorer.ui import visitor

        visitor.enter()
        st.write("further")

    monkeypatch.setenv("EXPLORER_VISITORS_DISK", "much")
    app = AppTest.from_function(page).run()
    assert [error.value for error in app.error] == ["EXPLORER\\_VISITORS\\_DISK is 'much'\\: give a number above 0."]
    assert not app.exception and not app.markdown


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_a_demonstration_s_sidebar_has_no_upload_of_weights(monkeypatch):
    monkeypatch.setenv("EXPLORER_DEMO", "1")
    app = open_app(model="timm:vit_tiny_patch16_224")
    assert any("only the models in the list" in sentence for sentence in sentences(app))
    uploaders: Any = app.get("file_uploader")
    assert "Weights file" not in [uploader.label for uploader in uploaders]


@pytest.mark.parametrize(
    ("user", "admin"),
    [
        ({"is_logged_in": True, "email": "Host@example.org"}, True),
        ({"is_logged_in": True, "email": "host@example.org", "email_verified": False}, False),
        ({"is_logged_in": True, "email": "host@example.org", "email_verified": "false"}, False),
        ({"is_logged_in": True, "email": "host@example.org", "email_verified": "True"}, True),
        ({"is_logged_in": True, "email": "host@example.org", "email_verified": None}, False),
        ({"is_logged_in": True, "email": "ann@example.org"}, False),
        ({"is_logged_in": True}, False),
        ({}, False),
    ],
)
def test_an_admin_is_named_by_the_host(user, admin, monkeypatch):
    monkeypatch.setenv("EXPLORER_ADMINS", "host@example.org")
    monkeypatch.setattr(st, "user", user)
    assert visitor.is_admin() is admin


@pytest.mark.parametrize("variable", ["EXPLORER_ADMINS", "EXPLORER_ADMIN_TOKEN"])
def test_where_nobody_is_named_nobody_is_an_admin(variable, monkeypatch):
    monkeypatch.setenv(variable, "")
    monkeypatch.setattr(st, "user", {"is_logged_in": True, "email": ""})
    assert not visitor.is_admin()


@pytest.mark.parametrize(
    ("auth", "labels"),
    [
        ({"client_id": "x"}, ["Log in"]),
        ({"client_id": "x", "client_kwargs": {"prompt": "login"}}, ["Log in"]),
        ({"client_id": "x", "lab": {"client_id": "y"}}, ["Log in", "Log in with lab"]),
        ({"lab": {"client_id": "x"}, "google": {"client_id": "y"}}, ["Log in with lab", "Log in with google"]),
    ],
)
def test_each_provider_of_the_login_has_a_button_that_the_first_picture_gives_way_to(auth, labels):
    def page() -> None:
        from explorer.ui.visitor import _show_login

        _show_login()

    app = AppTest.from_function(page)
    app.secrets["auth"] = {"cookie_secret": "x", **auth}
    assert [button.label for button in app.run().button] == labels and not app.exception
    assert f".st-key-{LOGIN}" in with_first_picture("<body></body>")
