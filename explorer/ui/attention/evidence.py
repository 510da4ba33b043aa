"""The Evidence tab: does the class depend on what the map marks, and which head finds the object?"""

from dataclasses import replace

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.localization import Score, fit_mask, rank_heads, rectangle_mask
from explorer.attention.queries import head_name
from explorer.attention.recording import Recording
from explorer.rendering.view import View, shown_map, shown_mask
from explorer.ui.attention.bench import bench_section
from explorer.ui.attention.curves import curves
from explorer.ui.photos import LARGEST_PHOTO, TYPES
from explorer.ui.uploads import largest_upload
from explorer.ui.view_settings import layer_words

MASKS = ("Rectangle", "Brightest patches", "Upload")


def evidence_tab(rec: Recording, view: View) -> None:
    """Curves on demand where the model classifies, the ranking of all heads against a mask, and the bench of maps."""
    if rec.logits is not None:
        st.markdown("**Does the class depend on these patches?**")
        with st.container():  # its progress, once gone, moves nothing of the bench, else seen twice
            curves(rec, view)
        st.divider()
    st.markdown("**Which head found it?**")
    _ranking(rec, view)
    st.divider()
    bench_section(rec, view)


def _ranking(rec: Recording, view: View) -> None:
    st.caption(
        "Mark the object; every layer and head, from the query above, is compared with it pixel by pixel. AUC 0.5 is "
        "chance; IoU is taken at the best threshold; pointing: does the highest patch lie on the object?"
    )
    how = st.segmented_control("Mask", MASKS, key="mask_how")
    if how is None:
        return
    mask = {"Rectangle": _rectangle, "Brightest patches": _by_mass, "Upload": _uploaded}[str(how)](rec, view)
    if mask is None:
        return
    picture_at, table_at = st.columns([1, 2], gap="large")
    picture_at.image(darken_background(rec.image, mask), caption="Bright: the object", width="stretch")
    with table_at:
        _table(rank_heads(rec, mask, view.map["query"]))


def _rectangle(rec: Recording, view: View) -> np.ndarray:
    rows, cols = rec.grid
    down_at, across_at = st.columns(2)
    top, bottom = down_at.slider("Rows", 0, rows - 1, (rows // 4, rows - 1 - rows // 4), key="mask_rows")
    left, right = across_at.slider("Columns", 0, cols - 1, (cols // 4, cols - 1 - cols // 4), key="mask_cols")
    return rectangle_mask(rec.grid, (top, left), (bottom, right))


def _by_mass(rec: Recording, view: View) -> np.ndarray:
    mass = st.slider("Patches holding this share of the attention above", 0.05, 0.95, 0.6, 0.05, key="mask_mass")
    st.caption(f"The patches that hold it in {layer_words(view)}; that map itself fits them best.")
    mask = shown_mask(replace(view.look, mass=mass), shown_map(view, rec))
    assert mask is not None  # a mass was given
    return mask


def _uploaded(rec: Recording, view: View) -> np.ndarray | None:
    file = st.file_uploader("Mask: white object, black background, grey (128) left out; or classes in colour, or a "
                            "cut-out with alpha", TYPES, max_upload_size=largest_upload(LARGEST_PHOTO))  # fmt: skip
    if file is None:
        return None
    return fit_mask(file, rec.part.geometry, photo_size=rec.part.photo_size)


def darken_background(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """The image with everything but the object darkened; mask of pixels or patches."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255 if mask.dtype == bool else mask)
    shade = np.array(inside.resize(image.size, Image.Resampling.NEAREST))[..., None] / 255 * 0.75 + 0.25
    return Image.fromarray((np.array(image) * shade).astype(np.uint8))


def verdict(scores: list[Score]) -> str:
    """The best head, and whether a map that knows no photo does better."""
    best = next(score for score in scores if score.layer is not None)
    said = f"Best: **layer {best.layer}, {head_name(best.head)}** with AUC {best.auc:.3f}."
    prior = max((score.auc for score in scores if score.layer is None), default=0.0)
    if prior <= best.auc:
        return said
    return (
        f"{said} The centre prior, a bright spot in the middle of any photo, beats every head with AUC {prior:.3f}, so "
        "this mask doesn't show that a head found the object."
    )


def _table(scores: list[Score]) -> None:
    st.markdown(verdict(scores))
    bar = st.column_config.ProgressColumn
    columns = {
        "Layer": st.column_config.TextColumn("Layer", width=50),
        "Head": st.column_config.TextColumn("Head", width=95),
        "AUC": bar(
            "Pixel AUC", format="%.3f", min_value=0, max_value=1,
            help="How often a pixel of the object has a higher value than one of the background: 1 always, 0.5 chance.",
        ),
        "IoU": bar(
            "Best IoU", format="%.3f", min_value=0, max_value=1,
            help="Intersection over union: what the map, cut at its best threshold, and the object share, as part of "
            "all that either covers.",
        ),
        "Peak": st.column_config.CheckboxColumn("Peak on object"),
    }  # fmt: skip
    table = {
        "Layer": ["" if score.layer is None else str(score.layer) for score in scores],
        "Head": [str(score.head) for score in scores],
        "AUC": [score.auc for score in scores],
        "IoU": [score.iou for score in scores],
        "Peak": [score.pointing >= 0.5 for score in scores],
    }
    st.dataframe(table, column_config=columns, hide_index=True, width="stretch", height=420)
