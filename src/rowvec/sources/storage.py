"""Files on this machine and in S3, found by pattern and opened for reading.

A pattern is a path or an `s3://bucket/key` URL; `*` stands for anything within one folder, `**` for any number of
folders. An S3 URL can say where and who in Arrow's own words (`s3://bucket/rows/*.parquet?region=eu-west-1`, or
`?endpoint_override=host:9000&scheme=http` for another server than Amazon's); without them the usual AWS variables and
files count.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from rowvec.errors import ConfigError, MissingExtraError, RowvecError, SourceError, SourceUnavailable
from rowvec.support.redaction import HIDDEN, redact_mistyped
from rowvec.support.suggestions import suggestion

BUFFER_BYTES = 2**20
_PASSING = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT|INTERNAL_FAILURE)|HTTP status 5\d\d"
)
"""What Arrow calls the faults of S3 that may pass."""


@dataclass(frozen=True, slots=True)
class File:
    """One file as it was when it was listed."""

    name: str
    """For messages: the path, or the URL without what is secret in it."""
    size: int
    version: str
    """Another one when the file was written again."""
    filesystem: Any = field(default=None, repr=False, compare=False)
    path: str = ""

    @property
    def compressed(self) -> bool:
        return name_without_packing(self.name) != self.name

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes as they are stored, seekable; the file system's errors within the block are rowvec's.

        Raises:
            SourceError: it is gone, or may not be read. SourceUnavailable: the storage did not answer.
        """
        with translated(self.name):
            if self.filesystem is None:
                raw: Any = io.FileIO(self.path)
            else:
                raw = self.filesystem.open_input_file(self.path)
            with io.BufferedReader(raw, BUFFER_BYTES) as stream:
                yield cast(BinaryIO, stream)

    @contextmanager
    def open_text(self) -> Iterator[BinaryIO]:
        """The bytes of a text file, unpacked where the name ends in .gz."""
        with self.open() as stream:
            if self.compressed:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                yield stream


def name_without_packing(name: str) -> str:
    """The name of what a file packed by gzip holds."""
    return name[: -len(".gz")] if name.lower().endswith(".gz") else name


def find(patterns: Sequence[str], base: Path) -> list[File]:
    """Every file that a pattern names, each once, by name.

    Raises:
        SourceError: a pattern names no file. SourceUnavailable: the storage did not answer.
    """
    if isinstance(patterns, str) or not patterns:
        raise ConfigError("source.paths is not a list of files.", hint='Such as ["rows/*.parquet"].')
    found: dict[str, File] = {}
    for pattern in patterns:
        files = _find_s3(pattern) if pattern.startswith("s3://") else _find_local(pattern, base)
        found.update((file.name, file) for file in files)
    return [found[name] for name in sorted(found)]


