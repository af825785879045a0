"""`rowvec eval` on a pipeline in memory: what it says on the screen, its run file, its weights, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_measures
import pytest

from rowvec.api.project_pipeline import ProjectPipeline
from rowvec.cli import evaluate, fit
from rowvec.errors import ConfigError
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.local import LocalReranker
from tests.integration.serve_rig import opening, product_pipeline, project_pipeline
from tests.unit.test_fitting import PLAIN, QUERIES, best_of, searcher
from tests.unit.test_rerank_guard import Numbers


@pytest.fixture(scope="module")
def products() -> Pipeline:
    return dataclasses.replace(product_pipeline(count=120), ranking=Ranking(semantic_weight=0.9))


@pytest.fixture
def door(products: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPipeline:
    project: Any = SimpleNamespace(config=SimpleNamespace(path=tmp_path / "rowvec.toml"))
    return opening(project_pipeline(products, project, name="shop"), monkeypatch, evaluate, fit)


class Judged:
    """Files of queries and judgements, and what the commands say of them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.queries, self.judgements = folder / "queries.csv", folder / "judged.csv"
        self.ask(QUERIES)

    def ask(self, queries: dict[str, str]) -> None:
        self.queries.write_text("id,query\n" + "".join(f"{query},{text}\n" for query, text in queries.items()))

    def judge(self, judgements: dict[str, dict[str, int]]) -> None:
        lines = [f"{query} 0 {key} {rating}\n" for query, rated in judgements.items() for key, rating in rated.items()]
        self.judgements.write_text("".join(lines))

    def eval(self, **options: Any) -> tuple[str, str]:
        usual = {"modes": ["hybrid"], "measures": ["nDCG@10", "MRR@10"], "condensed": False, "rerank": None,
                 "worst": 5, "run_file": None, "as_json": False}  # fmt: skip
        evaluate.evaluate(None, None, self.queries, self.judgements, **{**usual, **options})
        told = self._capsys.readouterr()
        return told.out, told.err

    def fit(self, **options: Any) -> tuple[str, str]:
        usual = {"modes": [], "measures": [], "condensed": False, "rerank": None, "folds": 5,
                 "write": False, "as_json": False}  # fmt: skip
        fit.fit(None, None, self.queries, self.judgements, **{**usual, **options})
        told = self._capsys.readouterr()
        return told.out, told.err


@pytest.fixture
def judged(door: ProjectPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judged:
    return Judged(tmp_path, capsys)


def test_means_come_with_intervals_and_the_worst_queries(judged: Judged, products: Pipeline) -> None:
    right = best_of(searcher(products, products.ranking), products.ranking)
    judged.judge({**right, "7": {"120": 1}})
    out, err = judged.eval(worst=2)
    lines = out.splitlines()
    assert lines[0].split() == ["mode", "measure", "mean", "95", "%", "interval"]
    mode, measure, mean, low, high = lines[1].replace("[", "").replace("]", "").replace(",", "").split()
    assert (mode, measure) == ("hybrid", "nDCG@10")
    assert float(low) < float(mean) <= float(high) <= 1.0
    assert lines[4].split()[:4] == ["nDCG@10", "worst", "queries,", "hybrid"]
    assert lines[5].endswith(QUERIES["7"]) and len(lines) == 7
    assert err.endswith("30 queries judged.\n")
    assert "worst" not in judged.eval(worst=0)[0]
    said = json.loads(judged.eval(as_json=True)[0])["hybrid"]
    assert said["intervals"]["nDCG@10"][0] < said["means"]["nDCG@10"] <= said["intervals"]["nDCG@10"][1]
    assert "rankings" not in said


def test_the_run_file_is_what_trec_eval_reads(judged: Judged, products: Pipeline, tmp_path: Path) -> None:
    judged.judge(best_of(searcher(products, products.ranking), Ranking(semantic_weight=0.2)))
    means = json.loads(judged.eval(as_json=True)[0])["hybrid"]["means"]
    _, err = judged.eval(run_file=tmp_path / "hybrid.run")
    assert "hybrid.run: the rankings of 30 queries, hybrid." in err
    first = (tmp_path / "hybrid.run").read_text().splitlines()[0].split()
    assert first[0] == "1" and first[1] == "Q0" and first[3] == "1" and first[5] == "rowvec-hybrid"
    run = ir_measures.read_trec_run(str(tmp_path / "hybrid.run"))
    qrels = ir_measures.read_trec_qrels(str(judged.judgements))
    found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.RR @ 10], qrels, run)
    assert found == pytest.approx({ir_measures.nDCG @ 10: means["nDCG@10"], ir_measures.RR @ 10: means["MRR@10"]})


