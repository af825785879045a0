"""search.rerank in a rowvec.toml: what it means, whose key goes where, and what is built of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowvec.assemble import build_ranking, build_reranker
from rowvec.cli.check import _reranker
from rowvec.config import PipelineConfig
from rowvec.config.rerank import RerankConfig
from rowvec.errors import ConfigError
from rowvec.ranking import Ranking
from rowvec.rerankers.service import ServiceReranker
from rowvec.types import Check, Column, ColumnType
from tests.unit.configs import complaint, pipeline

SECRET = "hunter2-s3cr3t"


def rerank(folder: Path, table: str) -> RerankConfig:
    found = pipeline(folder, f"search = {{ rerank = {{ {table} }} }}").search.rerank
    assert found is not None
    return found


def _check(declared: PipelineConfig) -> list[Check]:
    reranker = build_reranker(declared)
    try:
        return list(_reranker(declared, reranker))
    finally:
        if reranker is not None:
            reranker.close()


def test_without_the_table_there_is_none(tmp_path: Path) -> None:
    assert build_reranker(pipeline(tmp_path)) is None


def test_a_kind_and_a_model_are_enough(tmp_path: Path) -> None:
    found = rerank(tmp_path, 'kind = "cohere", model = "rerank-v3.5"')
    assert (found.url, found.top, found.weight, found.timeout) == ("https://api.cohere.com/v2/rerank", 50, 1.0, 0.3)
    assert (found.api_key, found.key_variable) == (None, "COHERE_API_KEY")


@pytest.mark.parametrize(("written", "meant"), [('"300ms"', 0.3), ('"2s"', 2.0), ("1.5", 1.5), ('"1m"', 60.0)])
def test_a_timeout_is_a_length_or_a_number_of_seconds(tmp_path: Path, written: str, meant: float) -> None:
    assert rerank(tmp_path, f'kind = "cohere", model = "m", timeout = {written}').timeout == meant


@pytest.mark.parametrize(
    ("kind", "variable"), [("cohere", "COHERE_API_KEY"), ("jina", "JINA_API_KEY"), ("voyage", "VOYAGE_API_KEY")]
)
def test_the_key_of_a_service_comes_from_its_variable_and_goes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, variable: str
) -> None:
    monkeypatch.setenv(variable, SECRET)
    found = rerank(tmp_path, f'kind = "{kind}", model = "m"')
    assert found.api_key is not None and found.api_key.get_secret_value() == SECRET
    assert SECRET not in repr(found)
    assert rerank(tmp_path, f'kind = "{kind}", model = "m", url = "https://other.example/v1/rerank"').api_key is None
    built = build_reranker(pipeline(tmp_path, f'search = {{ rerank = {{ kind = "{kind}", model = "m" }} }}'))
    assert isinstance(built, ServiceReranker) and SECRET not in repr(built)
    built.close()


def test_a_wrong_key_is_not_shown(tmp_path: Path) -> None:
    table = f'kind = "tei", url = "http://far.example/rerank", api_key = "{SECRET}"'
    assert SECRET not in complaint(tmp_path, f"search = {{ rerank = {{ {table} }} }}")


def test_the_other_settings_of_a_search_stay(tmp_path: Path) -> None:
    table = 'search = { fusion = "rrf", rerank = { kind = "tei", url = "http://127.0.0.1:8080/rerank" } }'
    assert build_ranking(pipeline(tmp_path, table), ()) == Ranking(fusion="rrf", static_weight=0.2, title_weight=0.2)


def test_rows_do_not_age_by_a_number(tmp_path: Path) -> None:
    declared = pipeline(tmp_path, 'search = { decay = "price", half_life_days = 30 }')
    with pytest.raises(ConfigError, match=r"search\.decay: the column 'price' holds number values"):
        build_ranking(declared, [Column("price", ColumnType.NUMBER)])


def test_check_says_what_is_asked_and_whose_key_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    table = 'search = { rerank = { kind = "voyage", model = "rerank-2.5" } }'
    (missing,) = _check(pipeline(tmp_path, table))
    assert not missing.ok and "VOYAGE_API_KEY is not set" in missing.detail
    monkeypatch.setenv("VOYAGE_API_KEY", SECRET)
    (there,) = _check(pipeline(tmp_path, table))
    assert there.ok and "within 300 ms" in there.detail and SECRET not in there.detail
    assert _check(pipeline(tmp_path)) == []
