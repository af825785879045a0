"""Writing a rowvec.toml and loading it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from rowvec.config import PipelineConfig, load
from rowvec.errors import ConfigError

SOURCE = 'source = { kind = "sql", url = "sqlite:///shop.db", table = "products", key = "id" }'


def written(folder: Path, text: str) -> Path:
    path = folder / "rowvec.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def pipeline(folder: Path, *lines: str, source: str = SOURCE) -> PipelineConfig:
    """The one pipeline of a config with these lines in it."""
    return load(written(folder, "\n".join(["[pipelines.products]", source, *lines]))).pipeline()


def complaint(folder: Path, *lines: str, source: str = SOURCE) -> str:
    """What is said about those lines, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        pipeline(folder, *lines, source=source)
    start = f"{folder}/rowvec.toml: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)
