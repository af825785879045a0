"""Weights from judgements: they are found where there is something to find, and no gain is claimed otherwise."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rowvec.answers import Setting
from rowvec.config.edit import set_search
from rowvec.errors import ConfigError, SearchError
from rowvec.evaluation.bootstrap import Gain, Interval, gain, interval
from rowvec.pipeline import Pipeline
from rowvec.ranking import Ranking
from rowvec.rerankers.base import Scored
from rowvec.searcher import Mode, Searcher
from rowvec.searcher.fitting import _Found, fit
from rowvec.searcher.judged import judged_rows
from tests.integration.serve_rig import product_pipeline

QUERIES = {str(number): f"brake pads oil filter {number}" for number in range(1, 31)}


@pytest.fixture(scope="module")
def products() -> Pipeline:
    return product_pipeline(count=120)


def searcher(products: Pipeline, ranking: Ranking) -> Searcher:
    return Searcher(products.store, products.embedder, products.spec, ranking)


def best_of(found: Searcher, ranking: Ranking, mode: Mode = "hybrid") -> dict[str, dict[str, int]]:
    """Judgements with which the order of one ranking is the best there is."""
    return {
        query: {str(hit.key): 10 - place for place, hit in enumerate(
            found.search(text, mode=mode, limit=10, ranking=ranking).hits
        )}
        for query, text in QUERIES.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "right"),
    [
        (Ranking(semantic_weight=0.9), Ranking(semantic_weight=0.1)),
        (Ranking(semantic_weight=0.9), Ranking(fusion="rrf")),
        (Ranking(static="stock / 10", static_weight=0.0), Ranking(static="stock / 10", static_weight=1.0)),
        (Ranking(decay="added", half_life_days=7.0), Ranking(decay="added", half_life_days=None)),
        (Ranking(title="name", title_weight=0.0), Ranking(title="name", title_weight=2.0)),
    ],
)
def test_weights_that_the_judgements_agree_with_are_found(products: Pipeline, now: Ranking, right: Ranking) -> None:
    found = searcher(products, now)
    fitted = fit(found, QUERIES, best_of(found, right))
    assert fitted.queries == 30 and fitted.folds == 5
    assert fitted.better and fitted.gain.interval.low > 0
    after = {query: [hit.key for hit in found.search(text, mode="hybrid", ranking=fitted.proposed.ranking).hits]
             for query, text in QUERIES.items()}  # fmt: skip
    wanted = {query: [hit.key for hit in found.search(text, mode="hybrid", ranking=right).hits]
              for query, text in QUERIES.items()}  # fmt: skip
    same = sum(after[query][:3] == wanted[query][:3] for query in QUERIES)
    assert same >= 24
    assert fitted.as_dict()["proposed"] == fitted.changes


def test_the_formula_is_that_of_searches(products: Pipeline) -> None:
    ranking = Ranking(
        semantic_weight=0.35, static="stock / 10", static_weight=0.3, title="name", title_weight=0.4, decay="added",
        half_life_days=365,
    )  # fmt: skip
    for mode in ("semantic", "keyword", "hybrid"):
        found = searcher(products, ranking)
        for text in list(QUERIES.values())[:5]:
            once = _Found.of(found.rows, found.current, text, mode, 20)
            for tried in (ranking, Ranking(), Ranking(fusion="rrf")):
                hits = found.search(text, mode=mode, limit=20, ranking=tried).hits
                assert once.ranked(Setting(tried), 20) == [hit.key for hit in hits]


class Prefers:
    """A reranker that likes large numbers, and counts the texts that it reads."""

    top, spent = 30, 0.0

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.read: list[tuple[str, str]] = []
        self.problem = ""

    def scores(self, query: str, texts: Sequence[str]) -> Scored:
        self.read += [(query, text) for text in texts]
        return Scored(None, self.problem) if self.problem else Scored([float(text.split()[-1]) for text in texts])

    def warm(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(("now", "right"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_weight_of_the_reranker_is_found_and_no_text_is_read_twice(
    products: Pipeline, now: float, right: float
) -> None:
    judge = Prefers(right)
    found = replace(searcher(products, Ranking()), reranker=judge)
    judged = best_of(found, Ranking())
    judge.weight, judge.read = now, []
    fitted = fit(found, QUERIES, judged, rerank=True)
    assert fitted.better and fitted.now == {"rerank.weight": now}
    assert abs(fitted.changes["rerank.weight"] - right) <= 0.3
    assert len(judge.read) == len(set(judge.read))


def test_a_fit_with_the_weight_of_now_ranks_as_a_search_does(products: Pipeline) -> None:
    judge = Prefers(0.6)
    found = replace(searcher(products, Ranking()), reranker=judge)
    for text in list(QUERIES.values())[:5]:
        once = _Found.of(found.rows, found.current, text, "hybrid", 20, judge)
        hits = found.search(text, mode="hybrid", limit=20).hits
        assert once.ranked(Setting(Ranking(), 0.6), 20) == [hit.key for hit in hits]


def test_a_reranker_that_gives_no_answer_ends_a_fit(products: Pipeline) -> None:
    judge = Prefers(0.5)
    judge.problem = "The reranker failed."
    found = replace(searcher(products, Ranking()), reranker=judge)
    with pytest.raises(SearchError, match="The reranker failed"):
        fit(found, QUERIES, {"1": {"1": 1}, "2": {"2": 1}}, rerank=True)
    with pytest.raises(SearchError, match="has no reranker"):
        fit(searcher(products, Ranking()), QUERIES, {"1": {"1": 1}, "2": {"2": 1}}, rerank=True)


def test_judgements_by_chance_show_no_gain(products: Pipeline) -> None:
    draw = random.Random(5)
    judged = {query: {str(draw.randint(1, 120)): 1 for _ in range(5)} for query in QUERIES}
    fitted = fit(searcher(products, Ranking()), QUERIES, judged)
    assert not fitted.better
    assert fitted.gain.interval.low <= 0


def test_what_is_right_already_stays(products: Pipeline) -> None:
    found = searcher(products, Ranking())
    fitted = fit(found, QUERIES, best_of(found, Ranking()))
    assert (fitted.proposed.ranking, fitted.changes, fitted.better) == (Ranking(), {}, False)
    assert fitted.gain == Gain(0.0, Interval(0.0, 0.0))
    assert set(fitted.not_fitted) == {"static_weight", "title_weight", "half_life_days", "rerank.weight"}


def test_the_measure_is_that_of_queries_left_out(products: Pipeline) -> None:
    """Each query has its own best weight, so what the others teach is worth nothing for it."""
    found = searcher(products, Ranking(semantic_weight=0.5))
    ends = [best_of(found, Ranking(semantic_weight=weight)) for weight in (0.0, 1.0)]
    judged = {query: ends[int(query) % 2][query] for query in QUERIES}
    two = {query: QUERIES[query] for query in ("1", "2")}
    fitted = fit(found, two, judged, folds=5)
    assert (fitted.queries, fitted.folds) == (2, 2)
    assert fitted.gain.mean < 0 and not fitted.better


def test_bad_input_is_named(products: Pipeline) -> None:
    found = searcher(products, Ranking())
    judged = {"1": {"1": 1}, "2": {"2": 1}}
    with pytest.raises(ConfigError, match="Only one query has judgements"):
        fit(found, {"1": "x"}, judged)
    with pytest.raises(ConfigError, match="No query has a judgement"):
        fit(found, {"a": "x"}, judged)
    with pytest.raises(ConfigError, match="Nothing has a weight in the mode 'semantic'"):
        fit(found, QUERIES, judged, mode="semantic")
    with pytest.raises(ConfigError, match="There is no measure 'nCDG'"):
        fit(found, QUERIES, judged, measure="nCDG")
    with pytest.raises(ConfigError, match="folds is 1"):
        fit(found, QUERIES, judged, folds=1)


def test_rows_that_are_not_there_are_found(products: Pipeline) -> None:
    rows = searcher(products, Ranking()).rows
    found = judged_rows(rows, {"a": {"1": 1, "999": 2, "x": 1, "998": 0}, "b": {"01": 1, str(10**40): 1}})
    assert (found.looked_up, sorted(found.missing)) == (5, sorted(["999", "x", "01", str(10**40)]))


# The bootstrap


def test_an_interval_is_that_of_the_percentile_bootstrap() -> None:
    draw = random.Random(1)
    values = [draw.random() for _ in range(200)]
    mean, spread = sum(values) / 200, (sum((v - sum(values) / 200) ** 2 for v in values) / 200) ** 0.5
    low, high = interval(values)
    assert low == pytest.approx(mean - 1.96 * spread / 200**0.5, abs=0.004)
    assert high == pytest.approx(mean + 1.96 * spread / 200**0.5, abs=0.004)
    assert interval(values) == interval(values)
    assert interval([0.5]) == (0.5, 0.5)


def test_a_gain_is_of_the_same_queries() -> None:
    found = gain([0.1, 0.9, 0.5], [0.2, 1.0, 0.6])
    assert found.mean == pytest.approx(0.1) and found.interval == pytest.approx((0.1, 0.1)) and found.shown
    assert not gain([0.0, 1.0], [1.0, 0.0]).shown
    assert str(gain([0.0], [0.25])) == "+0.2500 [+0.2500, +0.2500]"


# The config

CHANGES = {"semantic_weight": 0.75, "fusion": "convex"}
PLAIN = '[pipelines.shop]\nsource = { kind = "sql", url = "sqlite:///s.db", table = "t", key = "id" }  # rows\n'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (PLAIN, PLAIN + '\n[pipelines.shop.search]\nsemantic_weight = 0.75\nfusion = "convex"\n'),
        (
            PLAIN + "\n[pipelines.shop.search] # ranking\n# words\nsemantic_weight = 0.6   # default\n\n# end\n",
            PLAIN + '\n[pipelines.shop.search] # ranking\nfusion = "convex"\n# words\n'
            "semantic_weight = 0.75   # default\n\n# end\n",
        ),
        (
            PLAIN + 'search = { fusion = "rrf", decay = "t" } # ranking\n# the end\n',
            PLAIN + 'search = { fusion = "convex", decay = "t", semantic_weight = 0.75 } # ranking\n# the end\n',
        ),
        (
            PLAIN + 'search = { rerank = { kind = "cohere", model = "m" } }\n',
            PLAIN + 'search = { rerank = { kind = "cohere", model = "m" }, semantic_weight = 0.75,'
            ' fusion = "convex" }\n',
        ),
        (PLAIN + "search = {}\n", PLAIN + 'search = { semantic_weight = 0.75, fusion = "convex" }\n'),
        (
            PLAIN + 'search.fusion = "rrf" # was better\n',
            PLAIN.replace("source", "search.semantic_weight = 0.75\nsource")
            + 'search.fusion = "convex" # was better\n',
        ),
        (
            PLAIN + "\n# ---- the other one\n" + PLAIN.replace("shop", "other"),
            PLAIN + '\n[pipelines.shop.search]\nsemantic_weight = 0.75\nfusion = "convex"\n\n# ---- the other one\n'
            + PLAIN.replace("shop", "other"),
        ),
        (
            PLAIN.replace("[pipelines.shop]\n", "[pipelines.shop]\n").replace("\n", "\r\n"),
            (PLAIN + '\n[pipelines.shop.search]\nsemantic_weight = 0.75\nfusion = "convex"\n').replace("\n", "\r\n"),
        ),
        (
            PLAIN.replace("pipelines.shop", 'pipelines . "shop"') + "\n[ pipelines.'shop' . search ]",
            PLAIN.replace("pipelines.shop", 'pipelines . "shop"')
            + "\n[ pipelines.'shop' . search ]\nsemantic_weight = 0.75\nfusion = \"convex\"\n",
        ),
    ],
)  # fmt: skip
def test_values_change_and_comments_stay(tmp_path: Path, written: str, expected: str) -> None:
    path = tmp_path / "rowvec.toml"
    path.write_bytes(written.encode())
    path.chmod(0o640)
    set_search(path, "shop", CHANGES)
    assert path.read_bytes().decode() == expected
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["rowvec.toml"]


RERANK = 'kind = "cohere", model = "m"'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            '\n[pipelines.shop.search.rerank]\nkind = "cohere"\nmodel = "m"\nweight = 1.0 # all\n',
            '\n[pipelines.shop.search.rerank]\nkind = "cohere"\nmodel = "m"\nweight = 0.5 # all\n',
        ),
        (
            f"\n[pipelines.shop.search]\nrerank = {{ {RERANK} }} # paid\n",
            f"\n[pipelines.shop.search]\nrerank = {{ {RERANK}, weight = 0.5 }} # paid\n",
        ),
        (
            f"search.rerank = {{ weight = 1, {RERANK} }}\n",
            f"search.rerank = {{ weight = 0.5, {RERANK} }}\n",
        ),
    ],
)  # fmt: skip
def test_the_weight_of_the_reranker_is_written_where_it_belongs(tmp_path: Path, more: str, expected: str) -> None:
    path = tmp_path / "rowvec.toml"
    path.write_text(PLAIN + more)
    set_search(path, "shop", {"rerank.weight": 0.5})
    assert path.read_text() == PLAIN + expected
    set_search(path, "shop", {"rerank.weight": 0.25, "semantic_weight": 0.75})
    search = tomllib.loads(path.read_text())["pipelines"]["shop"]["search"]
    assert (search["rerank"]["weight"], search["semantic_weight"]) == (0.25, 0.75)


def test_a_key_without_a_value_goes(tmp_path: Path) -> None:
    path = tmp_path / "rowvec.toml"
    for more in ('\n[pipelines.shop.search]\ndecay = "t"\nhalf_life_days = 30 # a month\n',
                 'search = { decay = "t", half_life_days = 30 }\n', 'search = { half_life_days = 30, decay = "t" }\n',
                 'search.decay = "t"\nsearch.half_life_days = 30\n'):  # fmt: skip
        path.write_text(PLAIN + more)
        set_search(path, "shop", {"half_life_days": None})
        assert tomllib.loads(path.read_text())["pipelines"]["shop"]["search"] == {"decay": "t"}


@pytest.mark.parametrize(
    "more",
    [
        '[pipelines."sh\\u006fp".search]\nsemantic_weight = 0.5\n',
        'search = { decay = """t}""", semantic_weight = 0.5 }\n',
    ],
)
def test_what_is_written_in_another_way_is_left_alone(tmp_path: Path, more: str) -> None:
    path = tmp_path / "rowvec.toml"
    path.write_text(PLAIN + more)
    with pytest.raises(ConfigError, match="was not changed") as refused:
        set_search(path, "shop", CHANGES)
    assert 'semantic_weight = 0.75\nfusion = "convex"' in (refused.value.hint or "")
    assert path.read_text() == PLAIN + more


def test_a_value_that_the_config_refuses_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rowvec.toml"
    path.write_text(PLAIN)
    with pytest.raises(ConfigError, match="semantic_weight"):
        set_search(path, "shop", {"semantic_weight": 2})
    assert path.read_text() == PLAIN and len(list(tmp_path.iterdir())) == 1


def test_a_config_that_was_broken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rowvec.toml"
    path.write_text("[pipelines.p\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        set_search(path, "p", {"semantic_weight": 0.5})
    assert path.read_text() == "[pipelines.p\n"
