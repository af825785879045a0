"""`rowvec audit`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rowvec.api.project import opened
from rowvec.auditing.audit import audit as look
from rowvec.auditing.findings import EXAMPLES, REPAIRS, SAMPLE, Audit, Finding, Repair
from rowvec.auditing.repair import repair as fix
from rowvec.auditing.sampling import LOWEST_COSINE, NEAREST
from rowvec.cli import output, progress
from rowvec.cli.codes import DRIFT, INTERRUPTED, SOME_FAILED
from rowvec.cli.sync import interruptible
from rowvec.embedders.pricing import dollars
from rowvec.evaluation.recall import GOOD_RECALL
from rowvec.stores.auditor import Drift


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
    with opened(config, name, max_cost=max_cost) as door, interruptible() as stop:
        pipeline = door.assembled
        with progress.phases("An audit changes nothing.") as tell:
            found = look(pipeline, sample=sample, stop=stop, progress=tell)
        if not as_json:
            _print(found)
        done = None
        if repair and found.findings and not stop.is_set():
            with progress.shown(None) as callback:
                done = fix(pipeline, found, allow_delete=allow_delete, progress=callback, stop=stop)
        if as_json:
            output.print_json({**found.as_dict(), "repaired": done.as_dict() if done else None})
        elif done is not None:
            _print_repair(done, interrupted=stop.is_set())
        elif found.findings and not repair:
            output.note("`rowvec audit --repair` does what is said under repair.")
    return INTERRUPTED if stop.is_set() else _code(found, done)


def _code(found: Audit, done: Repair | None) -> int:
    if done is None:
        return DRIFT if found.findings else SOME_FAILED if found.failed else 0
    if done.left:
        return DRIFT
    return SOME_FAILED if done.failed or found.failed else 0


def _print(found: Audit) -> None:
    output.line(f"{found.pipeline}: {output.count(found.rows, 'row')} and {found.location}")
    output.line()
    if found.findings:
        _print_findings(found.findings.values())
    elif not found.failed and (found.empty < found.rows or not found.rows):
        output.line("No drift." if not found.interrupted else "No drift in what was looked at.")
    if found.failed:
        old = f"; {found.outdated:,} of them keep the vector of a former text" if found.outdated else ""
        output.line(f"{found.failed:,} of {output.count(found.rows, 'row')} could not be embedded{old}.")
        output.note("`rowvec failures` lists them; `rowvec sync --retry-failed` tries them again.")
    if found.empty:
        output.line(f"{found.empty:,} of {output.count(found.rows, 'row')} have no text, and so no vector.")
    if found.unfit:
        values = output.count(found.unfit, "metadata value")
        output.note(f"{values} did not fit: null is stored, and `rowvec failures` lists why.")
    if found.sample is not None and found.sample.rows:
        cost = f" ({dollars(found.sample.cost)})" if found.sample.cost else ""
        output.line()
        output.line(
            f"{output.count(found.sample.rows, 'row')} embedded again{cost}:"
            f" lowest cosine {found.sample.lowest:.4f}, at least {LOWEST_COSINE} is right."
        )
        if found.sample.left_out and Drift.WRONG_VECTOR in found.findings:
            output.note(
                f"{output.count(found.sample.left_out, 'row')} of {found.rows:,} were not, and may be wrong too:"
                " `rowvec audit --repair` embeds all of them again."
            )
    index = found.index
    if index is not None:
        output.line(f"Vector index: recall@{NEAREST} {index.recall:.3f} on {output.count(index.queries, 'row')}.")
        if index.recall < GOOD_RECALL and not index.unreachable:
            output.note("That is low, and no damage: `rowvec index tune` makes searches of it more thorough.")
    for note in found.notes:
        output.note(note)
    if found.interrupted:
        output.note("Interrupted: not everything was looked at.")


def _print_findings(findings: Iterable[Finding]) -> None:
    output.table(
        ["kind", "count", "for example", "repair"],
        [(finding.drift, finding.count, _example(finding), REPAIRS[finding.drift]) for finding in findings],
        right=[1],
    )


def _example(finding: Finding) -> str:
    keys = ", ".join(map(output.key, islice(finding.keys, EXAMPLES)))
    more = ", …" if finding.count > EXAMPLES and keys else ""
    return f"{finding.detail}: {keys}{more}" if finding.detail and keys else f"{finding.detail}{keys}{more}"


def _print_repair(done: Repair, *, interrupted: bool) -> None:
    output.line()
    if done.compared:
        output.line(f"All rows were embedded again: {done.wrong:,} of {done.compared:,} had a wrong vector.")
    if interrupted:
        output.note("Interrupted: how much of it is repaired was not looked at.")
    elif done.left:
        output.line("Still wrong after the repair:")
        _print_findings(done.left)
    else:
        output.line("Repaired.")
    if done.failed:
        output.note(f"{output.count(done.failed, 'row')} could not be embedded: `rowvec failures` lists them.")
