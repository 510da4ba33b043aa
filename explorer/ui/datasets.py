"""The data sets that people upload to train on or to evaluate: kept in one folder, read once for all pages, and shown.

What was found in one is shown as numbers, a table with pictures, and lists of what was left out or stands twice.
"""

import io
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import streamlit as st
from PIL import ImageOps

from explorer import paths
from explorer.data.archives import unpacked_bytes
from explorer.data.builtin import BUILTIN
from explorer.data.datasets import check_evaluable, check_trainable
from explorer.data.images import jpeg_uri, open_image
from explorer.data.report import DatasetReport, DuplicateGroup, Item, Split
from explorer.data.store import CHANGES, REPORT, read_once, stored_folder, stored_thumbnail
from explorer.errors import DataError, DiskError, ImageError, RoomError
from explorer.files import stamp
from explorer.training.runs.jobs import list_runs
from explorer.ui.messages import plain
from explorer.ui.uploads import keep_upload, time_of_change
from explorer.ui.widgets import facts
from explorer.visitors.quotas import hold_room
from explorer.words import count_in_words

# Of the names that keep_data and write_builtin give; nothing else, and no path, is ever taken from an address.
DATA_SET = re.compile(rf"[0-9a-f]{{16}}-(?P<zip>[\w.-]+\.zip)|(?P<builtin>({'|'.join(BUILTIN)})-\d+)")
UPLOADS = ".uploads"  # folder among the runs
KEPT_REPORTS = 8
LARGEST = 2000  # MB of one upload
LIMIT = 8 * 2**30  # bytes of uploads on disk, of all sessions
SAMPLES = 5  # pictures per class
PICTURED = 60  # classes that are shown with pictures
LISTED = 100  # files left out that are named
GROUPS = 12  # groups of copies that are shown
IMBALANCED = 3  # images of the largest class for each of the smallest
SIDES: dict[Split, str] = {"train": "Train", "val": "Validation"}


def uploads_folder() -> Path:
    """Where uploads, and the images read out of them, lie."""
    folder = paths.runs() / UPLOADS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"The folder {folder} for uploads can't be made ({error.strerror}).") from error
    return folder


def used_before() -> dict[str, str]:
    """{file name: title} of the data sets that lie there and were read in before, the newest first."""
    paths = sorted(uploads_folder().iterdir(), key=time_of_change, reverse=True)
    return {path.name: data_title(path.name) for path in paths if DATA_SET.fullmatch(path.name)}


def upload_labels(titles: Mapping[str, str]) -> dict[str, str]:
    """What a box calls each of used_before(): its title and, where several have that, when each was uploaded.

    Of two options that read alike a box gives the last, whichever was picked.
    """
    counts, folder = Counter(titles.values()), uploads_folder()
    return {
        name: title if counts[title] == 1 else f"{title}, {_moment(folder / name)}" for name, title in titles.items()
    }


def _moment(path: Path) -> str:
    return datetime.fromtimestamp(time_of_change(path)).strftime("%d %b, %H:%M:%S")


def data_title(path: str) -> str:
    """What people call the data set at that path."""
    name = Path(path).name
    match = DATA_SET.fullmatch(name)
    return (match["zip"] or match["builtin"]) if match else name


def data_suffix(title: str) -> str:
    """What keep_data adds to a data set's name, so that used_before() lists it under its title."""
    stem = re.sub(r"[^\w.-]+", "-", title.removesuffix(".zip"))[:50]  # of up to 4 bytes each
    return f"-{stem}.zip"


def forget_upload(path: Path) -> None:
    """Delete a file that was uploaded; one that lies elsewhere stays."""
    if path.parent == uploads_folder() and path.is_file():
        path.unlink()


def keep_data(file: IO[bytes], suffix: str) -> Path:
    """The upload on disk, named by its content; the oldest that no run under way still reads make room for it."""
    runs = [run.options for run in list_runs(paths.runs()) if run.options and run.state.active]
    in_use = {Path(name).name for options in runs for name in (options.data, options.stored) if name}
    in_use |= {path.name for path in uploads_folder().glob(f"*{CHANGES}")}  # a person's own work, and small
    return keep_upload(file, uploads_folder(), suffix, LIMIT, in_use)


@st.cache_resource(show_spinner=False)
def _reports() -> OrderedDict[Path, DatasetReport]:
    return OrderedDict()  # shared by all sessions; a cached function could not draw the progress bar


def read_data(path: Path, title: str, to_train: bool = True) -> DatasetReport:
    """What is in a data set, read once for all pages while it stays as it is.

    DataError where it can't be used: of one that was just uploaded nothing is kept then, unless the disk is at fault.
    """
    folder = data_place(path, title)
    known = folder.is_dir()
    try:
        return _report(path, folder, title, to_train)
    except RoomError:
        if not known:  # or it would take the room of what else the visitor has
            forget_upload(path)
        raise
    except DiskError:
        raise
    except DataError:
        if not known:
            forget_upload(path)
        raise


def _report(path: Path, folder: Path, title: str, to_train: bool) -> DatasetReport:
    reports = _reports()
    if folder in reports and (folder / REPORT).is_file():
        (check_trainable if to_train else check_evaluable)(reports[folder], title)
    else:
        reports[folder] = _read_with_progress(path, folder, title, to_train)
        while len(reports) > KEPT_REPORTS:
            reports.popitem(last=False)
    return reports[folder]