def _find_local(pattern: str, base: Path) -> list[File]:
    if "://" in pattern:
        raise ConfigError(
            f"source.paths: {pattern.partition('://')[0]!r} is not a storage that rowvec reads.",
            hint="It reads local paths and s3:// URLs.",
        )
    whole = base / Path(pattern).expanduser()
    with translated(redact_mistyped(str(whole))):
        # A file may be called what would be a pattern.
        names = [str(whole)] if whole.exists() else _matching(str(whole))
        files = []
        for name in sorted(names):
            path = Path(name)
            if path.is_file():
                stat = path.stat()
                files.append(File(name, stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}", None, name))
            else:
                _refuse_lost_link(name)
    if files:
        return files
    if whole.is_dir():
        raise SourceError(f"source.paths: {whole} is a folder.", hint=f"Say which files in it: {pattern}/*.parquet")
    folder = whole.parent
    hint = f"There is no folder {Path(redact_mistyped(str(whole))).parent} either."
    if folder.is_dir():
        hint = suggestion(whole.name, sorted(path.name for path in folder.iterdir() if path.is_file()))
    raise SourceError(f"source.paths: there is no file {redact_mistyped(str(whole))}.", hint=hint)


def _matching(pattern: str) -> list[str]:
    """Every name that a pattern stands for.

    Raises:
        OSError: a folder on the way cannot be read. `glob` passes over it, and its rows would count as deleted. One
            that was deleted meanwhile is not an error.
    """
    parts = Path(pattern).parts
    first = next((place for place, part in enumerate(parts) if "*" in part), len(parts))
    for place in range(first, len(parts)):
        for folder in glob.glob(_for_glob(str(Path(*parts[:place])))):
            if not os.path.isdir(folder):
                _refuse_lost_link(folder)
                continue
            if "**" in parts[place]:
                _walk(folder)
                continue
            with suppress(FileNotFoundError):
                if "*" in parts[place]:
                    os.scandir(folder).close()
                else:
                    Path(folder, parts[place]).stat()
        if "**" in parts[place]:
            break
    return glob.glob(_for_glob(pattern), recursive=True)


def _walk(folder: str) -> None:
    for above, inner, others in os.walk(folder, onerror=_raise_unless_gone):
        # `**` does not reach hidden folders, such as .Trash-0 of another user.
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in others:
            # By its name it may have led to a folder.
            if "." not in name:
                _refuse_lost_link(os.path.join(above, name))


def _refuse_lost_link(name: str) -> None:
    if os.path.islink(name) and not os.path.exists(name):
        raise SourceError(
            f"{name} is a link to what is not there.",
            hint="Make it lead to a file or folder, or take it away: the rows behind it would count as deleted.",
        )


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _for_glob(pattern: str) -> str:
    """`**.csv` is to Python in one folder only, and `[` opens a set of characters."""
    return re.sub(r"(?<![^/])\*\*(?=[^/])", "**/*", pattern).replace("[", "[[]")


def _find_s3(url: str) -> list[File]:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _no_url(url) from None
    bucket, key = parts.netloc.rpartition("@")[2], parts.path.lstrip("/")
    if ":" in bucket:
        raise _no_url(url)
    shown = f"s3://{bucket}/{key}"
    if not bucket or not key:
        raise ConfigError(f"source.paths: {shown} names no file.", hint="Such as s3://bucket/rows/*.parquet")
    fs = _arrow_filesystems()
    with translated(shown), _url_checked(url, shown):
        filesystem, _ = fs.FileSystem.from_uri(f"s3://{parts.netloc}/?{parts.query}")
        path = f"{bucket}/{key}"
        if "*" not in key:
            infos = filesystem.get_file_info([path])
        else:
            folder = path.partition("*")[0].rpartition("/")[0]
            nested = "/" in path[len(folder) + 1 :] or "**" in path
            infos = filesystem.get_file_info(fs.FileSelector(folder, recursive=nested, allow_not_found=True))
    wanted = _pattern(path)
    files = [
        File(f"s3://{info.path}", info.size, f"{info.mtime_ns}-{info.size}", filesystem, info.path)
        for info in infos
        if info.type is fs.FileType.File and wanted.fullmatch(info.path)
    ]
    if not files:
        raise SourceError(f"source.paths: there is no file {shown}.", hint="Check the bucket and the key.")
    return files


@contextmanager
def _url_checked(url: str, shown: str) -> Iterator[None]:
    from pyarrow import ArrowInvalid

    try:
        yield
    except ArrowInvalid as error:
        line = str(error).splitlines()[0]
        # What Arrow cannot parse it repeats, with the secret.
        if "parse URI" in line:
            raise _no_url(url) from None
        raise ConfigError(
            f"source.paths: {shown}: {line}", hint="Such as s3://bucket/rows/*.parquet?region=eu-west-1"
        ) from None


def _no_url(url: str) -> ConfigError:
    _, at, place = url.rpartition("@")
    return ConfigError(
        f"source.paths: s3://{HIDDEN}{at}{place.partition('?')[0] if at else ''} is not an S3 URL.",
        hint="It is s3://bucket/key, or s3://ACCESS_KEY:SECRET@bucket/key, where a / in the secret is written %2F,"
        " # %23, ? %3F and % %25. The usual AWS variables and files take the secret as it is.",
    )


def _arrow_filesystems() -> Any:
    try:
        from pyarrow import fs
    except ImportError:
        raise MissingExtraError("S3", "files") from None
    return fs


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*)", path)
    meaning = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*"}
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts))


@contextmanager
def translated(name: str) -> Iterator[None]:
    """The errors of a file system as rowvec's own; `name` is the file that was at hand."""
    try:
        yield
    except RowvecError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise _as_source_error(error, name) from error


def _as_source_error(error: Exception, name: str) -> SourceError:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if _PASSING.search(line):
        return SourceUnavailable(
            f"{name}: the storage does not answer: {line}",
            hint="Check the network and the endpoint, then run it again.",
        )
    if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
        return SourceError(f"{name} is not a complete gzip file: {line}", hint="Copy it again.")
    if isinstance(error, FileNotFoundError):
        return SourceError(f"There is no file {name}.", hint="It was there when the files were listed: run it again.")
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in line or "FORBIDDEN" in line:
        return SourceError(f"{name} may not be read: {line}", hint="Give this user, or these AWS keys, read access.")
    return SourceError(f"{name} cannot be read: {line}")
