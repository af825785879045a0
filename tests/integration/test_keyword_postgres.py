"""The keyword index on a real PostgreSQL, against a naive BM25 and against Vaswani's judgements."""

from __future__ import annotations

import csv
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from psycopg import sql

from rowvec.errors import StoreError
from rowvec.stores.postgres.connect import connect
from rowvec.stores.postgres.keyword_index.index import KeywordIndex
from rowvec.stores.postgres.keyword_index.matching import best_of, hits_of, matched, up_to_date
from rowvec.stores.postgres.keyword_index.postings import ENTRY, TERMS, batches
from rowvec.stores.postgres.keyword_index.reach import Expected
from rowvec.stores.postgres.keyword_index.scoring import scored
from rowvec.stores.postgres.session import Cursor
from rowvec.words import Analyzer

Connection = psycopg.Connection[Any]
CODES = {1: "Brake pads SABO520067C", 2: "Brake pads SABO-520067C, front", 3: "Xerox 006R90321 toner", 4: "MQ2K2ZD/A"}


@pytest.fixture
def conn(postgres_url: str) -> Iterator[Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def index(conn: Connection) -> KeywordIndex:
    return make(conn)


def make(conn: Connection, name: str = "v", language: str = "english", key_type: str = "bigint") -> KeywordIndex:
    conn.execute(sql.SQL(f"create table if not exists {{}} (id {key_type} primary key, price int)").format(_name(name)))
    index = KeywordIndex(("public", name), "id", key_type, language)
    index.create(conn)
    return index


def _name(name: str) -> sql.Identifier:
    return sql.Identifier("public", name)


def fill(conn: Connection, index: KeywordIndex, texts: dict[Any, str]) -> None:
    table = _name(index.table[1])
    with conn.transaction():
        rows = [(key, key if isinstance(key, int) else 0) for key in texts]
        conn.cursor().executemany(sql.SQL("insert into {} values (%s, %s) on conflict do nothing").format(table), rows)
        index.upsert(conn, list(texts), list(texts.values()))


def found(conn: Connection, index: KeywordIndex, query: str, limit: int = 10) -> list[Any]:
    return [key for key, _ in index.search(conn, query, limit)]


def naive_bm25(texts: dict[int, str], query: str) -> list[tuple[int, float]]:
    words = Analyzer("english")
    counted = {key: Counter(words.terms(text)) for key, text in texts.items()}
    average = sum(c.total() for c in counted.values()) / len(counted)
    scores: Counter[int] = Counter()
    for word, weight in words.query(query).items():
        holders = {key: c[word] for key, c in counted.items() if c[word]}
        idf = math.log(1 + (len(counted) - len(holders) + 0.5) / (len(holders) + 0.5))
        for key, count in holders.items():
            scores[key] += weight * idf * count / (count + 1.2 * (0.25 + 0.75 * counted[key].total() / average))  # type: ignore[assignment]
    return sorted(scores.items(), key=lambda hit: (-round(hit[1], 9), hit[0]))


def random_texts(keys: range, seed: int) -> dict[int, str]:
    dice = random.Random(seed)
    vocabulary = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}zq" for n in range(60)]
    return {key: " ".join(dice.choices(vocabulary, range(60, 0, -1), k=dice.randint(1, 25))) for key in keys}


def assert_same(hits: list[tuple[Any, float]], expected: list[tuple[int, float]]) -> None:
    assert [key for key, _ in hits] == [key for key, _ in expected]
    assert [score for _, score in hits] == pytest.approx([score for _, score in expected])


@pytest.mark.parametrize("batches", [1, 20])
def test_scores_are_those_of_bm25_however_many_writes_made_the_index(
    conn: Connection, index: KeywordIndex, batches: int
) -> None:
    texts = random_texts(range(200), seed=1)
    for start in range(batches):
        fill(conn, index, {key: text for key, text in texts.items() if key % batches == start})
    for query in ("bazq", "aazq mazq kbzq", "zbzq zzzz aazq", "aazq bazq aazq cazq bazq aazq"):
        assert_same(index.search(conn, query, 15), naive_bm25(texts, query)[:15])