def test_a_run_file_that_cannot_be_written_is_refused(judged: Judged, tmp_path: Path) -> None:
    judged.judge({"1": {"1": 1}})
    with pytest.raises(ConfigError, match="the rankings of one mode"):
        judged.eval(run_file=tmp_path / "run", modes=["hybrid", "keyword"])
    with pytest.raises(ConfigError, match="nowhere/run cannot be written: No such file"):
        judged.eval(run_file=tmp_path / "nowhere" / "run")
    judged.ask({"two words": "brake pads", "1": "oil"})
    with pytest.raises(ConfigError, match="the query 'two words' has a space in it"):
        judged.eval(run_file=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ids_that_match_by_half_or_less_are_told(judged: Judged) -> None:
    judged.judge({query: {"1": 1} for query in ["1", "2", "q3", "q4", "q5", "q6"]})
    _, err = judged.eval()
    assert "Query ids that are in both files: 2, of 30 queries and 6 that are judged." in err
    assert "  Only queries name '3', '4', '5' …\n  Only judgements name 'q3', 'q4', 'q5' …\n" in err
    judged.judge({query: {"1": 1} for query in list(QUERIES)[:16]})
    assert "in both files" not in judged.eval()[1]


def test_judgements_of_rows_that_are_not_there_are_told(judged: Judged) -> None:
    judged.judge({"1": {"1": 1, "999": 1}, "2": {"B-7": 1}})
    assert "Of 3 rows judged relevant, 2 are not there, such as 'B-7', '999'." in judged.eval()[1]
    judged.judge({"1": {"A-1": 1}, "2": {"B-7": 1}})
    for command in (judged.eval, judged.fit):
        with pytest.raises(ConfigError, match="None of the rows that are judged relevant") as refused:
            command()
        assert "judgements name 'A-1', 'B-7'" in str(refused.value)
        assert "keys such as '1', '2', '3'" in (refused.value.hint or "")


def test_the_reranker_is_judged_beside_the_order_without_it(
    judged: Judged, door: ProjectPipeline, products: Pipeline
) -> None:
    reranker = LocalReranker(Numbers, "m", top=120, timeout=20.0)
    door._assembled = door._searchable = dataclasses.replace(products, reranker=reranker)
    judged.judge({query: {"120": 1} for query in QUERIES})
    out, err = judged.eval(rerank=True)
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["hybrid"] * 2 + ["hybrid+rerank"] * 2
    assert "hybrid: the reranker changes MRR@10 by +" in err
    said = json.loads(judged.eval(rerank=True, as_json=True)[0])
    assert said["hybrid"]["means"]["MRR@10"] < said["hybrid+rerank"]["means"]["MRR@10"] == 1.0
    assert list(json.loads(judged.eval(as_json=True)[0])) == ["hybrid"]


def test_weights_are_written_only_when_told_and_only_for_a_gain(
    judged: Judged, products: Pipeline, tmp_path: Path
) -> None:
    config = tmp_path / "rowvec.toml"
    config.write_text(PLAIN)
    judged.judge(best_of(searcher(products, products.ranking), Ranking(semantic_weight=0.1)))
    out, err = judged.fit()
    assert "semantic_weight" in out.splitlines()[1] and "The gain shows on queries that were left out" in out
    assert "static_weight was not fitted: search.static is not set." in err
    assert config.read_text() == PLAIN
    said = json.loads(judged.fit(write=True, as_json=True)[0])
    assert said["written"] is True and said["better"] is True and said["interval"][0] > 0
    assert tomllib.loads(config.read_text())["pipelines"]["shop"]["search"] == said["proposed"]
    assert config.read_text().startswith(PLAIN)

    config.write_text(PLAIN)
    judged.judge({query: {str(int(query) * 37 % 120 + 1): 1} for query in QUERIES})
    out, err = judged.fit(write=True)
    assert "Keep your weights" in out or "keep yours" in out
    assert "Nothing was written." in err and config.read_text() == PLAIN


def test_a_fit_of_what_cannot_be_fitted_says_why(judged: Judged) -> None:
    judged.judge({"1": {"1": 1}})
    with pytest.raises(ConfigError, match="Only one query has judgements"):
        judged.fit()
    with pytest.raises(ConfigError, match="Weights are fitted to one mode"):
        judged.fit(modes=["hybrid", "keyword"])
