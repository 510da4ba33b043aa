"""The report of an evaluation: one file, nothing fetched, names of classes and files as text."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from explorer.data.datasets import read_images
from explorer.evaluation.html_report import html_report
from explorer.evaluation.predict import Evaluation, evaluate, predict
from tests.tiny import tiny_model
from tests.zips import pictures, write_folder

EVIL = '<img src=x onerror="alert(1)">'


class Tags(HTMLParser):
    """The tags with their attributes, and the text, of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Evaluation:
    folder = write_folder(tmp_path_factory.mktemp("set"), pictures({"ant": 4, EVIL: 4}))
    model = replace(tiny_model(num_classes=2), class_names=["ant", EVIL])
    return evaluate(model, read_images(folder))


def test_it_holds_the_numbers_and_photos_and_fetches_nothing(made):
    page = Tags(html_report(made, "model <b>", "data & more", 0.6, ["Seen before."]))
    assert made.metrics and f"{100 * made.metrics['accuracy']:.1f} %" in page.text
    wrong = [row for row in made.rows if row["actual"] != row["predicted"]]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert wrong and len(images) == len(wrong)
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert all(str(address).startswith("data:") for address in addresses)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_names_are_text_whatever_they_hold(made):
    page = Tags(html_report(made, EVIL, EVIL))
    assert EVIL in page.text
    assert not any("onerror" in attributes or attributes.get("src") == "x" for _, attributes in page.tags)


def test_photos_of_unknown_classes_are_listed(tmp_path):
    folder = write_folder(tmp_path / "photos", pictures({"x": 2}))
    files = sorted(folder.rglob("*.png"))
    model = tiny_model(num_classes=3)
    found = predict(model, [*files, tmp_path / "gone.png"], ["a.png", "b.png", "gone.png"])
    rows = [{"image": str(file), "name": name, "predicted": "ant", "probability": 0.5} for file, name in
            zip(files, ("a.png", "b.png"), strict=True)]  # fmt: skip
    page = Tags(html_report(Evaluation(found, rows), "m", "2 images", 0.9))
    assert "a.png" in page.text and "0 of 2 images get an answer" in page.text
    assert "There is no image file 'gone.png'" in page.text
