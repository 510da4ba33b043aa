"""A bench as one HTML file that needs nothing else: table, intervals, verdicts, sanity, and what each number means."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from explorer import __version__
from explorer.evaluation.bench.bootstrap import Mean
from explorer.evaluation.bench.measures import Measure
from explorer.evaluation.bench.table import Table
from explorer.evaluation.html_page import html_page
from explorer.words import count_in_words

SAME = "the same on all"  # in an interval's place
WIDE, ROW, LEFT = 760, 26, 250  # pixels of the chart: its width, a map's height, and the room for names


def html_report(found: Table, title: str, facts: Mapping[str, Any]) -> str:
    """The whole page; facts: what the bench is of, by their names for people."""
    parts = [
        f"<h1>Which map tells the truth? {escape(title)}</h1>",
        f"<p class='facts'>{_facts(found, facts)}</p>",
        _best(found),
        f"<h2>{escape(found.main.title)}, with 95 % intervals</h2>{_chart(found)}",
        f"<h2>All measures</h2><div class='wide'>{_means(found)}</div>",
        f"<h2>Every pair</h2>{_pairs(found)}",
        _sanity(found),
        _left_out(found),
        f"<h2>What the numbers mean</h2><dl>{_glossary(found)}</dl>",
    ]
    return html_page(title, parts, STYLE)


def _facts(found: Table, facts: Mapping[str, Any]) -> str:
    given = {**facts, "photos": found.photos, "explorer": __version__}
    return " · ".join(f"{escape(name)}: <b>{escape(str(value))}</b>" for name, value in given.items())


def _best(found: Table) -> str:
    lines = "".join(f"<li>{escape(verdict.words())}</li>" for verdict in found.against_the_best())
    return f"<p>By {escape(found.main.title)}, <b>{escape(found.maps[0])}</b> comes first.</p><ul>{lines}</ul>"


def _chart(found: Table) -> str:
    """A dot and its interval for each map, best first."""
    means = [found.means[name][found.main.name] for name in found.maps]
    ends = [end for mean in means for end in (mean.value, mean.low, mean.high) if end is not None]
    low, high = min(0.0, *ends), max(ends)
    scale = (WIDE - LEFT - 20) / max(high - low, 1e-9)

    def x(value: float) -> float:
        return LEFT + (value - low) * scale

    marks = [f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{ROW * len(means)}" class="axis"/>']
    for row, (name, mean) in enumerate(zip(found.maps, means, strict=True)):
        y = ROW * (row + 0.5)
        marks.append(f'<text x="{LEFT - 10}" y="{y + 5:.1f}" text-anchor="end">{escape(name)}</text>')
        if mean.low is not None and mean.high is not None:
            left, right = x(mean.low), x(mean.high)
            marks.append(f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="bar"/>')
        marks.append(
            f'<circle cx="{x(mean.value):.1f}" cy="{y:.1f}" r="5" class="dot"><title>{_words(mean)}</title></circle>'
        )
    height = ROW * len(means)
    return f'<svg viewBox="0 0 {WIDE} {height}" width="{WIDE}" role="img">{"".join(marks)}</svg>'


def _words(mean: Mean) -> str:
    return f"{mean.value:.3f} ({_interval(mean, '95 % {:.3f} to {:.3f}')}, {count_in_words(mean.photos, 'photo')})"


def _interval(mean: Mean, form: str) -> str:
    return SAME if mean.low is None else form.format(mean.low, mean.high)


def _means(found: Table) -> str:
    head = "".join(f'<th title="{escape(each.help)}">{escape(each.title)}</th>' for each in found.measures)
    best = {each.name: _best_of(found, each) for each in found.measures}
    rows = ""
    for name in found.maps:
        cells = [_cell(found.means[name].get(each.name), best[each.name]) for each in found.measures]
        rows += f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>"
    return f"<table><tr><th>map</th>{head}</tr>{rows}</table>"


def _best_of(found: Table, measure: Measure) -> float:
    values = [row[measure.name].value for row in found.means.values() if measure.name in row]
    return max(values) if measure.high else min(values, key=abs)  # a likeness to a random model's map is best at 0


def _cell(mean: Mean | None, best: float) -> str:
    if mean is None:
        return "<td></td>"
    text = f"<b>{mean.value:.3f}</b>" if mean.value == best else f"{mean.value:.3f}"
    return f'<td title="{_words(mean)}">{text}<br><small>{_interval(mean, "{:.2f} to {:.2f}")}</small></td>'


def _pairs(found: Table) -> str:
    lines = "".join(f"<li>{escape(verdict.words())}</li>" for verdict in found.verdicts)
    note = "Each interval holds by itself; of twenty pairs without a difference one would still show one."
    return (
        f"<details><summary>{len(found.verdicts)} pairs</summary><ul>{lines}</ul><p><small>{note}</small></p></details>"
    )


def _sanity(found: Table) -> str:
    if not found.sanity:
        return ""
    head = "".join(f"<th>{escape(stage)}</th>" for stage in found.sanity)
    rows = "".join(_sanity_row(found, name) for name in found.maps)
    said = "How alike each map stays (Spearman) as the model's layers become random from the top; 1 is the same map."
    return f"<h2>Sanity</h2><p>{said}</p><div class='wide'><table><tr><th>random</th>{head}</tr>{rows}</table></div>"


def _sanity_row(found: Table, name: str) -> str:
    cells = [f"<td>{stage[name]:.2f}</td>" if name in stage else "<td></td>" for stage in found.sanity.values()]
    return f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>"


def _left_out(found: Table) -> str:
    lines = "".join(
        f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in {**found.refused, **found.failed}.items()
    )
    return f"<h2>Left out</h2><ul>{lines}</ul>" if lines else ""


def _glossary(found: Table) -> str:
    def entries() -> Iterator[str]:
        for each in found.measures:
            better = "more is better" if each.high else "less is better"
            yield f"<dt>{escape(each.title)} <small>({better})</small></dt><dd>{escape(each.help)}</dd>"

    return "".join(entries())


STYLE = """\
th, td { border-bottom: 1px solid #8884; vertical-align: top; } tr:first-child th { text-align: right; }
th:first-child, tr:first-child th:first-child { text-align: left; white-space: nowrap; }
td small { white-space: nowrap; } text { fill: currentColor; font-size: 14px; } dt { font-weight: 600; }
.axis { stroke: currentColor; opacity: .4; } .dot { fill: #ea580c; }
.bar { stroke: #ea580c; stroke-width: 3; opacity: .6; }
"""
