"""The Evaluate page on the real server: a zip is scored, a row opens its attention, other uploads are told in words."""

import re

import pytest
from playwright.sync_api import Page, expect

import explorer
from explorer.training.plan import Plan
from tests.browser.conftest import TINY, drawn_weights, settled_box
from tests.digits import digit_files, digits_zip
from tests.zips import write_folder

NAME = "digits-head"
LINK = f"/evaluate?model=checkpoints%2F{NAME}"


@pytest.fixture(scope="module")
def classifier(app_folder, tmp_path_factory) -> str:
    """A checkpoint of the test server that tells three digits apart."""
    home = tmp_path_factory.mktemp("classifier")
    data = write_folder(home / "digits", digit_files(12, first=20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_QUEUE", str(home / "queue"))
        base, made = app_folder / "checkpoints" / TINY, app_folder / "checkpoints" / NAME
        explorer.finetune(data, str(base), Plan(epochs=5), home / "run", checkpoint=made)
    return NAME


def upload(page: Page, *files) -> None:
    uploader = page.locator("[data-testid=stMain] input[type=file]")
    expect(uploader).to_have_count(1)  # an emptied one fades beside the new
    uploader.set_input_files(list(files))


def test_a_zip_is_scored_and_a_row_opens_in_attention(page, app, classifier, tmp_path):
    """The row's map, also after another size, fit and look were chosen on Attention."""
    earlier = "&size=96&fit=keep&resample=nearest&scale=shared"
    page.goto(app + LINK.replace("evaluate", "attention") + earlier)
    page.locator(".live[data-layer]").wait_for()
    page.get_by_role("link", name="Evaluate").click()
    expect(page.get_by_text("tells 3 classes apart: one, two, zero")).to_be_visible()
    upload(page, digits_zip(tmp_path / "digits.zip", per_class=5))
    expect(page.get_by_text("On 15 images")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Accuracy \("))).to_be_visible()
    picture = page.get_by_text(re.compile(r"\.png: attention in layer")).first  # the old one fades beside the new
    first = picture.inner_text()

    table = page.get_by_test_id("stDataFrame").nth(1)  # after the one of the classes
    box = settled_box(table)
    page.mouse.click(box["x"] + 18, box["y"] + 36 + 52 * 2 + 26)  # the circle before the third row
    expect(picture).not_to_have_text(first)
    name = picture.inner_text().split(": attention")[0]

    page.get_by_role("button", name="Open in Attention").click()
    page.locator(".live[data-layer]").wait_for()
    expect(page.get_by_role("radio", name=name)).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("Model"))).to_have_value(NAME)
    expect(page.get_by_role("radio", name="Crop")).to_be_checked()
    page.wait_for_url(lambda url: not any(f"{key}=" in url for key in ("size", "fit", "resample", "scale")))
    assert len(drawn_weights(page.locator(".live"))) == 64, "8 x 8 patches: the model's own size"


def test_a_reload_and_another_page_keep_the_upload(page, app, classifier, tmp_path):
    page.goto(app + LINK)
    upload(page, digits_zip(tmp_path / "my digits.zip", per_class=4))
    expect(page.get_by_text("On 12 images")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="my digits.zip")).to_be_visible()
    expect(page.get_by_text("On 12 images")).to_be_visible()

    photos = [tmp_path / "Ä 1.png", tmp_path / "2.png"]
    for path, content in zip(photos, digit_files(1).values(), strict=False):
        path.write_bytes(content)
    upload(page, *photos)
    expect(page.get_by_role("heading", name="2 images")).to_be_visible()
    page.get_by_role("link", name="Patches").click()
    page.wait_for_url(re.compile("/patches"))
    page.go_back()
    expect(page.get_by_role("heading", name="2 images")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="2 images")).to_be_visible()

    page.get_by_role("radio", name="Zip used before").click()
    page.get_by_role("button", name="Use these images").click()
    expect(page.get_by_text("On 12 images")).to_be_visible()


def test_the_sidebar_has_the_model_alone_and_the_photo_again_on_other_pages(page, app, classifier):
    page.goto(f"{app}/attention?model=checkpoints%2F{TINY}&size=96")
    page.locator(".live[data-layer]").wait_for()
    sidebar = page.get_by_test_id("stSidebar")
    for name in ("Evaluate", "Fine-tune"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        expect(sidebar.get_by_role("combobox", name=re.compile("Model"))).to_be_visible()
        for hidden in ("Your photos", "Camera", "Input size (pixels)", "Fit"):
            expect(sidebar.get_by_text(hidden, exact=True)).to_be_hidden()
    page.get_by_role("link", name="Attention").click()
    page.locator(".live[data-layer]").wait_for()
    for shown in ("Your photos", "Input size (pixels)", "Fit"):
        expect(sidebar.get_by_text(shown, exact=True)).to_be_visible()
    expect(sidebar.get_by_text("96", exact=True)).to_be_visible()


def test_what_cannot_be_evaluated_is_said_in_words_and_the_page_goes_on(page, app, classifier, tmp_path):
    page.goto(app + LINK)
    upload(page, digits_zip(tmp_path / "other.zip", 3, ("zero", "zebra")))
    expect(page.get_by_text(re.compile("the folder 'zebra' .3., so its images are predicted"))).to_be_visible()
    expect(page.get_by_text("On 3 images")).to_be_visible()
    broken, good = tmp_path / "broken.png", tmp_path / "good.png"
    broken.write_bytes(b"no image")
    good.write_bytes(digit_files(1)["zero/0.png"])
    upload(page, broken, good)
    expect(page.get_by_text("Left out: 1 file")).to_be_visible()
    expect(page.get_by_text("good.png: attention in layer")).to_be_visible()
