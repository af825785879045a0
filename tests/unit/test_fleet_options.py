"""Options of `rowvec sync` that a fleet of workers has not."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from rowvec.cli.commands import app
from rowvec.errors import ConfigError


@pytest.mark.parametrize(
    "given",
    [["--keys", "1"], ["--limit", "5"], ["--retry-failed"], ["--max-cost", "1"], ["--from-start"]],
    ids=lambda given: given[0],
)
def test_it_is_refused_by_name_rather_than_left_out_in_silence(given: list[str]) -> None:
    answer = CliRunner().invoke(app, ["sync", "--workers", "celery", *given])
    assert isinstance(answer.exception, ConfigError)
    assert answer.exception.message == f"{given[0]} does not go with --workers."
