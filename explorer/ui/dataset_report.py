"""What was found in a data set, as numbers, a table with pictures, and lists of what was left out or stands twice."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from PIL import ImageOps

from explorer.data.images import open_image
from explorer.data.report import DatasetReport, DuplicateGroup, Item, Split
from explorer.data.store import stored_thumbnail
from explorer.errors import DataError, ImageError
from explorer.ui.messages import plain
from explorer.ui.widgets import facts

SAMPLES = 5  # pictures per class
PICTURED = 60  # classes that are shown with pictures
LISTED = 100  # files left out that are named
GROUPS = 12  # groups of copies that are shown
IMBALANCED = 3  # images of the largest class for each of the smallest
ONE = {  # what is passed over, where it is one only
    "system files": "system file",
    "linked folders": "linked folder",
    "files that are no images": "file that is no image",
    "images outside the class folders used": "image outside the class folders used",
}
SIDES: dict[Split, str] = {"train": "Train", "val": "Validation"}


def show_report(report: DatasetReport, title: str) -> None:
    """Everything there is to know before training."""
    st.header(plain(title), anchor=False)
    facts(_numbers(report))
    for note in report.notes:
        st.info(plain(note))
    st.caption(sizes_line(report))
    if report.imbalance() >= IMBALANCED:
        st.info(
            f"The largest class has {report.imbalance():.0f} times the images of the smallest; "
            "class weights, in the plan, make up for it."
        )
    _classes(report)
    _left_out(report)
    _copies(report)


def _numbers(report: DatasetReport) -> dict[str, str]:
    copies = Counter(group.kind for group in report.duplicates)
    return {
        "Images": f"{len(report.items):,}",
        "Classes": f"{len(report.class_names):,}",
        "Left out": f"{len(report.rejected):,}",
        "Exact copies": _groups(copies["exact"]),
        "Near copies": _groups(copies["near"]),
    }


def sizes_line(report: DatasetReport) -> str:
    """ "Median size 341 × 256 pixels; sides from 137 to 500 pixels."."""
    width, height = report.sizes()["width"], report.sizes()["height"]
    least, most = min(width[0], height[0]), max(width[2], height[2])
    return f"Median size {width[1]} × {height[1]} pixels; sides from {least:,} to {most:,} pixels."


def _groups(count: int) -> str:
    return "1 group" if count == 1 else f"{count:,} groups" if count else "none"


def _classes(report: DatasetReport) -> None:
    """One row per class: its count as a bar and a few of its images."""
    most = max(report.counts().values())
    columns: dict[str, Any] = {
        "Images": st.column_config.ProgressColumn(min_value=0, max_value=most, format="%d", width="medium"),
        **{f"sample {place}": st.column_config.ImageColumn("" if place else "Samples") for place in range(SAMPLES)},
    }
    st.dataframe(_class_rows(report), hide_index=True, row_height=72, column_config=columns, alt="Images of each class")


def _class_rows(report: DatasetReport) -> list[dict[str, Any]]:
    samples = report.samples(SAMPLES)
    sides = SIDES if report.has_split else {}
    rows = []
    for number, (name, count) in enumerate(report.counts().items()):
        pictures = samples[name] if number < PICTURED else []
        row = {"Class": name, "Images": count}
        row |= {title: report.counts(side)[name] for side, title in sides.items()}
        row |= {f"sample {place}": thumbnail(str(item.path)) for place, item in enumerate(pictures)}
        rows.append(row)
    return rows


@st.cache_data(show_spinner=False, max_entries=3000)
def thumbnail(path: str, side: int = 144) -> str | None:
    """The middle of the image as a small JPEG in a data URL; None where its file is gone."""
    try:
        picture = open_image(stored_thumbnail(Path(path)) or path)
    except ImageError:
        return None
    picture = ImageOps.fit(picture, (side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _left_out(report: DatasetReport) -> None:
    show_passed_over(report)
    if report.rejected:
        show_left_out([(entry.name, entry.reason) for entry in report.rejected])


def show_passed_over(report: DatasetReport) -> None:
    """What no one would take for a part of the data set, counted."""
    passed_over = ", ".join(
        f"{count:,} {ONE.get(what, what) if count == 1 else what}" for what, count in report.passed_over.items()
    )
    if passed_over:
        st.caption(f"Passed over: {passed_over}.")


def show_left_out(files: Sequence[tuple[str, str]], expanded: bool = False) -> None:
    """Each file that could not be used, and why."""
    with st.expander(f"Left out: {_counted(len(files), 'file')}", expanded=expanded):
        lines = [f"- {left_out_line(name, reason)}" for name, reason in files[:LISTED]]
        if len(files) > LISTED:
            lines.append(f"- and {len(files) - LISTED:,} more")
        st.markdown("\n".join(lines))


def left_out_line(name: str, reason: str) -> str:
    """The file and what is wrong with it, named once: reasons name the file themselves, or don't."""
    for named in (f"'{name}'", f"'{name.rsplit('/', 1)[-1]}'", name):
        if reason.startswith(named):
            return f"**{plain(name)}**{plain(reason.removeprefix(named))}"
    return f"**{plain(name)}**: {plain(reason)}"


def _copies(report: DatasetReport) -> None:
    if not report.duplicates:
        return
    with st.expander(copies_line(report)):
        if not report.has_split:
            st.caption("Copies always fall on the same side of the split.")
        for group in sorted(report.duplicates, key=_worst_first)[:GROUPS]:
            st.caption(_group_line(group))
            _pictures([report.items[index] for index in group.items[:8]], report)
        if len(report.duplicates) > GROUPS:
            st.caption(f"And {_counted(len(report.duplicates) - GROUPS, 'more group')}.")


def copies_line(report: DatasetReport) -> str:
    """ "Copies: 5 groups, 2 across classes, 1 across train and validation"."""
    classes = sum(group.across_classes for group in report.duplicates)
    splits = sum(group.across_splits for group in report.duplicates)
    parts = [f"Copies: {_groups(len(report.duplicates))}"]
    parts += [f"{classes} across classes"] * bool(classes) + [f"{splits} across train and validation"] * bool(splits)
    return ", ".join(parts)


def _group_line(group: DuplicateGroup) -> str:
    kind = "Equal files" if group.kind == "exact" else "Nearly equal"
    places = [" in different classes"] * group.across_classes + [" in train and validation"] * group.across_splits
    return kind + " and".join(places)


def _worst_first(group: DuplicateGroup) -> tuple[bool, bool]:
    return not group.across_splits, not group.across_classes


def _pictures(items: list[Item], report: DatasetReport) -> None:
    with st.container(horizontal=True, gap="small"):
        for item in items:
            try:
                picture = open_image(stored_thumbnail(item.file) or item.file)
            except (DataError, ImageError):  # its file was removed since it was read
                continue
            picture.thumbnail((240, 240))
            where = [report.class_names[item.label], *([SIDES[item.split].lower()] if item.split else [])]
            st.image(picture, width=120, caption=plain(" · ".join(where)))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
