"""The app under AppTest: the real main.py with a tiny random model in a checkpoints folder of its own."""

from streamlit.testing.v1 import AppTest

from tests.conftest import REPOSITORY

TINY = "checkpoints/tiny.safetensors"


def open_app(page: str = "home", **address: str) -> AppTest:
    """The app at that page, run once, with the tiny model unless the address names another."""
    app = AppTest.from_file(str(REPOSITORY / "explorer" / "ui" / "script" / "main.py"), default_timeout=60)
    for key, value in {"model": TINY, **address}.items():
        app.query_params[key] = value
    if page != "home":
        app.switch_page(f"../../../pages/{page}.py")  # as a link opens it: Home would take up the address first
    return app.run()


def sentences(app: AppTest) -> list[str]:
    """All errors and warnings on the page, without the marks that keep Markdown away."""
    return [element.value.replace("\\", "") for element in (*app.error, *app.warning)]
