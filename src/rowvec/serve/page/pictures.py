"""Small pictures of a status, as SVG in the page; colours are classes of the style sheet and follow its theme."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rowvec.stores.runs import Run
from rowvec.support import figures
from rowvec.support.figures import percent

PARTS = (
    ("inserted", "new"),
    ("embedded", "changed"),
    ("updated", "metadata"),
    ("deleted", "deleted"),
    ("failed", "failed"),
)
"""What of a run's report is drawn, and the word and class for it."""
CHART_WIDTH, CHART_HEIGHT = 640, 140
AXIS = 46
"""Room for the numbers of an axis."""
FOOT = 20
LEAST_WIDTH = 3.0
WIDEST_BAR = 14.0
LEAST_SPAN = dt.timedelta(minutes=1)
WIDEST_SHARE = 12
"""A run takes at most a twelfth of the axis of time."""


def ring(fraction: float, text: str, label: str, *, good: float = 0.999) -> Markup:
    """A ring of which `fraction` is filled, with `text` in the middle."""
    filled = 100 * min(1.0, max(0.0, fraction))
    tone = "good" if fraction >= good else "warn"
    return Markup(
        '<svg class="ring {tone}" viewBox="0 0 100 100" role="img" aria-label="{label}">'
        '<circle class="track" cx="50" cy="50" r="43" fill="none" stroke-width="9"/>'
        '<circle class="arc" cx="50" cy="50" r="43" fill="none" stroke-width="9" pathLength="100"'
        ' stroke-dasharray="{filled:.2f} 100" transform="rotate(-90 50 50)"/>'
        '<text x="50" y="51" text-anchor="middle" dominant-baseline="middle">{text}</text></svg>'
    ).format(tone=tone, label=label, filled=filled, text=text)


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    amount: float
    kind: str


def stripe(parts: Sequence[Part], label: str) -> Markup:
    """A horizontal bar cut into its parts."""
    whole = sum(part.amount for part in parts) or 1
    pieces, x = [], 0.0
    for part in parts:
        width = 100 * part.amount / whole
        pieces.append(_piece(x, 0, width, 6, part.kind, part.name))
        x += width
    return Markup(
        '<svg class="stripe" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(pieces))


def bar(fraction: float | None, label: str) -> Markup:
    """How far something has come; None where that is not known."""
    if fraction is None:
        return Markup('<svg class="stripe unknown" viewBox="0 0 100 6" role="img" aria-label="{}"></svg>').format(label)
    return stripe([Part(percent(fraction), fraction, "new"), Part("", 1 - fraction, "idle")], label)


def runs(latest_first: Sequence[Run]) -> Markup:
    """Thin columns for each run, oldest left: one for each kind of row that it wrote, on a logarithmic axis, since a
    first sync would dwarf all later ones."""
    shown = list(reversed(latest_first))
    counts = [[int(run.report.get(name, 0) or 0) for name, _ in PARTS] for run in shown]
    top = _decades(max((max(count) for count in counts), default=0))
    step = (CHART_WIDTH - AXIS) / max(len(shown), 8)
    drawn = [_axis(top)]
    for index, (run, count) in enumerate(zip(shown, counts, strict=True)):
        kinds = [(amount, word) for amount, (_, word) in zip(count, PARTS, strict=True) if amount]
        width = min(WIDEST_BAR, 0.8 * step / max(len(kinds), 1))
        x = AXIS + index * step + (step - width * max(len(kinds), 1)) / 2
        if not kinds:
            said = run.outcome if run.outcome == "running" else f"{run.outcome}, nothing to do"
            drawn.append(_piece(x, CHART_HEIGHT - 3, width, 3, "idle", f"run {run.id}: {said}"))
        for place, (amount, word) in enumerate(kinds):
            height = _height(amount, top)
            title = f"run {run.id}: {amount:,} {word}"
            drawn.append(_piece(x + place * width, CHART_HEIGHT - height, width - 0.5, height, word, title))
    drawn += _times([run.started_at for run in shown])
    return _chart(drawn, f"Rows written by each of the last {len(shown)} runs")


def timeline(latest_first: Sequence[Run]) -> Markup:
    """Runs on an axis of time: as wide as they took, as high as rows they wrote; each leads to its line of the table.
    A line shows what they cost together."""
    shown = list(reversed(latest_first))
    if not shown:
        return Markup("")
    now = dt.datetime.now(dt.UTC)
    began, ended = shown[0].started_at, max((run.ended_at or now) for run in shown)
    longest = max(((run.ended_at or now) - run.started_at for run in shown), default=dt.timedelta(0))
    # A few runs close together do not fill the picture: there is time before them.
    began = min(began, ended - max(LEAST_SPAN, WIDEST_SHARE * longest))
    span = (ended - began).total_seconds()
    top = _decades(max(sum(int(run.report.get(name, 0) or 0) for name, _ in PARTS) for run in shown))

    def place(moment: dt.datetime) -> float:
        return AXIS + (CHART_WIDTH - AXIS) * (moment - began).total_seconds() / span

    drawn = [_axis(top)]
    for run in shown:
        rows = sum(int(run.report.get(name, 0) or 0) for name, _ in PARTS)
        x = min(place(run.started_at), CHART_WIDTH - LEAST_WIDTH)
        width = max(LEAST_WIDTH, place(run.ended_at or now) - x)
        height = max(3.0, _height(rows, top))
        kind = {"done": "new" if rows else "idle", "running": "metadata"}.get(run.outcome, "failed")
        title = f"run {run.id}: {run.outcome}, {figures.count(rows, 'row')}"
        drawn.append(
            Markup('<a href="#run-{}" aria-label="{}">{}</a>').format(
                run.id, title, _piece(x, CHART_HEIGHT - height, width, height, kind, title)
            )
        )
    drawn += [_costs([(place(run.ended_at or now), float(run.report.get("cost", 0) or 0)) for run in shown])]
    drawn += _times([began, began + (ended - began) / 2, ended])
    return _chart(drawn, f"The last {len(shown)} runs on an axis of time")


def sparkline(latest_first: Sequence[Run]) -> Markup:
    """Rows written by each run, oldest left, as small as a word."""
    shown = list(reversed(latest_first))
    counts = [sum(int(run.report.get(name, 0) or 0) for name, _ in PARTS) for run in shown]
    top = max(counts, default=0)
    pieces = []
    for index, (run, count) in enumerate(zip(shown, counts, strict=True)):
        height = max(1.0, 20 * math.log10(1 + count) / math.log10(1 + top)) if top else 1.0
        kind = "failed" if run.outcome in ("failed", "lost") else "new" if count else "idle"
        pieces.append(
            _piece(
                index * 5, 20 - height, 4, height, kind, f"run {run.id}: {run.outcome}, {figures.count(count, 'row')}"
            )
        )
    label = f"Rows written by the last {len(shown)} runs: {', '.join(f'{count:,}' for count in counts[-5:])}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {0} 20" width="{0}" height="20" role="img" aria-label="{1}">{2}</svg>'
    ).format(5 * max(len(shown), 1), label, Markup("").join(pieces))


