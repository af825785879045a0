"""Hits on the screen: blocks that fit any terminal; in a pipe, a table with one line for each hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.padding import Padding
from rich.text import Text

from rowvec.cli import output
from rowvec.pipeline import Card
from rowvec.searcher import SearchResult
from rowvec.support.suggestions import check_column
from rowvec.types import FoundPassage, Hit

PARTS = ("semantic", "keyword", "static", "decay")
MORE = ("title", "rerank")
"""Parts that are shown where a hit has them."""
INDENT = 8
PASSAGE = 320
"""Characters of a passage that a terminal shows."""
CELL = 80


def chosen_columns(asked: str | None, known: Sequence[str]) -> list[str]:
    """The metadata columns to show, in the order asked for; all of them where nothing is asked.

    Raises:
        ConfigError: one that is not there.
    """
    if asked is None:
        return list(known)
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        check_column(name, known, "--columns")
    return names


def show(result: SearchResult, key: str, card: Card, names: Sequence[str], *, explain: bool) -> None:
    """
    Args:
        key: what the key column is called.
        card: names the column that titles a hit.
        names: the metadata columns to show.
    """
    if output.out.is_terminal:
        title = card.title_column(names)
        for hit in result.hits:
            _block(hit, title, names, explain=explain)
    else:
        _table(result.hits, key, names, explain=explain)
    if result.reranked is False:
        output.note(f"{result.rerank_problem} This is the order without it.")
    if not result.complete and not result.partial:
        output.note("There may be more rows that match.")
    note_missing(result)


def note_missing(result: SearchResult) -> None:
    if result.partial:
        *others, last = map(str, result.missing_parts)
        named = f"Parts {', '.join(others)} and {last} of the store do" if others else f"Part {last} of the store does"
        output.note(f"{named} not answer: the rows there are missing.")


def _block(hit: Hit, title: str | None, names: Sequence[str], *, explain: bool) -> None:
    head = Text(" " * INDENT if hit.score is None else f"{hit.score:<{INDENT}.4f}", "cyan", end="")
    named = output.value(hit.metadata.get(title)) if title else ""
    head.append(f"{named}  " if named not in ("", "-") else "", "bold default")
    head.append(output.key(hit.key), "dim")
    _indented(head, hanging=True)
    if explain and hit.parts:
        _indented(Text(_sum(hit.parts), "cyan"))
    values = Text()
    for name in names:
        value = hit.metadata.get(name)
        if name != title and value not in (None, ""):
            values.append(" · " if values else "")
            values.append(f"{name}: ", "dim")
            values.append(output.clip(output.value(value), CELL))
    if values:
        _indented(values)
    for passage in hit.passages:
        _indented(marked(passage, PASSAGE), style="italic")
    output.line()


def _sum(parts: Mapping[str, float | None]) -> str:
    """What adds up to the score, beside what was measured: `semantic 0.6000 of 0.5190 + keyword 0.2565 of 3.4263`."""
    said = []
    for part in ("semantic", "keyword", "static", *MORE):
        added, measured = parts.get(f"{part}_part"), parts.get(part)
        if added is not None and measured is not None:
            said.append(f"{part} {added:.4f}" + (f" of {measured:.4f}" if f"{added:.4f}" != f"{measured:.4f}" else ""))
    decay, capped = parts.get("decay"), parts.get("capped_part")
    aged = "" if decay is None else f", each after its age: × {decay:.4f}"
    return " + ".join(said) + aged + (f", {capped:+.4f} not to be above the hits before" if capped else "")


def _indented(text: Text, *, hanging: bool = False, style: str = "") -> None:
    text.overflow = "fold"
    if not hanging:
        output.out.print(Padding(text, (0, 0, 0, INDENT)), style=style)
        return
    wrapped = text.wrap(output.out, max(20, output.out.width - INDENT))
    for number, line in enumerate(wrapped):
        output.out.print(line if number == 0 else Padding(line, (0, 0, 0, INDENT)))


def marked(passage: FoundPassage, most: int) -> Text:
    """One paragraph, the words of the query in bold; of a longer passage the part around the first of them."""
    start = 0
    if len(passage.text) > most and passage.marks:
        start = max(0, min(passage.marks[0][0] - most // 3, len(passage.text) - most))
    end = min(len(passage.text), start + most)
    # A character for each, so that the marks stay where they are.
    said = output.without_controls(passage.text[start:end])
    text = Text("".join(" " if each.isspace() else each for each in said))
    for first, behind in passage.marks:
        if behind > start and first < end:
            text.stylize("bold not italic", max(first, start) - start, min(behind, end) - start)
    return Text.assemble("…" if start else "", text, "…" if end < len(passage.text) else "")


def _table(hits: Sequence[Hit], key: str, names: Sequence[str], *, explain: bool) -> None:
    parts = list(PARTS) if explain else []
    parts += [part for part in MORE if explain and any(part in (hit.parts or {}) for hit in hits)]
    shown, scored = any(hit.passages for hit in hits), any(hit.score is not None for hit in hits)
    output.table(
        [*(["score"] if scored else []), *parts, key, *names, *(["passage"] if shown else [])],
        [
            (
                *([hit.score] if scored else []),
                *((hit.parts or {}).get(part) for part in parts),
                str(hit.key),
                *(output.clip(output.value(hit.metadata.get(name)), CELL) for name in names),
                *([" … ".join(output.clip(each.text, CELL) for each in hit.passages)] if shown else []),
            )
            for hit in hits
        ],
        right=range(len(parts) + scored),
    )
