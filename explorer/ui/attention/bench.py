"""The bench in the Evidence tab: which map tells the truth about this model, on the sidebar's photos."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from explorer.attention.maps.kind import MapKind
from explorer.attention.maps.table import MAP_KINDS
from explorer.attention.recording import Recording
from explorer.errors import DataError
from explorer.evaluation.bench.contenders import entrants
from explorer.evaluation.bench.measures import MEASURES
from explorer.evaluation.bench.photos import BenchPhoto
from explorer.evaluation.bench.report import html_report
from explorer.evaluation.bench.run import Line, Plan, lines, seconds_per_picture
from explorer.evaluation.bench.table import Table, table
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.photos import Photo, my_photos, samples
from explorer.words import count_in_words, duration_in_words

KEPT, MOST, CHECKED = "bench_kept", 20, 2  # photos at most, and how many models with random layers see
COLUMNS = ("srg_grey", "srg_p_grey", "srg_dropped", "srg_road", "deletion", "insertion", "sanity")
ABOUT = (
    "Patches are taken away by each map's order, the most important first and the least important first, and the "
    "predicted class is followed. A map that tells the truth loses the class soon in the first case and keeps it long "
    "in the second: the gap between the two is the **SRG**. Random order and the centre take part."
)
DEPTHS = {"light": "First look", "all": "Everything"}


@dataclass
class Kept:
    """What was measured so far, and of what; a bench that was stopped goes on from it."""

    asked: tuple
    lines: list[Line] = field(default_factory=list)

    def has_all(self, photos: list[Photo]) -> bool:
        return len(self.lines) >= len(photos) + min(self.asked[1].sanity_photos, len(photos))


def bench_section(rec: Recording, view: View) -> None:
    """The choice of maps and photos, how long it will take, and what was found."""
    st.markdown("**Which map tells the truth here?**")
    if rec.logits is None or rec.model.outputs == "number":
        st.caption("This needs a model with classes, since it follows the predicted class.")
        return
    st.caption(ABOUT)
    photos = (my_photos() or samples())[:MOST]
    names = st.multiselect(
        "Maps", list(rec.maps), [name for name in rec.maps if not MAP_KINDS[name].long],
        format_func=lambda name: MAP_KINDS[name].title, key="bench_maps",
        help="Integrated gradients and occlusion take far longer than the others.",
    )  # fmt: skip
    if not names:
        st.info("Choose at least one map.", icon=":material/checklist:")
        return
    plan = _plan(names, view)
    asked = (cached.model_number(rec.model), plan, tuple(photo.key for photo in photos))
    kept: Kept | None = st.session_state.get(KEPT)
    kept = kept if kept and kept.asked == asked else Kept(asked)
    place = st.empty()
    if not kept.has_all(photos):
        with place.container():
            _offer(rec, photos, plan, kept)
    if kept.has_all(photos):
        place.empty()
    if kept.lines:
        _show(rec, kept, plan)


def _plan(names: list[str], view: View) -> Plan:
    """Which ways of taking patches away: grey alone at first, which takes a fraction of the time."""
    depth = st.segmented_control(
        "How much", list(DEPTHS), default="light", format_func=DEPTHS.__getitem__, key="bench_depth", required=True,
        help="A first look takes patches away in one way, grey. Everything: in four ways (grey, blur, dropped, filled "
        f"from around), and on {CHECKED} photos it is measured how much each map changes as the model's layers become "
        "random.",
    )  # fmt: skip
    plan = Plan(entrants(names), size=view.photo.size, fit=view.photo.fit, sanity_photos=CHECKED)
    return replace(plan.light(), entrants=plan.entrants) if depth == "light" else plan


def _offer(rec: Recording, photos: list[Photo], plan: Plan, kept: Kept) -> None:
    """What it takes, and the button; a second click, like any other, stops it at its next report."""
    checks = min(plan.sanity_photos, len(photos))
    checked = sum("sanity" in line for line in kept.lines)
    left = len(photos) - (len(kept.lines) - checked)
    each = _seconds_each(cached.model_number(rec.model), rec.image.size, rec)
    seconds = plan.seconds(rec, left, checks - checked, each)
    number = f"{len(photos)} photos" if len(photos) > 1 else "photo"
    count = f"Your {number}" if my_photos() else f"The app's {number}"
    st.caption(f"{count}, {len(plan.entrants)} maps: about {duration_in_words(seconds)} on this computer.")
    run_at, stop_at = st.columns([1, 3])
    label = "Go on" if kept.lines else "Compare the maps"
    if not run_at.button(label, key="bench_run", icon=":material/play_arrow:"):
        return
    stop_at.button("Stop", key="bench_stop", icon=":material/stop:")
    st.session_state[KEPT] = kept
    began, place = time.monotonic(), st.empty()

    def show(done: float, total: float, before: float) -> None:
        left = (time.monotonic() - began) * (total - done) / (done - before)
        place.progress(done / total, f"Comparing the maps: {duration_in_words(left)} left")

    for line in lines(rec.model, _readable(photos), plan, list(kept.lines), progress=show):
        kept.lines.append(line)


def _readable(photos: list[Photo]) -> list[BenchPhoto]:
    return [BenchPhoto(photo.title, lambda photo=photo: photo.image) for photo in photos]


@st.cache_data(show_spinner=False, max_entries=20)
def _seconds_each(number: int, size: tuple[int, int], _rec: Recording) -> float:
    """What one picture takes, measured once for a model and size."""
    return seconds_per_picture(_rec)


def _show(rec: Recording, kept: Kept, plan: Plan) -> None:
    """The table, the verdicts on the best map, and the report as a file."""
    try:
        found = table(kept.lines, plan)
    except DataError as error:
        st.error(str(error))
        return
    st.markdown(
        f"By {found.main.title}, **{_title(found.maps[0])}** comes first on {count_in_words(found.photos, 'photo')}."
    )
    st.dataframe(_columns(found), column_config=_config(found), hide_index=True, width="stretch")
    verdicts = (
        replace(verdict, first=_title(verdict.first), second=_title(verdict.second))
        for verdict in found.against_the_best()
    )
    st.markdown("\n".join(f"- {verdict.words()}" for verdict in verdicts))
    facts = {"model": rec.model_name, "photos in the app": "yours" if my_photos() else "the samples"}
    st.download_button(
        "Report (HTML)", lambda: html_report(found, rec.model_name, facts), f"bench-{rec.model_name}.html", "text/html",
        on_click="ignore", key="bench_report", icon=":material/download:",
        help="Table, intervals, every pair and what the numbers mean, in one file.",
    )  # fmt: skip


def _title(name: str) -> str:
    kind: MapKind | None = MAP_KINDS.get(name)
    return kind.title if kind else {"random": "Random order", "centre": "The centre first"}.get(name, name)


def _columns(found: Table) -> dict[str, list]:
    shown = [measure for measure in found.measures if measure.name in COLUMNS]
    columns: dict[str, list] = {"map": [_title(name) for name in found.maps]}
    for measure in shown:
        means = [found.means[name].get(measure.name) for name in found.maps]
        columns[measure.name] = [None if mean is None else mean.value for mean in means]
    return columns


def _config(found: Table) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {"map": "Map"}
    for name in COLUMNS:
        better = "Higher is better." if MEASURES[name].high else "Lower is better."
        config[name] = number(MEASURES[name].title, format="%.3f", help=f"{MEASURES[name].help} {better}")
    return config