def _chart(drawn: Sequence[Markup], label: str) -> Markup:
    return Markup('<svg class="runs" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>').format(
        CHART_WIDTH, CHART_HEIGHT + FOOT, label, Markup("").join(drawn)
    )


def _decades(most: int) -> int:
    """The power of ten that ends the axis."""
    return max(1, math.ceil(math.log10(most + 1)))


def _height(amount: int, top: int) -> float:
    return (CHART_HEIGHT - 10) * math.log10(1 + amount) / math.log10(1 + 10**top)


def _axis(top: int) -> Markup:
    """A line for each power of ten, with its number."""
    lines = [Markup('<line class="axis" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>').format(AXIS, CHART_WIDTH, CHART_HEIGHT)]
    for power in range(0, top + 1, 1 if top < 4 else 2):
        y = CHART_HEIGHT - _height(10**power, top)
        lines.append(Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(
            AXIS, CHART_WIDTH, y
        ))  # fmt: skip
        lines.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                AXIS - 6, y + 4, _short(power)
            )
        )
    return Markup("").join(lines)


def _short(power: int) -> str:
    return f"{10 ** (power % 3)}{('', 'k', 'M', 'G', 'T')[power // 3]}"


def _times(moments: Sequence[dt.datetime]) -> list[Markup]:
    """The first and the last, and what is in between if it is one; in UTC."""
    if not moments:
        return []
    span = (moments[-1] - moments[0]).total_seconds()
    pattern = "%H:%M:%S" if span < 600 else "%H:%M" if span < 86_400 else "%Y-%m-%d"
    places = [(moments[0], AXIS, "start"), (moments[-1], CHART_WIDTH, "end")]
    if len(moments) == 3:
        places.append((moments[1], (AXIS + CHART_WIDTH) // 2, "middle"))
    return [
        Markup('<text class="tick" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            x, CHART_HEIGHT + FOOT - 5, anchor, f"{moment:{pattern}}" + (" UTC" if anchor == "end" else "")
        )
        for moment, x, anchor in places
    ]


def _costs(paid: Sequence[tuple[float, float]]) -> Markup:
    """What was spent up to each place, as steps up to the total at the top."""
    whole = sum(cost for _, cost in paid)
    if not whole:
        return Markup("")
    points, sofar = [f"{AXIS},{CHART_HEIGHT}"], 0.0
    for x, cost in paid:
        points.append(f"{x:.1f},{CHART_HEIGHT - (CHART_HEIGHT - 10) * sofar / whole:.1f}")
        sofar += cost
        points.append(f"{x:.1f},{CHART_HEIGHT - (CHART_HEIGHT - 10) * sofar / whole:.1f}")
    return Markup('<polyline class="cost" points="{}"><title>cost so far, up to ${:.2f}</title></polyline>').format(
        " ".join(points), whole
    )


def _piece(x: float, y: float, width: float, height: float, kind: str, title: str) -> Markup:
    return Markup(
        '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
    ).format(kind, x, y, width, height, title)