def test_a_rebuild_after_updates_and_deletes_leaves_the_index_of_a_fresh_one(
    conn: Connection, index: KeywordIndex
) -> None:
    texts = random_texts(range(300), seed=2)
    fill(conn, index, texts)
    changed = random_texts(range(0, 300, 3), seed=3)
    fill(conn, index, changed)
    index.delete(conn, list(range(0, 300, 7)))
    texts = {key: text for key, text in {**texts, **changed}.items() if key % 7}
    index.rebuild(conn)
    assert index.count(conn) == len(texts)
    assert conn.execute("select count(*) = count(distinct word) from v__postings").fetchone() == (True,)
    for query in ("bazq", "aazq mazq kbzq"):
        assert_same(index.search(conn, query, 500), naive_bm25(texts, query))


@pytest.mark.parametrize(
    "expected",
    [
        None, Expected(1, 1e-9), Expected(40, 0.03), Expected(10**6, 1.0), Expected(40, 0.03, [sql.SQL("t.id >= 0")]),
        Expected(10**6, 1.0, [sql.SQL("t.id < 50"), sql.SQL("not t.id < 50")]),
    ],
)  # fmt: skip
def test_a_filter_finds_the_same_whatever_the_planner_expects(
    conn: Connection, index: KeywordIndex, expected: Expected | None
) -> None:
    texts = random_texts(range(1_500), seed=4)
    fill(conn, index, texts)
    texts |= (changed := random_texts(range(0, 1_500, 3), seed=5))
    fill(conn, index, changed)
    best, passes = naive_bm25(texts, "bazq mazq"), sql.SQL("t.price < %s")
    for limit in (1, 20, 400):
        for most in (3, 100, 1_200):
            found = index.search(conn, "bazq mazq", limit, passes, [most], None, expected)
            # Replaced versions count as texts: scores are not those of a fresh index.
            assert len(found) == min(limit, sum(key < most for key, _ in best))
            passing = set(range(most))
            assert found == [hit for hit in index.search(conn, "bazq mazq", 1_500) if hit[0] in passing][:limit]


def test_a_search_is_two_statements_unless_a_row_is_written_between_them(
    postgres_url: str, conn: Connection, index: KeywordIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(conn, index, {1: "brake pads", 2: "brake disc"})
    asked, written = list[bytes](), list[dict[Any, str]]()
    execute, read = Cursor.execute, KeywordIndex._scores

    def noted(self: Cursor, query: Any, *given: Any, **options: Any) -> Cursor:
        asked.append(query)
        return execute(self, query, *given, **options)

    def scores(self: KeywordIndex, *given: Any) -> Any:
        found = read(self, *given)
        while written:
            fill(conn, index, written.pop())
        return found

    monkeypatch.setattr(Cursor, "execute", noted)
    monkeypatch.setattr(KeywordIndex, "_scores", scores)
    with connect(postgres_url, "test") as session:
        asked.clear()
        assert found(session, index, "brake") == [1, 2]
        assert len(asked) == 2
        # The version that was read is dead by the time its row is looked up.
        written.append({1: "brake pads, ceramic"})
        assert found(session, index, "brake") == [2, 1]
        assert found(session, index, "nothing of this") == []


def rebuilt_and_written(conn: Connection, index: KeywordIndex) -> None:
    """The dead version is dropped, and row 1 gets a new one."""
    index.rebuild(conn)
    fill(conn, index, {1: "brake pads, ceramic"})


def made_again(conn: Connection, index: KeywordIndex) -> None:
    """Numbers of segments and of versions begin with 1 again, for other rows than before."""
    index.drop(conn)
    index.create(conn)
    fill(conn, index, {1: "lamp", 2: "brake disc"})
    fill(conn, index, {3: "wheel"})


def number_of_versions(conn: Connection) -> Any:
    return conn.execute("select sum(written) from v__segments").fetchone()


@pytest.mark.parametrize(("change", "keys"), [(rebuilt_and_written, [2, 1]), (made_again, [2])])
def test_as_many_versions_as_before_are_not_taken_for_the_same_ones(
    postgres_url: str,
    conn: Connection,
    index: KeywordIndex,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Connection, KeywordIndex], None],
    keys: list[int],
) -> None:
    fill(conn, index, {1: "brake pads", 2: "brake disc"})
    fill(conn, index, {2: "brake disc"})
    before, read, changes = number_of_versions(conn), KeywordIndex._scores, [change]

    def scores(self: KeywordIndex, *given: Any) -> Any:
        found = read(self, *given)
        while changes:
            changes.pop()(conn, index)
        return found

    part = matched(conn, index, "brake", None)
    monkeypatch.setattr(KeywordIndex, "_scores", scores)
    with connect(postgres_url, "test") as session:
        assert found(session, index, "brake") == keys
        assert number_of_versions(conn) == before
        # So it is in a table that holds a part of the rows.
        chosen = scored(part.entries, part.weights, part.counts)
        assert hits_of(session, index, *chosen, 10, None, (), None)[1] != part.edition
        now = up_to_date(session, index, part, "brake", None)
        assert [key for key, _ in best_of(session, index, now, now.counts, 10, None, (), None)] == keys


