"""`rowvec audit`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rowvec import assemble
from rowvec.audit import SAMPLE
from rowvec.audit import audit as look
from rowvec.cli import progress, show
from rowvec.cli.work import INTERRUPTED, SOME_FAILED, interruptible
from rowvec.findings import EXAMPLES, REPAIRS, Audit, Finding
from rowvec.pricing import dollars
from rowvec.repair import Repair
from rowvec.repair import repair as mend
from rowvec.sampling import LOWEST_COSINE, NEAREST

DRIFT = 4
GOOD_RECALL = 0.9


def audit(
    config: Path | None,
    name: str | None,
    *,
    repair: bool = False,
    sample: int = SAMPLE,
    allow_delete: bool = False,
    max_cost: float | None = None,
    as_json: bool = False,
) -> int:
    """Returns the exit code."""
    with assemble.opened(config, name, max_cost=max_cost) as pipeline, interruptible() as stop:
        with progress.phases("An audit changes nothing.") as tell:
            found = look(
                pipeline, sample=sample, stop=stop, progress=lambda done, total: tell("Comparing rows", done, total)
            )
        if not as_json:
            _print(found)
        done = None
        if repair and found.findings and not stop.is_set():
            with progress.shown(None) as callback:
                done = mend(pipeline, found, allow_delete=allow_delete, progress=callback, stop=stop)
        if as_json:
            show.print_json({**found.as_dict(), "repaired": done.as_dict() if done else None})
        elif done is not None:
            _print_repair(done, interrupted=stop.is_set())
        elif found.findings and not repair:
            show.note("`rowvec audit --repair` does what is said under repair.")
    return INTERRUPTED if stop.is_set() else _code(found, done)


def _code(found: Audit, done: Repair | None) -> int:
    if done is None:
        return DRIFT if found.findings else 0
    if done.left:
        return DRIFT
    return SOME_FAILED if done.failed else 0


def _print(found: Audit) -> None:
    show.line(f"{found.pipeline}: {show.count(found.rows, 'row')} and {found.where}")
    show.line()
    if found.findings:
        _print_findings(found.findings.values())
    else:
        show.line("No drift." if not found.interrupted else "No drift in what was looked at.")
    if found.sample is not None and found.sample.rows:
        cost = f" ({dollars(found.sample.cost)})" if found.sample.cost else ""
        show.line()
        show.line(
            f"{show.count(found.sample.rows, 'row')} embedded again{cost}:"
            f" lowest cosine {found.sample.lowest:.4f}, at least {LOWEST_COSINE} is right."
        )
    index = found.index
    if index is not None:
        show.line(f"Vector index: recall@{NEAREST} {index.recall:.3f} on {show.count(index.queries, 'row')}.")
        if index.recall < GOOD_RECALL and not index.unreachable:
            show.note("That is low, and no damage: `rowvec index tune` makes searches of it more thorough.")
    for note in found.notes:
        show.note(note)
    if found.interrupted:
        show.note("Interrupted: not everything was looked at.")


def _print_findings(findings: Iterable[Finding]) -> None:
    show.table(
        ["kind", "count", "for example", "repair"],
        [(finding.drift, finding.count, _example(finding), REPAIRS[finding.drift]) for finding in findings],
        right=[1],
    )


def _example(finding: Finding) -> str:
    keys = ", ".join(map(str, islice(finding.keys, EXAMPLES)))
    more = ", …" if finding.count > EXAMPLES and keys else ""
    return f"{finding.detail}: {keys}{more}" if finding.detail and keys else f"{finding.detail}{keys}{more}"


def _print_repair(done: Repair, *, interrupted: bool) -> None:
    show.line()
    if interrupted:
        show.note("Interrupted: how much of it is repaired was not looked at.")
    elif done.left:
        show.line("Still wrong after the repair:")
        _print_findings(done.left)
    else:
        show.line("Repaired.")
    if done.failed:
        show.note(f"{show.count(done.failed, 'row')} could not be embedded: `rowvec failures` lists them.")
