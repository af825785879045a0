"""What files offer for a pipeline. They say less than a database does: keys and types are told by their values."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rowvec.errors import RowvecError, SourceError
from rowvec.sources.files.base import Format
from rowvec.sources.files.formats import DELIMITERS, Csv, format_of
from rowvec.sources.files.reading import reading
from rowvec.sources.propose.keys import Candidate, candidates
from rowvec.sources.propose.places import Place, listed, located
from rowvec.sources.propose.proposal import (
    Files,
    Proposal,
    beginnings,
    cursor_of,
    flag_of,
    judge_of,
    metadata_of,
    said_by,
    text_of,
)
from rowvec.sources.propose.settled_types import settled
from rowvec.sources.propose.survey import Survey
from rowvec.sources.storage import File
from rowvec.types import Column, ColumnType
from rowvec.words import keyword_language

_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]+)?")
_YEAR = re.compile(r"(1[89]|20|21)[0-9]{2}")
_CURSOR_TYPES = (ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.INTEGER)
_RECORDS = 20
_REASONS = 3


def propose_files(source: str, base: Path | None = None) -> Proposal:
    """
    Args:
        source: a file, a folder, a pattern, or an s3:// URL of one of them.
        base: the folder that a relative path starts from.

    Raises:
        ConfigError: a format that rowvec does not read. SourceError: no such file, one that cannot be read or has no
            rows or no header, other columns in one of them, no column that can be the key.
        SourceUnavailable: the storage did not answer.
    """
    place = located(source, base or Path.cwd())
    delimiter = _delimiter(place) if place.format == "csv" else None
    form = format_of(place.files[0].name, place.format, delimiter)
    if isinstance(form, Csv):
        _check_header(place.files[0], form)
    survey = Survey(place.files, form)
    key = _key(place, survey)
    types = settled(survey.types, survey.sample, key.name, numbers=form.numbers_in_text)
    columns = tuple(
        Column(name, types.get(name) or kind or ColumnType.TEXT, told=kind is not None)
        for name, kind in survey.types.items()
    )
    return _proposal(
        place,
        survey,
        key,
        columns,
        Files(
            place.paths,
            len(place.files),
            survey.whole,
            format=place.format if place.declared else None,
            delimiter=delimiter,
            types=types,
            named_key=key.named,
        ),
    )


def _proposal(place: Place, survey: Survey, key: Candidate, columns: tuple[Column, ...], files: Files) -> Proposal:
    judge = judge_of({}, survey.sample)
    told = [column for column in columns if column.told]
    flag, where = _condition(told, survey)
    # A title that has to be the key is still worth embedding.
    text = text_of(told, {key.name} if key.named else set(), judge)
    whole = said_by(survey.sample, text)
    said = beginnings(whole)
    rows = f"{survey.rows:,} row{'s' * (survey.rows != 1)}"
    seen = f"in all {rows}" if survey.whole else f"in the {rows} looked at"
    if survey.whole and survey.rows == 1:
        seen = "in 1 row"
    return Proposal(
        table=place.name,
        rows=survey.rows,
        key=key.name,
        key_note=f"unique and never null {seen}" + ("" if key.named else ", but does not look like an id"),
        columns=columns,
        text=text,
        metadata=metadata_of(told, {key.name, flag}, tuple(name for name in text if name != key.name), judge),
        # The files are read completely in any case: a cursor is left to the user.
        cursor=None,
        where=where,
        language=keyword_language(said),
        texts=tuple(said),
        lengths=tuple(map(len, whole)),
        files=replace(files, cursor=cursor_of([column for column in told if column.type in _CURSOR_TYPES])),
    )


def _condition(columns: Sequence[Column], survey: Survey) -> tuple[str | None, str | None]:
    """The flag that some rows have, and the filter that leaves out those that are gone."""
    flag, deleted = flag_of(columns)
    if flag is None or flag.type is not ColumnType.BOOLEAN or survey.nulls[flag.name]:
        return None, None
    if not re.fullmatch(r"[A-Za-z_]\w*", flag.name):
        return None, None
    return flag.name, f"not {flag.name}" if deleted else flag.name


def _key(place: Place, survey: Survey) -> Candidate:
    """
    Raises:
        SourceError: no column can be one.
    """
    found = candidates(place.name, survey.types, survey.sample)
    spoiled = False
    for each in found:
        if survey.unique(each.name) and (each.named or not spoiled):
            return each
        # Where id itself has a value twice, another column is not the answer.
        spoiled = spoiled or each.is_id
    shown = listed([file.name for file in place.files])
    reasons = [reason for each in found if (reason := _why_not(survey, each.name))][:_REASONS]
    said = f": {'; '.join(reasons)}" if reasons else ""
    raise SourceError(
        f"{shown}: no column is unique and never null, so none can be the key{said}.",
        hint="Correct those rows, or add a column that numbers the rows, such as id. Then run init again.",
    )


def _why_not(survey: Survey, name: str) -> str:
    if empty := survey.nulls[name]:
        return f"{name} is null in {empty:,} of {survey.rows:,} rows"
    value = survey.twice.get(name)
    if value is None:
        return ""
    return f"{name} is {value!r} in {' and in '.join(survey.rows_with(name, value))}"


def _delimiter(place: Place) -> str | None:
    """Another one than the usual, where that takes the first rows apart and the usual one does not."""
    first = place.files[0]
    usual = format_of(first.name, "csv")
    if not isinstance(usual, Csv) or _fields(first, usual) > 1:
        return None
    return next((each for each in DELIMITERS if _fields(first, Csv(each)) > 1), None)


def _fields(file: File, form: Csv) -> int:
    """Of each of the first rows; 0 where they differ or cannot be read."""
    try:
        with reading(file), file.open_text() as stream:
            counts = {len(fields) for _, fields in islice(form.records(file, stream), _RECORDS)}
    except (RowvecError, csv.Error):
        return 0
    return counts.pop() if len(counts) == 1 else 0


def _check_header(file: File, form: Format) -> None:
    """
    Raises:
        SourceError: the first line is a row.
    """
    with reading(file):
        names = list(form.heading(file))
    numbers = [name for name in names if _NUMBER.fullmatch(name) and not _YEAR.fullmatch(name)]
    if numbers and numbers != [str(number) for number in range(len(numbers))]:
        line = ", ".join(names[:4]) + ", …" * (len(names) > 4)
        raise SourceError(
            f"{file.name}, line 1: this line should name the columns, and looks like a row: {line}",
            hint="Put a line with the names of the columns before it, such as id,name,price.",
        )