def test_an_index_is_of_the_same_edition_until_a_version_is_written(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "brake pads", 2: "brake disc"})
    part = matched(conn, index, "brake", None)
    index.delete(conn, [2])
    assert matched(conn, index, "brake", None).edition == part.edition
    editions = {part.edition}
    for _ in range(40):
        fill(conn, index, {1: "brake pads"})
        editions.add(matched(conn, index, "brake", None).edition)
    assert len(editions) == 41
    assert conn.execute("select count(*) < 20 from v__segments").fetchone() == (True,)


def test_an_updated_text_is_found_by_its_new_words_only(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle", 2: "red tractor"})
    fill(conn, index, {1: "green boat"})
    assert found(conn, index, "bicycle red") == [2]
    assert found(conn, index, "boat") == [1]
    assert index.count(conn) == 2


def test_a_deleted_key_is_not_found_and_may_come_back(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle", 2: "red tractor"})
    index.delete(conn, [1, 99])
    assert found(conn, index, "red") == [2]
    fill(conn, index, {1: "red bicycle"})
    assert found(conn, index, "red") == [1, 2]


def test_the_index_says_which_keys_it_knows(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle", 2: "", 3: "red tractor"})
    index.delete(conn, [3])
    assert index.known(conn, [1, 2, 3, 4]) == {1, 2}


def test_words_of_an_older_format_stay_and_are_not_taken_for_known(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle", 2: "red tractor"})
    index.outdate(conn)
    assert index.is_current(conn)
    assert index.known(conn, [1, 2]) == set()
    fill(conn, index, {2: "red tractor"})
    assert index.known(conn, [1, 2]) == {2}
    assert found(conn, index, "red") == [1, 2]
    index.rebuild(conn)
    assert found(conn, index, "bicycle") == [1]
    assert index.count(conn) == 2


def test_the_index_says_its_language_until_it_is_dropped(conn: Connection, index: KeywordIndex) -> None:
    assert index.language_of(conn) == "english"
    index.drop(conn)
    assert index.language_of(conn) is None


def test_a_key_given_twice_has_its_last_text(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: ""})
    index.upsert(conn, [1, 1], ["first", "second"])
    assert found(conn, index, "first") == []
    assert found(conn, index, "second") == [1]


def test_a_rolled_back_write_leaves_no_trace(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle"})
    with conn.transaction(force_rollback=True):
        index.upsert(conn, [1], ["green boat"])
    assert found(conn, index, "boat") == []
    assert found(conn, index, "bicycle") == [1]


def test_a_row_whose_vector_was_deleted_by_hand_is_no_hit(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "red bicycle", 2: "red tractor"})
    conn.execute("delete from v where id = 1")
    assert found(conn, index, "red") == [2]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("SABO520067C", {1, 2}),
        ("sabo520067c", {1, 2}),
        ("SABO-520067C", {1, 2}),
        ("520067C", {2}),
        ("006r90321", {3}),
        ("MQ2K2ZDA", {4}),
        ("mq2k2zd/a", {4}),
    ],
)
def test_codes_are_found_by_any_spelling(conn: Connection, index: KeywordIndex, query: str, keys: set[int]) -> None:
    fill(conn, index, CODES)
    assert set(found(conn, index, query)) == keys


@pytest.mark.parametrize(
    "query", ["", "  ", "the of and", "😀", "\0", "-", "x" * 10_000, "'; drop table v; --", "\ud800"]
)
def test_a_query_without_a_known_word_finds_nothing(conn: Connection, index: KeywordIndex, query: str) -> None:
    fill(conn, index, CODES)
    assert index.search(conn, query, 10) == []


def test_odd_texts_are_stored_and_their_plain_words_found(conn: Connection, index: KeywordIndex) -> None:
    odd = {
        1: "needle\0needle 😀",
        2: "w" * 10_000 + " needle",
        3: "needle <b>tag</b> & &amp; \ud800 'quote' \\",
        4: " ".join(f"нит{n:x}ка-{n}" for n in range(30_000)) + " needle",
        5: "needle " + "1.1" * 30_000 + "__",
        6: "",
        7: "tag",
    }
    fill(conn, index, odd)
    assert set(found(conn, index, "needle")) == {1, 2, 3, 5}, "the word of text 4 lies beyond the indexed part"
    assert set(found(conn, index, "tag")) == {3, 7}


def test_a_query_of_very_many_words_is_answered_from_the_first_200(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "wordaa", 2: "wordzz"})
    query = "wordaa " + " ".join(f"filler{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(400)) + " wordzz"
    assert found(conn, index, query) == [1]


def test_equal_scores_come_in_key_order_whatever_the_order_of_writing(conn: Connection, index: KeywordIndex) -> None:
    keys = list(range(3_000))
    random.Random(5).shuffle(keys)
    fill(conn, index, dict.fromkeys(keys, "twin words"))
    assert found(conn, index, "twin", 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("below", "limit"), [(1_500, 10), (7, 10), (3_000, 50), (0, 10)])
def test_a_filter_never_takes_hits_away_that_match(
    conn: Connection, index: KeywordIndex, below: int, limit: int
) -> None:
    # The longer the text, the worse its score: those that pass the filter are the last of all.
    fill(conn, index, {key: "needle " + "hay " * (40 - key // 75) for key in range(3_000)})
    hits = index.search(conn, "needle", limit, sql.SQL("t.price < %s"), [below])
    assert len(hits) == min(limit, below)
    assert all(int(str(key)) < below for key, _ in hits)
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)


def test_dead_versions_do_not_crowd_out_live_ones(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, dict.fromkeys(range(300), "needle hay hay hay"))
    for _ in range(8):
        fill(conn, index, dict.fromkeys(range(290), "needle"))
    fill(conn, index, dict.fromkeys(range(290), "nothing"))
    assert found(conn, index, "needle", 20) == list(range(290, 300))
    assert index.needs_rebuild(conn)
    index.rebuild(conn)
    assert not index.needs_rebuild(conn)
    assert found(conn, index, "needle", 20) == list(range(290, 300))


def test_segments_are_merged_as_they_pile_up(conn: Connection, index: KeywordIndex) -> None:
    for key in range(200):
        fill(conn, index, {key: f"common rare{key}"})
    assert conn.execute("select count(*) < 25 from v__postings where word = 'common'").fetchone() == (True,)
    assert len(found(conn, index, "common", 500)) == 200


@pytest.mark.parametrize(
    ("language", "text", "query", "hit"),
    [
        ("russian", "Бумага для ПРИНТЕРОВ", "принтер", True),
        ("russian", "Бумага для принтеров", "для", False),
        ("simple", "Żółta łódź", "ŻÓŁTA", True),
        ("simple", "the end", "the", True),
        ("german", "Häuser", "Haus", True),
        ("polish", "zgłoszenie o samochodach", "samochodami", True),
    ],
)
def test_the_language_decides_stems_and_stop_words(
    conn: Connection, language: str, text: str, query: str, hit: bool
) -> None:
    index = make(conn, language=language)
    fill(conn, index, {1: text})
    assert found(conn, index, query) == ([1] if hit else [])


def test_an_unknown_language_is_refused_with_those_that_exist(conn: Connection) -> None:
    with pytest.raises(StoreError, match=r"'polsih'.*\"polish\".*english.*simple"):
        make(conn, language="polsih")


def test_another_language_than_that_of_the_index_is_refused(conn: Connection, index: KeywordIndex) -> None:
    index.create(conn)
    with pytest.raises(StoreError, match=r"'english'.*'russian'"):
        make(conn, language="russian")


@pytest.mark.parametrize(
    ("key_type", "keys"), [("text", ["a", "ß'", ""]), ("uuid", [UUID(int=1), UUID(int=2), UUID(int=3)])]
)
def test_keys_of_every_type_come_back_as_they_went_in(conn: Connection, key_type: str, keys: list[Any]) -> None:
    index = make(conn, "odd keys", key_type=key_type)
    fill(conn, index, dict.fromkeys(keys, "needle"))
    assert set(found(conn, index, "needle")) == set(keys)
    index.delete(conn, keys[:1])
    assert set(found(conn, index, "needle")) == set(keys[1:])


def test_tables_are_swapped_by_renaming_in_one_transaction(conn: Connection, index: KeywordIndex) -> None:
    following = make(conn, "w" * 60)
    fill(conn, index, {1: "old"})
    fill(conn, following, {1: "new"})
    with conn.transaction():
        for old, name in ((index, "v__previous"), (following, "v")):
            table = sql.SQL("alter table {} rename to {}").format(_name(old.table[1]), sql.Identifier(name))
            conn.execute(table)
            old.rename(conn, name)
    assert found(conn, index, "new") == [1]
    previous = KeywordIndex(("public", "v__previous"), "id", "bigint", "english")
    assert found(conn, previous, "old") == [1]
    previous.drop(conn)
    assert not previous.exists(conn)
    assert index.exists(conn)


def test_writers_of_disjoint_keys_and_a_rebuilder_do_not_hinder_each_other(
    conn: Connection, index: KeywordIndex, postgres_url: str
) -> None:
    conn.execute("insert into v select generate_series(0, 599)")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(postgres_url, autocommit=True) as own:
                for turn in range(12):
                    with own.transaction():
                        keys = list(range(number * 200, number * 200 + 200))[:: 1 if turn % 2 else -1]
                        index.upsert(own, keys, [f"shared turn{turn} key{key}" for key in keys])
                        index.delete(own, keys[:3])
                    if number == 2:
                        index.rebuild(own)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(found(conn, index, "shared", 1_000)) % 197 == 0, "a search saw half a transaction"
    assert not errors
    index.rebuild(conn)
    assert (
        index.count(conn) == len(found(conn, index, "shared", 1_000)) == len(found(conn, index, "turn11", 1_000)) == 591
    )
    assert found(conn, index, "turn10") == []


def test_two_writers_of_the_same_keys_wait_for_each_other(
    conn: Connection, index: KeywordIndex, postgres_url: str
) -> None:
    fill(conn, index, dict.fromkeys(range(50), "start"))
    errors: list[BaseException] = []

    def work(word: str, step: int) -> None:
        try:
            with psycopg.connect(postgres_url, autocommit=True) as own:
                for _ in range(15):
                    with own.transaction():
                        keys = list(range(50))[::step]
                        index.upsert(own, keys, [f"{word} text"] * 50)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=args) for args in (("left", 1), ("right", -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert index.count(conn) == 50
    assert len(found(conn, index, "left", 99)) in (0, 50)
    assert len(found(conn, index, "text", 99)) == 50


def test_an_update_does_not_read_the_postings(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, random_texts(range(500), seed=6))
    for name in ("place", "delete"):
        plan = conn.execute(sql.SQL("explain ") + index.sql(name), {"keys": [1], "lengths": [1]}).fetchall()
        assert not [line for (line,) in plan if "Scan" in line and "v__postings" in line]


def test_vaswani_is_ranked_as_well_as_by_a_bm25_library(conn: Connection, data: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    folder = data / "vaswani"
    documents = re.findall(r"<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", (folder / "doc-text.trec").read_text(), re.S)
    queries = re.findall(r"<num>(\d+)</num>\s*<title>(.*?)</title>", (folder / "query-text.trec").read_text(), re.S)
    with (folder / "qrels").open() as lines:
        judgements = [ir_measures.Qrel(q, d, int(grade)) for q, _, d, grade in csv.reader(lines, delimiter=" ")]
    index = make(conn)
    fill(conn, index, {int(key): text for key, text in documents})
    run = [
        ir_measures.ScoredDoc(number, str(key), score)
        for number, query in queries
        for key, score in index.search(conn, query, 10)
    ]
    assert ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judgements, run)[ir_measures.nDCG @ 10] >= 0.42


def test_a_batch_is_cut_by_its_words_too() -> None:
    text = " ".join(f"w{n}" for n in range(TERMS // 100 + 1))
    found = list(batches(list(range(250)), [text] * 250, Analyzer("simple"), 1_000))
    assert [key for batch in found for key in batch.keys] == list(range(250))
    assert [len(batch.keys) for batch in found] == [100, 100, 50]


def held(conn: Connection, index: KeywordIndex) -> tuple[list[Any], list[Any]]:
    """Every row of the documents and of the postings, its entries by key in place of the number of a version."""
    numbers = dict(conn.execute("select document, key from v__documents").fetchall())
    documents = conn.execute("select key, length from v__documents order by key").fetchall()
    postings = []
    for word, packed in conn.execute("select word, entries from v__postings order by word"):
        entries = np.frombuffer(packed, ENTRY)
        postings.append((word, sorted((numbers[int(d)], int(n), int(size)) for d, n, size in entries)))
    return documents, postings


def test_a_fill_in_bulk_leaves_the_tables_of_one_row_by_row(conn: Connection, index: KeywordIndex) -> None:
    texts = random_texts(range(400), 5) | {400: "", 401: "the", 402: "zq " * 33_333}
    fill(conn, index, texts)
    assert index._state(conn)[3] == 1, "one segment"
    bulk = held(conn, index)
    index.drop(conn)
    index.create(conn)
    for key, text in texts.items():
        fill(conn, index, {key: text})
    index.rebuild(conn)
    assert held(conn, index) == bulk
    assert len(bulk[0]) == 403
    # What is written later is the same again.
    fill(conn, index, {7: "aazq", 500: "bazq bazq"})
    assert 500 in found(conn, index, "bazq", 500)
    assert 7 in found(conn, index, "aazq", 500)


def test_counts_and_lengths_have_a_most(conn: Connection, index: KeywordIndex) -> None:
    fill(conn, index, {1: "zq " * 33_333})
    assert held(conn, index) == ([(1, 32_767)], [("zq", [(1, 32_767, 32_767)])])