def data_place(path: Path, title: str) -> Path:
    """The folder of what was, or will be, read of a data set; DataError where the data set is gone."""
    try:
        return _stored_folder(path, path.stat().st_mtime, uploads_folder())
    except OSError as error:
        raise DataError(f"'{title}' is no longer on the server: choose it again.") from error


@st.cache_data(show_spinner=False, ttl="30s", max_entries=50)
def _stored_folder(path: Path, changed: float, store: Path) -> Path:
    """stored_folder without going through all files of a large folder at every rerun."""
    return stored_folder(path, store)


def _read_with_progress(path: Path, folder: Path, title: str, to_train: bool) -> DatasetReport:
    bar = st.progress(0.0, "Reading the images")

    def show(done: int, total: int) -> None:
        bar.progress(done / total, f"Reading the images: {done:,} of {total:,}")

    try:
        with _room_to_unpack(path, folder, title):
            return read_once(path, folder, show, to_train, title)
    finally:
        bar.empty()


@contextmanager
def _room_to_unpack(path: Path, folder: Path, title: str) -> Iterator[None]:
    """Hold the room that a visitor's zip takes a second time when it is read for the first."""
    if paths.workspace() is None or not path.is_file() or (folder / REPORT).is_file():
        yield
        return
    try:
        with hold_room(unpacked_bytes(path, title), folder.parent):
            yield
    except OSError as error:
        raise DiskError(f"'{title}' can't be unpacked ({error.strerror}): free some space.") from error


def show_report(report: DatasetReport, title: str) -> None:
    """Everything there is to know before training."""
    st.header(plain(title), anchor=False)
    facts(_numbers(report))
    for note in report.notes:
        st.info(plain(note))
    st.caption(sizes_line(report))
    if report.imbalance() >= IMBALANCED:
        st.info(
            f"The largest class has {report.imbalance():.0f} times as many images as the smallest; "
            "class weights, in the plan, compensate for that."
        )
    _classes(report)
    _left_out(report)
    _copies(report)


def _numbers(report: DatasetReport) -> dict[str, str]:
    copies = Counter(group.kind for group in report.duplicates)
    return {
        "Images": f"{len(report.items):,}",
        "Classes": f"{len(report.class_names):,}",
        "Unreadable": f"{len(report.rejected):,}",
        "Exact copies": _groups(copies["exact"]),
        "Near copies": _groups(copies["near"]),
    }


def sizes_line(report: DatasetReport) -> str:
    """ "Median size 341 × 256 pixels; sides from 137 to 500 pixels."."""
    width, height = report.sizes()["width"], report.sizes()["height"]
    least, most = min(width[0], height[0]), max(width[2], height[2])
    return f"Median size {width[1]} × {height[1]} pixels; sides from {least:,} to {most:,} pixels."


def _groups(count: int) -> str:
    return count_in_words(count, "group") if count else "none"


def _classes(report: DatasetReport) -> None:
    """One row per class: its count as a bar and a few of its images."""
    most = max(report.counts().values())
    columns: dict[str, Any] = {
        "Images": st.column_config.ProgressColumn(min_value=0, max_value=most, format="%d", width="medium"),
        **{f"sample {place}": st.column_config.ImageColumn("" if place else "Samples") for place in range(SAMPLES)},
    }
    st.dataframe(
        _class_rows(report),
        hide_index=True,
        row_height=72,
        column_config=columns,
        placeholder="",
        alt="Images of each class",
    )


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


def thumbnail(path: str, side: int = 144) -> str | None:
    """The middle of the image as a small JPEG in a data URL; None where its file is gone."""
    jpeg = small_jpeg(path, side)
    return jpeg_uri(jpeg) if jpeg else None


def small_jpeg(path: str, side: int = 144) -> bytes | None:
    """The middle of the image as a small JPEG; None where its file is gone."""
    return _small_jpeg(path, stamp(path), side)


@st.cache_data(show_spinner=False, max_entries=3000)
def _small_jpeg(path: str, stamp: tuple | None, side: int) -> bytes | None:
    try:
        picture = open_image(stored_thumbnail(Path(path)) or path)
    except ImageError:
        return None
    picture = ImageOps.fit(picture, (side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


def _left_out(report: DatasetReport) -> None:
    show_passed_over(report)
    if report.rejected:
        show_left_out([(entry.name, entry.reason) for entry in report.rejected])


def show_passed_over(report: DatasetReport) -> None:
    """Files that aren't part of the data set, counted."""
    if report.passed_over:
        st.caption(f"Other files: {', '.join(report.others())}.")


def show_left_out(files: Sequence[tuple[str, str]], expanded: bool = False) -> None:
    """Each file that could not be used, and why."""
    with st.expander(f"Unreadable photos: {len(files):,}", expanded=expanded):
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
    # Open where it matters: a copy in another class is wrong in one of them, one across the split is seen twice.
    serious = any(group.across_classes or group.across_splits for group in report.duplicates)
    with st.expander(f"Copies: {report.copies()}", expanded=serious):
        if not report.has_split:
            st.caption("Copies always fall on the same side of the split.")
        for group in sorted(report.duplicates, key=_worst_first)[:GROUPS]:
            st.caption(_group_line(group))
            _pictures([report.items[index] for index in group.items[:8]], report)
        if len(report.duplicates) > GROUPS:
            st.caption(f"And {count_in_words(len(report.duplicates) - GROUPS, 'more group')}.")


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
