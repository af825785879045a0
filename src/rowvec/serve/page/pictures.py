"""Small pictures of a status, as SVG in the page; colours are classes of the style sheet and follow its theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rowvec.types import Run

PARTS = (
    ("inserted", "new"),
    ("embedded", "changed"),
    ("updated", "metadata"),
    ("deleted", "deleted"),
    ("failed", "failed"),
)
"""What of a run's report is drawn, and the word and class for it."""
CHART_WIDTH, CHART_HEIGHT = 640, 140
WIDEST_BAR = 36.0


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


def runs(latest_first: Sequence[Run]) -> Markup:
    """One column a run, oldest left, of logarithmic height: a first sync would dwarf all later ones."""
    columns = list(reversed(latest_first))
    counts = [[int(run.report.get(name, 0) or 0) for name, _ in PARTS] for run in columns]
    tallest = max((math.log10(1 + sum(count)) for count in counts), default=0.0) or 1.0
    step = CHART_WIDTH / max(len(columns), 8)
    width = min(WIDEST_BAR, 0.7 * step)
    drawn = []
    for index, (run, count) in enumerate(zip(columns, counts, strict=True)):
        x, total = index * step + (step - width) / 2, sum(count)
        if not total:
            drawn.append(_piece(x, CHART_HEIGHT - 2, width, 2, "idle", f"run {run.id}: {run.outcome}, nothing to do"))
        height = CHART_HEIGHT * math.log10(1 + total) / tallest
        y = float(CHART_HEIGHT)
        for amount, (_, word) in zip(count, PARTS, strict=True):
            if amount:
                piece = height * amount / total
                y -= piece
                drawn.append(_piece(x, y, width, piece, word, f"run {run.id}: {amount:,} {word}"))
    return Markup(
        '<svg class="runs" viewBox="0 0 {} {}" role="img"'
        ' aria-label="Rows written by each of the last {} runs">{}</svg>'
    ).format(CHART_WIDTH, CHART_HEIGHT, len(columns), Markup("").join(drawn))


def _piece(x: float, y: float, width: float, height: float, kind: str, title: str) -> Markup:
    return Markup(
        '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
    ).format(kind, x, y, width, height, title)
