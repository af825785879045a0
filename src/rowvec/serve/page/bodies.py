"""What the templates of the pages say of a pipeline, in values that are ready to be printed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rowvec.auditing.neighbours import ROWS, SECONDS
from rowvec.documents.long_texts import long_texts
from rowvec.embedders.pricing import dollars
from rowvec.errors import RowvecError
from rowvec.evaluation.recall import GOOD_RECALL
from rowvec.generations.lifecycle import live_rows
from rowvec.pipeline_status import Status, Verdict, Work
from rowvec.pipeline_status.verdict import as_of
from rowvec.serve.page import pictures
from rowvec.serve.service import Service
from rowvec.stores.runs import Evaluated, Run
from rowvec.support.figures import ago, count, due, percent, seconds, size

HERE = Path(__file__).parent
RUNS = 24
MOST_RUNS = 100
FAILURES = 10
MOST_ROWS = 50
"""In one list of the page about the data."""

templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def status_values(service: Service, status: Status) -> dict[str, Any]:
    """What the template of the status says."""
    runs = service.pipeline.store.runs(RUNS) if status.runs else []
    return {
        "status": status,
        "verdict": status.verdict,
        "as_of": as_of(status),
        "dimension": service.pipeline.spec.dimension,
        "index": status.index,
        "runs": runs,
        "failures": status.latest_failures[:FAILURES],
        "pictures": _pictures(status, runs),
        "parts": pictures.PARTS,
        "cache": service.embedder,
        "next_run": next_run(service, status),
    }


def work_html(name: str, work: Work | None) -> str:
    """The sync at work, as the page shows it; empty where there is none."""
    return "" if work is None else templates.get_template("work.html").render(name=name, work=work)


def work_bar(work: Work) -> Markup:
    known = f"Progress of the sync: {percent(work.share)}" if work.share is not None else "Progress is not known"
    return pictures.bar(work.share, known)


def _pictures(status: Status, runs: list[Run]) -> dict[str, Any]:
    coverage = percent(status.coverage)
    recall = status.index.recall if status.index else None
    sizes = _sizes(status)
    building = status.building
    filled = building.rows / status.rows if building is not None and status.rows else 0.0
    return {
        "coverage": pictures.ring(status.coverage, coverage, f"Coverage {coverage} {as_of(status)}"),
        "recall": None if recall is None else pictures.ring(
            recall, percent(recall), f"Recall of the index {percent(recall)}", good=GOOD_RECALL
        ),
        "sizes": pictures.stripe(sizes, ", ".join(part.name for part in sizes)),
        "parts": sizes,
        "building": building and pictures.bar(filled, f"New generation: {percent(filled)}"),
        "filled": filled,
        "runs": pictures.runs(runs),
    }  # fmt: skip


def _sizes(status: Status) -> list[pictures.Part]:
    """What takes the room: rows with texts and keyword index, the vector index, the other generations."""
    index_bytes = (status.index.bytes if status.index else None) or 0
    parts = [pictures.Part("rows", max(0, status.bytes - index_bytes), "new")]
    parts += [pictures.Part("vector index", index_bytes, "changed")] if index_bytes else []
    for generation, kind in zip(status.generations[1:], ("metadata", "deleted"), strict=False):
        if generation.bytes:
            parts.append(pictures.Part(f"{generation.state} generation", generation.bytes, kind))
    return [pictures.Part(f"{part.name} {size(part.amount)}", part.amount, part.kind) for part in parts]


def next_run(service: Service, status: Status) -> str:
    """When the schedule of the config syncs again, in words; "" where there is no schedule."""
    if isinstance(service.schedule, dt.timedelta):
        every = f"every {seconds(service.schedule.total_seconds())}"
        latest = status.runs[0].started_at if status.runs else None
        left = (latest + service.schedule - status.now).total_seconds() if latest else 0.0
        return f"{every}, in about {seconds(left)}" if left > 0 else f"{every}, due now"
    return f"cron {service.schedule}" if service.schedule else ""


@dataclass(frozen=True, slots=True)
class Line:
    """One pipeline of the overview."""

    name: str
    verdict: Verdict
    status: Status | None = None
    runs: Sequence[Run] = ()
    next_run: str = ""

    @property
    def spark(self) -> Markup:
        return pictures.sparkline(self.runs)


def overview(services: Iterable[Service]) -> list[Line]:
    """A pipeline that cannot be looked at does not keep the others from being shown."""
    return [_line(service) for service in services]


def _line(service: Service) -> Line:
    try:
        status = service.operations.status()
        runs = service.pipeline.store.runs(RUNS) if status.runs else []
    except RowvecError:
        # What it says is the operator's business: it may name hosts.
        return Line(service.name, Verdict("warn", "source or store does not answer; `rowvec check` says why"))
    return Line(service.name, status.verdict, status, runs, next_run(service, status))


def run_values(service: Service) -> dict[str, Any]:
    """Runs on a time axis, with what each cost and why it did what it did."""
    status = service.operations.status()
    runs = service.pipeline.store.runs(MOST_RUNS) if status.runs else []
    return {
        "status": status,
        "runs": runs,
        "timeline": pictures.timeline(runs),
        "parts": pictures.PARTS,
        "shown_cost": sum(float(run.report.get("cost", 0) or 0) for run in runs),
    }


def evaluation_values(service: Service) -> dict[str, Any]:
    """The evaluations that the store keeps, by model, and the worst queries of the latest."""
    found = service.pipeline.store.evaluations() if service.pipeline.store.ledger().exists else []
    measures = list(dict.fromkeys(name for each in found for mode in _modes(each).values() for name in mode["means"]))
    models: dict[str, list[dict[str, Any]]] = {}
    for place, each in enumerate(found):
        for mode, said in _modes(each).items():
            before: Mapping[str, float] = next(
                (_modes(other)[mode]["means"] for other in found[place + 1 :] if mode in _modes(other)), {}
            )
            cells = {name: _changed(said["means"].get(name), before.get(name)) for name in measures}
            row = {"made_at": each.made_at, "queries": each.record.get("queries", 0), "mode": mode, "cells": cells}
            models.setdefault(str(each.record.get("model", "")), []).append(row)
    latest = _modes(found[0]).items() if found else ()
    worst = [(mode, next(iter(said["means"]), ""), said["worst"]) for mode, said in latest if said.get("worst")]
    return {"name": service.name, "measures": measures, "models": list(models.items()), "worst": worst}


def _modes(evaluated: Evaluated) -> Mapping[str, Any]:
    modes = evaluated.record.get("modes")
    return modes if isinstance(modes, Mapping) else {}


def _changed(now: float | None, before: float | None) -> tuple[float, float | None] | None:
    """A mean, and by how much it changed since the evaluation before."""
    return None if now is None else (now, None if before is None else now - before)


def quality_values(service: Service) -> dict[str, Any]:
    """Rows worth a look: cut, repeated, unfit and failed."""
    status = service.operations.status()
    pipeline = service.pipeline
    rows = live_rows(pipeline.store, pipeline.spec)[1] if status.model else None
    made = rows.spec.fingerprint if rows is not None else None
    look = service.looks.latest
    cut = rows.truncated(MOST_ROWS) if rows is not None and status.truncated else []
    repeated = rows.repeated(MOST_ROWS) if rows is not None else []
    named = [*cut, *(group.keys[0] for group in repeated), *(look.found.keys if look is not None else [])]
    metadata = rows.metadata(named) if rows is not None and named else {}
    return {
        "name": service.name,
        "status": status,
        "as_of": as_of(status),
        "most": MOST_ROWS,
        "near": None if look is None else look.found.neighbours,
        "looked_at": None if look is None else look.at,
        "compared": min(ROWS, status.current),
        "seconds": SECONDS,
        "long_texts": long_texts(made),
        "passages": made is not None and bool(made.passages),
        "titles": {key: service.pipeline.card.title_of(values) for key, values in metadata.items()},
        "cut": cut,
        "repeated": repeated,
        "unfit": rows.unfit(limit=MOST_ROWS) if rows is not None and status.unfit else [],
    }


def took(run: Run) -> str:
    return seconds((run.ended_at - run.started_at).total_seconds()) if run.ended_at else "–"


def first_line(text: str) -> str:
    return text.partition("\n")[0]


def capfirst(text: str) -> str:
    return text[:1].upper() + text[1:]


def code(text: str) -> Markup:
    """What stands in backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )  # fmt: skip


templates.filters.update(
    percent=percent, size=size, duration=seconds, took=took, ago=ago, first_line=first_line, due=due, dollars=dollars,
    count=count, work_bar=work_bar, capfirst=capfirst, code=code,
)  # fmt: skip
