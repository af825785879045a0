"""`rowvec queries`: what people asked, and what they opened, as far as `rowvec serve` logs it."""

from __future__ import annotations

from pathlib import Path

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.errors import ConfigError
from rowvec.evaluation.logged import Order

COLUMNS = ("asked", "query", "mode", "filter", "times", "hits", "ms", "clicks", "conversions")
NUMBERS = (4, 5, 6, 7, 8)
CELL = 60


def queries(
    action: str,
    config: Path | None,
    name: str | None,
    *,
    order: Order,
    since: str | None,
    limit: int,
    files: tuple[Path, Path],
    force: bool,
    as_json: bool,
) -> None:
    """
    Args:
        files: of queries and of judgements, for the action `export`.

    Raises:
        ConfigError: no such action, there is no log, or a file cannot be written.
    """
    if action not in ("show", "export"):
        raise ConfigError(f"There is no `rowvec queries {action}`.", hint="Write show or export.")
    with opened(config, name) as pipeline:
        if action == "export":
            asked, judged = pipeline.export_queries(*files, since=since, force=force)
            if as_json:
                output.print_json(
                    {"queries": str(files[0]), "judgements": str(files[1]), "asked": asked, "judged": judged}
                )
                return
            judgements = output.count(judged, "judged row")
            output.note(f"{output.count(asked, 'query', 'queries')} in {files[0]}, {judgements} in {files[1]}.")
            output.line(f"rowvec eval {files[0]} {files[1]} -p {pipeline.name} --condensed")
            return
        found = pipeline.queries(order, since=since, limit=limit)
    if as_json:
        output.print_json(found.to_dicts())
    elif not found:
        output.note("No queries.")
    else:
        rows = [
            (
                each.at, output.clip(each.query, CELL), each.mode, output.clip(each.filter or "-", CELL), each.times,
                each.hits, f"{each.milliseconds:,.1f}", each.clicks, each.conversions,
            )
            for each in found
        ]  # fmt: skip
        output.table(COLUMNS, rows, right=NUMBERS)
