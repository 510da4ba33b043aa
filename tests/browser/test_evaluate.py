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


CELL = """(chart) => {  // where the first cell of two photos or more lies, how many they are and which classes
    const cells = chart.data[1], { xaxis, yaxis } = chart._fullLayout, box = chart.getBoundingClientRect();
    const index = cells.customdata.findIndex(([count]) => count > 1);
    const at = (axis, name) => axis._offset + axis.c2p(axis.d2c(name));
    const [x, y] = [box.left + at(xaxis, cells.x[index]), box.top + at(yaxis, cells.y[index])];
    return [x, y, cells.customdata[index][0], cells.y[index], cells.x[index]];
}"""


def test_a_confusion_cell_opens_its_photos_one_is_left_out_and_one_opens_in_attention(page, app, classifier, tmp_path):
    """The photo's map on Attention, also after another size, fit and look were chosen there."""
    earlier = "&size=96&fit=keep&resample=nearest&scale=shared"
    page.goto(app + LINK.replace("evaluate", "attention") + earlier)
    page.locator(".live[data-layer]").wait_for()
    page.get_by_role("link", name="Evaluate").click()
    expect(page.get_by_text("answers only one, two or zero, whatever the photo shows")).to_be_visible()
    upload(page, digits_zip(tmp_path / "cells.zip", per_class=5))
    expect(page.get_by_text("On 15 images")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Accuracy \("))).to_be_visible()

    chart = page.locator("[class*='_confusion'] .js-plotly-plot")
    settled_box(chart)
    x, y, count, actual, predicted = chart.evaluate(CELL)
    page.mouse.click(x, y)
    expect(page.get_by_text(re.compile(rf"^1 of {count} · "))).to_be_visible()
    for label, name in (("Actual class", actual), ("Predicted as", predicted)):
        expect(page.get_by_role("combobox", name=label)).to_have_value(name)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text(re.compile(rf"^2 of {count} · "))).to_be_visible()
    expect(page.get_by_text(re.compile("What speaks for")).first).to_be_visible()

    page.get_by_role("button", name="Leave out").click()
    changes = page.get_by_text("Changes for the next training on cells.zip: 1 photo left out")
    expect(changes).to_be_visible()
    page.get_by_role("button", name="Undo", exact=True).last.click()
    expect(changes).to_have_count(0)
    expect(page.get_by_role("button", name="Leave out")).to_be_visible()

    name = page.locator("[data-testid=stImageCaption]").first.inner_text()
    page.get_by_role("button", name="Open photo in Attention").click()
    page.locator(".live[data-layer]").wait_for()
    expect(page.get_by_role("radio", name=name)).to_be_visible()
    expect(page.get_by_role("combobox", name=re.compile("Model"))).to_have_value(NAME)
    expect(page.get_by_role("radio", name="Crop")).to_be_checked()
    page.wait_for_url(lambda url: not any(f"{key}=" in url for key in ("size", "fit", "resample", "scale")))
    assert len(drawn_weights(page.locator(".live"))) == 64, "8 x 8 patches: the model's own size"


def test_on_the_sample_photos_the_slider_says_what_is_left_of_the_answers(page, app, classifier):
    page.goto(app + LINK)
    page.get_by_role("button", name="Try it on the sample photos").click()
    expect(page.get_by_role("heading", name="7 images")).to_be_visible()
    expect(page.get_by_text("All 7 images get an answer.")).to_be_visible()
    page.get_by_role("slider", name="Unsure below").focus()
    page.keyboard.press("End")
    expect(page.get_by_text(re.compile(r"Unsure below 100 %: \d of 7 images"))).to_be_visible()
    page.wait_for_url(re.compile("unsure_below=100"))
    expect(page.get_by_text("Unsure: the likeliest class has only")).to_be_visible()
    page.reload()
    expect(page.get_by_text(re.compile(r"Unsure below 100 %: \d of 7 images"))).to_be_visible()


def test_a_reload_and_another_page_keep_the_upload(page, app, classifier, tmp_path):
    page.goto(app + LINK)
    upload(page, digits_zip(tmp_path / "my digits.zip", per_class=4))
    expect(page.get_by_text("On 12 images")).to_be_visible()
    expect(page.get_by_text("All 12 images get an answer")).to_be_visible()
    page.wait_for_function("document.querySelector('.st-key-risk_coverage .js-plotly-plot')?.data?.length === 2")
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
    expect(page.get_by_text("Unreadable photos: 1")).to_be_visible()
    expect(page.get_by_text("good.png: attention in layer")).to_be_visible()
