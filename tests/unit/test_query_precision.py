"""Queries in another precision than the rows: what is loaded, what agrees, what is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rowvec.cli.check import check
from rowvec.embedders.local import engines
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.local.openvino_engine import has_bf16
from rowvec.errors import ConfigError
from tests.support_tiny_models import tiny_model

TEXT = "the cat sat on a red mat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


def local(folder: Path, **options: str) -> LocalEmbedder:
    return LocalEmbedder(str(folder), cache_dir=folder.parent / "cache", **options)  # type: ignore[arg-type]


def test_queries_have_the_precision_of_the_rows_unless_told(folder: Path) -> None:
    embedder = local(folder)
    assert embedder.query_precision == "float32"
    assert embedder.query_parity(TEXT) == 1.0
    assert np.allclose(embedder.embed_query(TEXT), embedder.embed([TEXT]).vectors[0], atol=1e-6)


def test_another_precision_changes_queries_and_neither_rows_nor_fingerprint(folder: Path) -> None:
    plain, other = local(folder), local(folder, query_precision="int8")
    assert other.fingerprint == plain.fingerprint
    assert np.array_equal(other.embed([TEXT]).vectors, plain.embed([TEXT]).vectors)
    assert 0.98 < other.query_parity(TEXT) < 1.0


def test_queries_in_int8_are_computed_by_the_engine_of_int8_rows_where_no_other_is_faster(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "has_bf16", lambda: False)
    other, rows = local(folder, query_precision="int8"), local(folder, precision="int8")
    assert np.array_equal(other.embed_query(TEXT), rows.embed_query(TEXT))


def test_a_query_of_several_windows_is_the_mean_of_them(folder: Path) -> None:
    embedder = local(folder, overflow="mean")
    text = " ".join([TEXT] * 30)
    assert np.allclose(embedder.embed_query(text), embedder.embed([text]).vectors[0], atol=1e-6)


def test_a_process_that_only_searches_loads_one_copy_of_the_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    original = engines.load_engine

    def load(*given: object, precision: str, **more: object) -> object:
        loaded.append(precision)
        return original(*given, precision=precision, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("rowvec.embedders.local.embedder.load_engine", load)
    embedder = local(folder, query_precision="int8")
    embedder.embed_query(TEXT)
    embedder.embed_query("a dog")
    assert loaded == ["int8"]
    embedder.embed([TEXT])
    assert loaded == ["int8", "float32"]
    embedder.close()
    embedder.embed_query(TEXT)
    assert loaded == ["int8", "float32", "int8"]


@pytest.mark.parametrize(
    ("wanted", "precision", "bf16", "queries"),
    [(None, "float32", True, "float32"), ("auto", "float32", True, "bfloat16"), ("auto", "float32", False, "float32"),
     ("auto", "int8", True, "int8"), ("int8", "float32", True, "int8")],
)  # fmt: skip
def test_auto_takes_what_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, precision: str, bf16: bool, queries: str
) -> None:
    monkeypatch.setattr(engines, "has_bf16", lambda: bf16)
    assert engines.for_queries(wanted, precision, "cpu") == queries


@pytest.mark.skipif(not has_bf16(), reason="this processor has no units for bf16, or OpenVINO is not installed")
def test_a_query_in_bf16_agrees_with_float32(folder: Path) -> None:
    embedder = local(folder, query_precision="auto")
    assert embedder.query_precision == "bfloat16"
    assert embedder.query_parity(TEXT) > 0.999


def test_a_precision_that_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="query_precision is 'int4'"):
        local(folder, query_precision="int4")


def test_check_holds_a_query_against_the_rows(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("libsql")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": 1, "name": TEXT}) + "\n")
    (tmp_path / "rowvec.toml").write_text(
        f"""
        [pipelines.things]
        source = {{ kind = "files", paths = "rows.jsonl", key = "id" }}
        text = {{ columns = ["name"] }}
        embedder = {{ kind = "local", model = "{folder.name}", query_precision = "int8" }}
        store = {{ kind = "libsql", url = "vectors.db" }}
        """
    )
    check(tmp_path / "rowvec.toml", None, as_json=True)
    (said,) = [line for line in json.loads(capsys.readouterr().out) if line["what"] == "queries"]
    assert said["precision"] == "int8"
    assert said["ok"] is (said["cosine"] >= 0.99)
