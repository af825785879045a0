"""Where converted models and what is known of their files are kept, and the digests of those files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from uuid import uuid4

from rowvec.errors import EmbedderError


def default_cache() -> Path:
    """ROWVEC_CACHE, or `rowvec` in XDG_CACHE_HOME, or ~/.cache/rowvec."""
    if own := os.environ.get("ROWVEC_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rowvec"


def file_digest(path: Path, cache: Path) -> str:
    """The SHA-256 of a file, computed once for each size and time of change: reading 90 MB delays every start."""
    found = path.resolve().stat()
    identity = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    note = cache / "digests" / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with contextlib.suppress(OSError):
        if len(known := note.read_text("ascii")) == 64:
            return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write(note, digest)
    return digest


def write(path: Path, text: str) -> None:
    """A file of the cache, which appears whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile: its files are for nobody else, and a cache may serve several users.
        scratch = path.with_name(f".{path.name}.{uuid4().hex}")
        scratch.write_text(text, "utf-8")
        os.replace(scratch, path)
    except OSError as error:
        raise cache_error(path.parent, error) from error


def cache_error(folder: Path, error: OSError) -> EmbedderError:
    return EmbedderError(
        f"The model cache {folder} cannot be written: {error.strerror}.",
        hint="Set ROWVEC_CACHE to a folder that can be written, with room for the model.",
    )
