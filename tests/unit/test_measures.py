"""Measures of a ranking, the files they are computed from, and the recall of an index."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from benchmarks.relevance_data import cpv, hf_datasets, icecat, vaswani

from rowvec.errors import ConfigError, MissingExtraError, SearchError
from rowvec.evaluation.files import queries_of, read_judgements, read_queries
from rowvec.evaluation.measures import MEASURES, evaluate

QUERIES = {"1": "lamp", "2": "chair"}
JUDGEMENTS = {"1": {"a": 3, "b": 0, "c": 1}, "2": {"x": 2}}
RANKINGS = {"lamp": ["b", "q", "a", "r", "c"], "chair": ["y", "x"]}


def ranked(query: str, limit: int) -> list[str]:
    return RANKINGS[query][:limit]


def discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


# Measures


def test_measures_have_the_values_that_their_definitions_give() -> None:
    found = evaluate(ranked, QUERIES, JUDGEMENTS, ["nDCG@10", "recall@3", "MRR@10", "precision@2", "MAP", "nDCG@3"])
    ideal = 3 * discount(1) + 1 * discount(2)
    assert found.per_query["nDCG@10"] == pytest.approx({"1": (3 * discount(3) + discount(5)) / ideal, "2": discount(2)})
    assert found.per_query["nDCG@3"] == pytest.approx({"1": 3 * discount(3) / ideal, "2": discount(2)})
    assert found.per_query["recall@3"] == {"1": 0.5, "2": 1.0}
    assert found.per_query["MRR@10"] == pytest.approx({"1": 1 / 3, "2": 1 / 2})
    assert found.per_query["precision@2"] == {"1": 0.0, "2": 0.5}
    assert found.per_query["MAP"] == pytest.approx({"1": (1 / 3 + 2 / 5) / 2, "2": 1 / 2})
    assert found.means["MRR@10"] == pytest.approx(5 / 12)


def test_a_condensed_list_leaves_unjudged_documents_out() -> None:
    found = evaluate(ranked, QUERIES, JUDGEMENTS, ["MRR@10", "nDCG@2"], condensed=True)
    assert found.per_query["MRR@10"] == {"1": 0.5, "2": 1.0}
    assert found.per_query["nDCG@2"]["1"] == pytest.approx(3 * discount(2) / (3 * discount(1) + discount(2)))
    assert found.depth == 1_000


def test_the_share_of_judged_documents_is_that_before_condensing() -> None:
    for condensed in (False, True):
        assert evaluate(ranked, QUERIES, JUDGEMENTS, ["nDCG@4"], condensed=condensed).judged == 3 / 6


def test_equal_scores_of_a_search_do_not_reorder_its_ranking() -> None:
    keys = [f"{number}" for number in range(9, 0, -1)]
    found = evaluate(lambda query, limit: keys, {"1": "x"}, {"1": {"9": 1}}, ["MRR@10"])
    assert found.means == {"MRR@10": 1.0}


def test_keys_of_any_type_are_compared_as_text() -> None:
    found = evaluate(lambda query, limit: [7, 8], {"1": "x"}, {"1": {"8": 1}}, ["MRR@10"])
    assert found.means == {"MRR@10": 0.5}


def test_a_ranking_that_finds_nothing_scores_zero() -> None:
    found = evaluate(lambda query, limit: [], QUERIES, JUDGEMENTS)
    assert found.means == dict.fromkeys(MEASURES, 0.0)
    assert found.judged == 0.0


def test_queries_without_judgements_are_named_and_neither_run_nor_counted() -> None:
    asked = []

    def run(query: str, limit: int) -> list[str]:
        asked.append(query)
        return ranked(query, limit)

    found = evaluate(run, QUERIES | {"3": "never judged"}, JUDGEMENTS | {"4": {"z": 1}}, ["MRR@10"])
    assert asked == ["lamp", "chair"]
    assert found.unjudged == ("3",)
    assert found.unasked == ("4",)
    assert found.queries == 2
    assert found.means["MRR@10"] == pytest.approx(5 / 12)


def test_queries_without_a_relevant_document_are_named_and_count_as_zero() -> None:
    found = evaluate(ranked, QUERIES, {"1": {"a": 0}, "2": {"y": 1}}, ["MRR@10"])
    assert found.irrelevant == ("1",)
    assert found.means == {"MRR@10": 0.5}


def test_a_measure_has_one_name_in_the_result_however_it_is_asked_for() -> None:
    found = evaluate(ranked, QUERIES, JUDGEMENTS, ["ndcg@10", "R@5", "recall@5", "rr", " P@5 ", "ap"])
    assert list(found.means) == ["nDCG@10", "recall@5", "MRR", "precision@5", "MAP"]


def test_the_depth_is_the_largest_cutoff_unless_said() -> None:
    limits: list[int] = []

    def run(query: str, limit: int) -> list[str]:
        limits.append(limit)
        return ["a"]

    evaluate(run, QUERIES, JUDGEMENTS, ["nDCG@10", "recall@50"])
    evaluate(run, QUERIES, JUDGEMENTS, ["nDCG@10"], depth=20)
    assert limits == [50, 50, 20, 20]


@pytest.mark.parametrize("measure", ["", "foo@10", "nDCG@0", "nDCG@-1", "nDCG@x", "recall", "precision", "nDCG@10@10"])
def test_an_unknown_measure_is_refused(measure: str) -> None:
    with pytest.raises(ConfigError, match="There is no measure"):
        evaluate(ranked, QUERIES, JUDGEMENTS, [measure])


def test_arguments_that_measure_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="no measure to compute"):
        evaluate(ranked, QUERIES, JUDGEMENTS, [])
    with pytest.raises(ConfigError, match="nDCG@10 needs 10 documents a query; only 5"):
        evaluate(ranked, QUERIES, JUDGEMENTS, ["nDCG@10"], depth=5)
    with pytest.raises(ConfigError, match="queries are named '1', '2', judgements are of 'lamp'"):
        evaluate(ranked, QUERIES, {"lamp": {"a": 1}})


def test_a_ranking_with_a_key_twice_is_an_error() -> None:
    with pytest.raises(SearchError, match="query '1' holds the key 7 twice"):
        evaluate(lambda query, limit: [7, 8, 7], {"1": "x"}, {"1": {"7": 1}})


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r"rowvec\[eval\]"):
        evaluate(ranked, QUERIES, JUDGEMENTS)


def test_an_evaluation_is_written_as_json() -> None:
    found = evaluate(ranked, QUERIES, JUDGEMENTS, ["MRR@10"])
    written = json.loads(json.dumps(found.as_dict()))
    assert written["means"] == found.means
    assert written["per_query"] == {"MRR@10": {"1": 1 / 3, "2": 0.5}}
    assert written["queries"] == 2


# Files

JUDGED = {"1": {"7": 3, "8": 0}, "2": {"7": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "query,docid,rating\n1,7,3\n1,8,0\n2,7,1\n",
        "\ufeffqid;doc_id;relevance\r\n1;7;3.0\r\n\r\n1;8;0\r\n2;7;1",
        "query-id\tcorpus-id\tscore\n1\t7\t3\n1\t8\t0\n2\t7\t1\n",
        '{"query": 1, "docid": 7, "rating": 3}\n{"query": "1", "docid": "8", "rating": 0}\n\n'
        '{"query_id": 2, "doc_id": 7, "relevance": 1.0}\n',
        "1 0 7 3\n1 Q0 8 0\n\n2\t0\t7\t1\n",
    ],
    ids=["csv", "semicolons", "tsv", "jsonl", "trec"],
)
def test_judgements_are_read_from_every_format(tmp_path: Path, text: str) -> None:
    path = tmp_path / "judgements"
    path.write_text(text, "utf-8")
    assert read_judgements(path) == JUDGED


@pytest.mark.parametrize(
    "text",
    [
        'id,query\n1,"red, lamp"\n2,chair\n',
        "text\tqid\nred, lamp\t1\nchair\t2\n",
        '{"_id": "1", "text": "red, lamp"}\n{"_id": 2, "text": "chair"}\n',
        "<top>\n<num>1</num><title>\nred,\n lamp\n</title>\n</top>\n<top><num>2</num><title>chair</title></top>",
        "<TOP>\n<num> Number: 1\n<title> Topic: red, lamp\n\n<desc> Description:\nx\n</TOP>\n"
        "<top>\n<num> 2\n<title> chair\n</top>",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topics>\n<topics task="x">\n<!-- <topic number="0"> -->\n'
        '<topic number="1">\n<query>red, lamp</query><question>q?</question>\n</topic>\n'
        "<topic id='2' type=\"x\"><title>chair</title></topic></topics>",
        '<?xml version="1.0"?>\n<top>\n<num>1</num><title>red, lamp</title>\n</top>\n'
        "<top><num>2</num><title>chair</title></top>",
    ],
    ids=["csv", "tsv", "jsonl", "trec", "old trec", "xml", "trec with a prolog"],
)
def test_queries_are_read_from_every_format(tmp_path: Path, text: str) -> None:
    path = tmp_path / "queries"
    path.write_text(text, "utf-8")
    assert read_queries(path) == {"1": "red, lamp", "2": "chair"}


def test_signs_that_xml_escapes_are_read_and_those_of_old_files_stay(tmp_path: Path) -> None:
    topic = "<top><num>1</num><title>{}</title></top>"
    (tmp_path / "xml").write_text('<?xml version="1.0"?>' + topic.format("R&amp;D &lt; 5 &#228;"))
    (tmp_path / "old").write_text(topic.format("R&D &copy"))
    assert read_queries(tmp_path / "xml") == {"1": "R&D < 5 ä"}
    assert read_queries(tmp_path / "old") == {"1": "R&D &copy"}


def test_queries_without_ids_are_their_own(tmp_path: Path) -> None:
    (tmp_path / "queries.csv").write_text("query\nred lamp\nchair\n")
    assert read_queries(tmp_path / "queries.csv") == {"red lamp": "red lamp", "chair": "chair"}
    assert queries_of({"red lamp": {"1": 1}}) == {"red lamp": "red lamp"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("query,docid,rating\n", "holds no judgement"),
        ("query,docid,rating\n1,7,3\n1,8\n", "line 3: there are 2 values for 3 columns"),
        ("query,docid,rating\n1,7,good\n", "line 2: the rating 'good' is not a whole number"),
        ("query,docid,rating\n1,7,0.5\n", "line 2: the rating '0.5' is not a whole number"),
        ("query,docid,rating\n1,,3\n", "line 2: 'docid' holds no document"),
        ("query,docid,rating\n1,7,3\n2,7,3\n1,7,2\n", "line 4: the document '7' of query '1' is here a second time"),
        ("query,rating\n1,3\n", "line 2: there is no document, only 'query', 'rating'"),
        ('query,docid,rating\n1,"7,3\n', "this is not CSV"),
        ('{"query": 1, "docid": 7, "rating": 3}\n{"query": 1,\n', "line 2: this is not JSON"),
        ('{"query": 1, "docid": 7, "rating": 3}\n[1]\n', "line 2: expected an object"),
        ('{"query": 1, "docid": [7], "rating": 3}\n', "line 1: 'docid' holds no document"),
        ('{"query": 1, "docid": 7, "rating": true}\n', "line 1: 'rating' holds no rating"),
        ("1 0 7 3\n1 0 8\n", "line 2: there are 3 values where"),
        ("1 0 7 3\n1 0 8 x\n", "line 2: the rating 'x' is not"),
        ("1 7 3\n2 8 1\n", "line 1: there are 3 values where query, iteration, document and rating belong"),
        ("1 Q0 7 1 0.9 run\n", "line 1: there are 6 values where"),
        ("1\t7\t3\n", "line 1: there are 3 values where"),
    ],
)
def test_a_wrong_line_of_judgements_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "judgements.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_judgements(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,query\n", "holds no query"),
        ("id,query\n1,lamp\n1,chair\n", "line 3: the query '1' is here a second time"),
        ("id,name\n1,lamp\n", "line 2: there is no text of the query, only 'id', 'name'"),
        (
            "<top>\n<num>1</num><title>x</title>\n</top>\n<top>\n<num>2</num>\n</top>",
            "line 4: this topic has no <title>",
        ),
        ("<top>\n<title>x</title>\n</top>", "line 1: this topic has no <num>"),
        ('<?xml version="1.0"?>\n<topics>\n<topic number="1"></topic>\n</topics>', "line 3: this topic has no <title>"),
        ('<?xml version="1.0"?>\n<!-- a\nb -->\n<topic><query>x</query></topic>', "line 4: this topic has no <num>"),
        ('<?xml version="1.0"?>\n<topics></topics>', "holds no query"),
        ("<top></top>", "line 1: this topic has no <num>"),
    ],
)
def test_a_wrong_line_of_queries_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "queries"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_queries(path)
    assert said in str(caught.value)


def test_files_in_the_wrong_order_are_told_so(tmp_path: Path) -> None:
    (tmp_path / "queries.csv").write_text("id,query\n1,plants\n")
    with pytest.raises(ConfigError, match="as in a file of queries") as caught:
        read_judgements(tmp_path / "queries.csv")
    assert caught.value.hint == "The queries come first, and the judgements second."


@pytest.mark.parametrize("text", ["", "query,docid,rating\n1,3,good\n", "query,docid,rating\n", "query,docid\n1,3\n"])
def test_an_error_about_a_file_says_how_it_is_written(text: str, tmp_path: Path) -> None:
    (tmp_path / "judgements.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_judgements(tmp_path / "judgements.csv")
    assert caught.value.hint


def test_a_file_that_is_absent_or_not_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_queries(tmp_path / "none.csv")
    (tmp_path / "binary").write_bytes(b"id,query\n1,\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8: byte 11 is 0xff"):
        read_queries(tmp_path / "binary")


# Real data


def test_the_real_collections_are_read_whole(data: Path) -> None:
    trec, products = vaswani(), icecat()
    assert (len(trec.rows), len(trec.queries), sum(map(len, trec.judgements.values()))) == (11_429, 93, 2_083)
    assert (len(products.rows), len(products.queries), sum(map(len, products.judgements.values()))) == (
        19_406,
        63,
        1_801,
    )
    assert trec.queries["1"].startswith("measurement of dielectric constant")
    for collection in (trec, products):
        keys = {str(row[collection.key]) for row in collection.rows}
        judged = [key for ratings in collection.judgements.values() for key in ratings]
        assert sum(key in keys for key in judged) / len(judged) > 0.9
    assert len(hf_datasets()) == 7_433
    assert len(cpv()) == 9_454


def test_a_perfect_ranking_of_real_judgements_scores_one(data: Path) -> None:
    collection = vaswani()
    best = {collection.queries[query]: list(ratings) for query, ratings in collection.judgements.items()}
    found = evaluate(lambda query, limit: best[query][:limit], collection.queries, collection.judgements)
    assert found.queries == 93
    assert found.means["nDCG@10"] == found.means["MRR@10"] == found.judged == 1.0
