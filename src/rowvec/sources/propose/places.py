"""What a user may name where files are: one file, a folder or a pattern, on this machine or in S3."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rowvec.errors import ConfigError, SourceError
from rowvec.sources.files.formats import format_of
from rowvec.sources.storage import File, find, name_without_packing
from rowvec.support.redaction import redact, redact_mistyped
from rowvec.support.suggestions import suggestion

_FORMATS = {"csv": "csv", "tsv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}
ENDINGS = ".csv, .tsv, .jsonl, .ndjson and .parquet, all but the last also with .gz"
_SHEETS = ("xlsx", "xls", "ods", "numbers")


@dataclass(frozen=True, slots=True)
class Place:
    paths: tuple[str, ...]
    """As `source.paths` takes them."""
    files: list[File]
    name: str
    """For the pipeline."""
    format: str
    declared: bool
    """The format has to be declared: the names of the files do not say it."""


def located(source: str, base: Path) -> Place:
    """
    Args:
        source: a file, a folder, a pattern, or an s3:// URL of one of them.

    Raises:
        SourceError: there is nothing, or nothing that is read. ConfigError: a format that rowvec does not read.
    """
    paths = _patterns(source, base)
    try:
        files = find(paths, base)
    except SourceError as error:
        if error.transient or "://" in source:
            raise
        raise SourceError(f"There is no file {redact_mistyped(source)}.", hint=error.hint) from error
    kinds = Counter(_format(file.name) for file in files)
    if len(kinds) > 1:
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        raise ConfigError(
            f"{redact(source)} has files of several formats: {counted}.",
            hint=f"Say which of them are the rows: --from '{redact(_within(source, '*' + _ending(files[0].name)))}'",
        )
    declared = any(_suffix(file.name) not in _FORMATS for file in files)
    name = name_of(source if "://" in source else str(base / Path(source).expanduser()))
    return Place(paths, files, name, next(iter(kinds)), declared)


def name_of(source: str) -> str:
    """After the file, or the folder where the file's name is only a pattern."""
    path = re.sub(r"^\w+://([^/]*@)?", "", source).partition("?")[0] if "://" in source else source
    last, *folders = reversed(PurePosixPath(path or "/").parts)
    for part in (last.removesuffix(_ending(last)), *folders):
        plain = part.replace("*", "").strip(" -_.~/")
        if re.search(r"[^\W\d_]", plain):
            return plain
    return "rows"


def _patterns(source: str, base: Path) -> tuple[str, ...]:
    if "://" in source:
        address = source.partition("?")[0]
        last = address.rpartition("/")[2]
        # A folder of S3 has no entry of its own: it is told by its name.
        folder = not last or ("*" not in last and "." not in last) or address.count("/") < 3
        return _in_folder(source, base) if folder else (source,)
    path = base / Path(source).expanduser()
    if path.is_dir():
        return _in_folder(source, base)
    if path.exists() or "*" in source:
        return (source,)
    hint = f"There is no folder {Path(redact_mistyped(str(path))).parent} either."
    if path.parent.is_dir():
        hint = suggestion(path.name, sorted(each.name for each in path.parent.iterdir()))
    database = "A database is named by its URL, such as postgresql://user@host/name."
    raise SourceError(f"There is no file or folder {redact_mistyped(source)}.", hint=f"{hint} {database}")


def _in_folder(source: str, base: Path) -> tuple[str, ...]:
    """Patterns of all files in a folder that are read; of those below it where there is none."""
    for deep in ("*", "**/*"):
        try:
            found = find([_within(source, deep)], base)
        except SourceError as error:
            if error.transient or deep != "*":
                raise
            continue
        endings = {_ending(file.name) for file in found if _suffix(file.name) in _FORMATS}
        if endings:
            return tuple(_within(source, deep + ending) for ending in sorted(endings))
    raise SourceError(
        f"The folder {redact(source)} has no file that rowvec reads.", hint=f"It reads files that end in {ENDINGS}."
    )


def _within(source: str, pattern: str) -> str:
    if "://" not in source:
        folder = source if "*" not in source else source.rpartition("/")[0] or "."
        return str(Path(folder) / pattern)
    address, question, query = source.partition("?")
    folder = address if "*" not in address else address.rpartition("/")[0]
    return f"{folder.rstrip('/')}/{pattern}{question}{query}"


def _ending(name: str) -> str:
    """With its dot, and that of the packing."""
    bare = name_without_packing(name)
    return PurePosixPath(bare).suffix + name[len(bare) :]


def _suffix(name: str) -> str:
    return PurePosixPath(name_without_packing(name)).suffix.lstrip(".").lower()


def _format(name: str) -> str:
    suffix = _suffix(name)
    if suffix == "json":
        # Often one object on each line; where it is not, the reader says what it is.
        return "jsonl"
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    try:
        format_of(name, None)
    except ConfigError as error:
        if "packed by" in error.message:
            raise
    hint = "In the spreadsheet, save it as CSV." if suffix in _SHEETS else f"It reads files that end in {ENDINGS}."
    raise ConfigError(f"{name}: this is not a file that rowvec reads.", hint=hint)


def listed(names: Sequence[str]) -> str:
    """Some names of files as a sentence has them."""
    return names[0] if len(names) == 1 else f"{len(names)} files such as {names[0]}"
