"""Uploaded files don't pile up in the server's memory."""

from urllib.request import urlopen

from playwright.sync_api import Page, expect

from tests.browser.test_home import drop, open_home, photo_file, thumbnail


def uploaded_bytes(app: str) -> float:
    """What Streamlit holds of uploaded files, over all sessions."""
    with urlopen(f"{app}/_stcore/metrics") as answer:
        lines = [line.decode() for line in answer]
    return sum(float(line.split()[-1]) for line in lines if "UploadedFileManager" in line)


def test_dropped_photos_leave_nothing_behind_in_streamlit(page: Page, app: str):
    open_home(page, app)
    before = uploaded_bytes(app)
    for color in ("teal", "coral", "olive"):
        drop(page, photo_file(f"{color}.png", color))
        expect(thumbnail(page, f"{color}.png")).to_be_visible()
    assert uploaded_bytes(app) == before
