"""An evaluation as one HTML file that needs nothing else: scores, confusion, classes, mistakes with their photos."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from explorer import __version__
from explorer.data.images import ImageSource, jpeg_uri, open_image, thumbnail
from explorer.errors import ImageError
from explorer.evaluation.html_page import html_page
from explorer.evaluation.predict import Evaluation
from explorer.evaluation.selective import Answered, RiskCoverage, answered_line, answers_at, risk_coverage
from explorer.words import percent

Read = Callable[[str], ImageSource]
SCORES = {"accuracy": "Accuracy", "f1_macro": "F1, macro", "f1_weighted": "F1, weighted"}
MATRIX = 30  # classes up to which the confusion matrix is a table
MISTAKES = 60  # photos that are shown, the highest losses first
LISTED = 500  # predictions of images whose class no one knows
WIDE, HIGH, MARGIN = 460, 260, 42  # of the risk-coverage curve


def html_report(
    evaluation: Evaluation,
    model: str,
    data: str,
    unsure_below: float = 0.0,
    notes: Sequence[str] = (),
    read: Read | None = None,
) -> str:
    """The whole page. model, data: what people call them. unsure_below: probability under which no answer is given.

    read: gives an image by its name, where it may have no file.
    """
    metrics = evaluation.metrics
    parts = [_heading(evaluation, model, data), *(f"<p>{escape(note)}</p>" for note in (*notes, *evaluation.notes))]
    if metrics:
        parts += [_scores(metrics), _confusion(metrics), _classes(metrics)]
    if evaluation.found.outputs != "number":
        parts += [_unsure(evaluation, unsure_below)]
    parts += [_mistakes(evaluation, read) if metrics else _predictions(evaluation), _left_out(evaluation)]
    return html_page(f"{model} on {data}", parts, STYLE)


def _heading(evaluation: Evaluation, model: str, data: str) -> str:
    scored, all_ = len(evaluation.actual), len(evaluation.rows)
    count = f"{all_:,} images" + (f", {scored:,} of them scored" if 0 < scored < all_ else "")
    made = f"{datetime.now():%Y-%m-%d %H:%M}, Vision Transformer explorer {__version__}"
    return f"<h1>{escape(model)}</h1><p>On <b>{escape(data)}</b>: {count}.<br><small>{made}</small></p>"


def _scores(metrics: Mapping[str, Any]) -> str:
    cells = ""
    for key, title in SCORES.items():
        low, high = metrics["intervals"][key]
        interval = f"{percent(low)} to {percent(high)}"
        cells += f"<div><small>{title}</small><b>{percent(metrics[key])}</b><small>{interval}</small></div>"
    return f'<div class="scores">{cells}</div><p><small>Below each score its 95 % interval.</small></p>'


def _confusion(metrics: Mapping[str, Any]) -> str:
    counts = np.array(metrics["confusion_matrix"])
    shown = np.flatnonzero(counts.sum(0) + counts.sum(1))
    if len(shown) > MATRIX:
        return ""
    names = [escape(metrics["class_names"][index]) for index in shown]
    counts = counts[np.ix_(shown, shown)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows = "".join(
        f"<tr><th>{name}</th>"
        + "".join(
            f'<td style="background:rgba(224,110,50,{0.06 + 0.74 * share:.2f})">{count:,}</td>'
            for count, share in zip(*row, strict=True)
        )
        + "</tr>"
        for name, row in zip(names, zip(counts, shares, strict=True), strict=True)
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        "<h2>Confusion</h2><p><small>Rows: the actual class; columns: what was predicted.</small></p>"
        f'<div class="wide"><table class="confusion"><tr><th></th>{head}</tr>{rows}</table></div>'
    )


def _classes(metrics: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(row['class'])}</th><td>{percent(row['precision'])}</td><td>{percent(row['recall'])}</td>"
        f"<td>{percent(row['f1'])}</td><td>{row['support']:,}</td></tr>"
        for row in metrics["per_class"]
        if row["support"]
    )
    head = "<tr><th>Class</th><th>Precision</th><th>Recall</th><th>F1</th><th>Images</th></tr>"
    return f'<h2>Classes</h2><div class="wide"><table>{head}{rows}</table></div>'


def _unsure(evaluation: Evaluation, threshold: float) -> str:
    """How many images are answered at that threshold; with known classes the curve of all thresholds, too."""
    rows = [row for row in evaluation.rows if row["actual"]] if evaluation.metrics else evaluation.rows
    if not rows:
        return ""
    probability = np.array([row["probability"] for row in rows])
    if not evaluation.metrics:
        return f"<h2>Unsure</h2><p>{answered_line(answers_at(probability, threshold), threshold)}</p>"
    right = np.array([row["actual"] == row["predicted"] for row in rows])
    at = answers_at(probability, threshold, right)
    return (
        f"<h2>Unsure</h2><p>{answered_line(at, threshold)}</p>"
        f"{risk_coverage_svg(risk_coverage(probability, right), at)}"
    )


def risk_coverage_svg(curve: RiskCoverage, at: Answered) -> str:
    """The curve as an SVG, with a dot at the chosen threshold."""
    top = max(float(curve.risk.max()), 0.01)

    def place(coverage: float, risk: float) -> str:
        return f"{MARGIN + coverage * (WIDE - MARGIN - 12):.1f},{12 + (1 - risk / top) * (HIGH - MARGIN - 12):.1f}"

    line = " ".join(place(*point) for point in zip(curve.coverage, curve.risk, strict=True))
    dot = ""
    if at.risk is not None:
        x, y = place(at.coverage, at.risk).split(",")
        dot = f'<circle cx="{x}" cy="{y}" r="5" fill="#e8710a"/>'
    return SVG.format(wide=WIDE, high=HIGH, line=line, dot=dot, top=percent(top), left=MARGIN, bottom=HIGH - MARGIN)


def _mistakes(evaluation: Evaluation, read: Read | None) -> str:
    wrong = [row for row in evaluation.rows if row["actual"] not in ("", row["predicted"])]
    if not wrong:
        return "<h2>Mistakes</h2><p>None.</p>"
    count = f"{len(wrong):,}" + (f", the {MISTAKES} with the highest loss shown" if len(wrong) > MISTAKES else "")
    shown = "".join(_photo(row, read) for row in wrong[:MISTAKES])
    return f'<h2>Mistakes: {count}</h2><div class="photos">{shown}</div>'


def _photo(row: Mapping[str, Any], read: Read | None) -> str:
    name = escape(row["name"].rsplit("/", 1)[-1])
    words = f"<b>{escape(row['predicted'])}</b> {percent(row['probability'], 0)}<br>actually {escape(row['actual'])}"
    return f"<figure>{_image(row, read, name)}<figcaption>{words}<br><small>{name}</small></figcaption></figure>"


def _image(row: Mapping[str, Any], read: Read | None, alt: str) -> str:
    try:
        image = read(row["name"]) if read else Path(row["image"])
        link = jpeg_uri(thumbnail(open_image(image)))
    except ImageError:  # its file is gone
        return '<div class="gone"></div>'
    return f'<img src="{link}" alt="{alt}">'


def _predictions(evaluation: Evaluation) -> str:
    number = evaluation.found.outputs == "number"
    rows = "".join(
        f"<tr><th>{escape(row['name'])}</th>"
        + (f"<td>{row['probability']:.4f}</td>" if number else f"<td>{escape(row['predicted'])}</td>")
        + ("" if number else f"<td>{percent(row['probability'])}</td>")
        + "</tr>"
        for row in evaluation.rows[:LISTED]
    )
    more = len(evaluation.rows) - LISTED
    return f'<h2>Predictions</h2><div class="wide"><table>{rows}</table></div>' + (
        f"<p>And {more:,} more.</p>" if more > 0 else ""
    )


def _left_out(evaluation: Evaluation) -> str:
    if not evaluation.found.rejected:
        return ""
    lines = "".join(f"<li>{escape(reason)}</li>" for reason in evaluation.found.rejected.values())
    return f"<h2>Unreadable photos</h2><ul>{lines}</ul>"


SVG = """\
<svg viewBox="0 0 {wide} {high}" width="{wide}" role="img" aria-label="Share of wrong answers over answered images">
<path d="M{left},12V{bottom}H{wide}" fill="none" stroke="currentColor" opacity=".4"/>
<polyline points="{line}" fill="none" stroke="#4c8bf5" stroke-width="2"/>{dot}
<g fill="currentColor" font-size="12"><text x="2" y="20">{top}</text><text x="20" y="{bottom}">0</text>
<text x="{left}" y="{high}" dy="-8">images that get an answer, 0 to 100 %; upwards: wrong answers</text></g></svg>"""

STYLE = """\
.scores, .photos { display: flex; flex-wrap: wrap; gap: 1rem; }
.scores div { display: flex; flex-direction: column; border: 1px solid #8886; border-radius: 8px; padding: 10px; }
.scores b { font-size: 1.7rem; } .confusion td { border: 2px solid Canvas; text-align: center; }
figure { margin: 0; width: 150px; } figure img, .gone { width: 150px; height: 150px; object-fit: cover; }
"""
