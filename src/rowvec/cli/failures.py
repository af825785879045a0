"""`rowvec failures`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from rowvec.api.project import opened
from rowvec.cli import output
from rowvec.config import DebeziumSourceConfig, PipelineConfig, load
from rowvec.pipeline_status.reasons import EXAMPLES, grouped, reasons
from rowvec.support.figures import ago, due
from rowvec.types import Failure, Key, UnfitValue

LINES = 50
DUE = "A plain sync tries a row again when its next try is due; `rowvec failures --retry` tries all of them now."
BY_TABLE = "Change events alone do not try them again: `rowvec failures --retry` does, and `rowvec sync --full`."
BY_EVENT = "A row is tried again when another event of it comes, or by `rowvec sync --from-start`."


def failures(
    config: Path | None, name: str | None, limit: int | None, *, each_row: bool = False, as_json: bool = False
) -> None:
    """
    Args:
        limit: of lines; of rows where each is shown.
        each_row: show each row, and not each reason.
    """
    with opened(config, name) as pipeline:
        of_rows = limit if as_json else None
        failed, unfit = list(pipeline.failures(of_rows)), list(pipeline.unfit(of_rows))
        known = load(config)
        again = _again(known.pipeline(name)) if failed and not as_json else ""
        of = f"{pipeline.name}: " if len(known.names) > 1 else ""
    if as_json:
        output.print_json([*map(_failure, failed), *map(_unfit, unfit)])
        return
    most = limit or (len(failed) + len(unfit) if each_row else LINES)
    if failed:
        why = output.count(len(reasons(failed)), "reason")
        output.note(f"{of}{output.count(len(failed), 'row')} failed, for {why}.", "red")
        _print_failed(failed, most, each_row=each_row)
        output.note(again)
    else:
        output.say(Text(f"{of}{'no' if of else 'No'} failures.", "green"))
    if unfit:
        output.line()
        values = output.count(len(unfit), "metadata value")
        output.line(f"{values} did not fit: null is stored, the vector is there.")
        _print_unfit(unfit, most, each_row=each_row)


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "key": failure.key, "error": failure.error, "attempts": failure.attempts,
        "failed_at": failure.failed_at, "next_try": failure.next_try,
    }  # fmt: skip


def _unfit(value: UnfitValue) -> dict[str, Any]:
    return {
        "key": value.key, "column": value.column, "error": value.reason, "attempts": None, "failed_at": None,
        "next_try": None,
    }  # fmt: skip


def _print_failed(failed: Sequence[Failure], most: int, *, each_row: bool) -> None:
    groups = reasons(failed)
    if each_row or len(groups) == len(failed):
        output.table(
            ["key", "tries", "failed", "next try", "error"],
            [
                (
                    output.key(f.key),
                    f.attempts,
                    _moment(f.failed_at, ago),
                    _moment(f.next_try, due),
                    " ".join(f.error.split()),
                )
                for f in failed[:most]
            ],
            right=[1],
        )
        _say_more(len(failed) - most)
    else:
        output.table(
            ["rows", "next try", "for example", "error"],
            [
                (group.rows, _moment(group.next_try, due), _shown(group.keys, group.rows), group.error)
                for group in groups[:most]
            ],
            right=[0],
        )
        _say_more(len(groups) - most)
        output.note("`rowvec failures --each-row` shows each row.")


def _moment(moment: dt.datetime, words: Callable[[dt.datetime], str]) -> str | dt.datetime:
    """As a person reads it on a terminal, and as a program does in a pipe."""
    return words(moment) if output.out.is_terminal else moment


def _again(declared: PipelineConfig) -> str:
    """What tries a failed row again. The source is not opened for it."""
    if isinstance(declared.source, DebeziumSourceConfig):
        return BY_TABLE if declared.source.rows else BY_EVENT
    return DUE


def _print_unfit(unfit: Sequence[UnfitValue], most: int, *, each_row: bool) -> None:
    if each_row:
        output.table(
            ["key", "column", "reason"], [(output.key(each.key), each.column, each.reason) for each in unfit[:most]]
        )
        _say_more(len(unfit) - most)
        return
    groups = grouped((f"{each.column}: {each.reason}", each.key, each) for each in unfit)
    output.table(
        ["values", "column", "for example", "reason"],
        [
            (len(group), group[0].column, _keys(group), " ".join(group[0].reason.split())) for group in groups[:most]
        ],
        right=[0],
    )  # fmt: skip
    _say_more(len(groups) - most)


def _keys(group: Sequence[UnfitValue]) -> str:
    return _shown([each.key for each in group[:EXAMPLES]], len(group))


def _shown(keys: Sequence[Key], of: int) -> str:
    return ", ".join(output.key(key) for key in keys) + (", …" if of > len(keys) else "")


def _say_more(left: int) -> None:
    if left > 0:
        output.note(f"{left:,} more: give a higher --limit.")
