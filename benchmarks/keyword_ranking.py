"""Ways to rank by keywords in plain PostgreSQL with pgvector, on the same texts and queries.

    python benchmarks/keyword_ranking.py quality              nDCG@10 on Vaswani
    python benchmarks/keyword_ranking.py speed --rows 50000   build, update, disk, p50, p95, agreement with BM25
    python benchmarks/keyword_ranking.py speed --rows 300000 --only segments

The texts of `speed` are windows of real ones (dataset cards, products, registry entries) put together again, 100
words each. Queries are four words of one text, and, as the bad case, four of the hundred most frequent words. All
contestants answer a round of queries in turn, so that a noisy machine is noisy for all.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import psycopg
from benchmarks.rig import DATA

from rowvec.stores.postgres.embedded import embedded_url, stop_embedded
from rowvec.stores.postgres.keyword_index.index import KeywordIndex

WORDS = 100
BATCH = 1_000
LIMIT = 10


def searchable(text: str) -> str:
    """What the ways that leave the words to PostgreSQL are given."""
    return text.replace("\0", " ")


Connection = psycopg.Connection[Any]
Batch = Sequence[tuple[int, str]]


class Segments:
    """What rowvec uses: packed entries in append-only segments, scored in numpy."""

    tables = ("v__documents", "v__segments", "v__postings")

    def __init__(self, conn: Connection, words_per_text: float) -> None:
        conn.execute("drop table if exists v__documents, v__segments, v__postings")
        self.index = KeywordIndex(("public", "v"), "id", "bigint", "english")
        self.index.create(conn)

    def write(self, conn: Connection, batch: Batch) -> None:
        self.index.upsert(conn, [key for key, _ in batch], [text for _, text in batch])

    def finish(self, conn: Connection) -> None:
        conn.execute("analyze v__documents, v__segments, v__postings")

    def search(self, conn: Connection, query: str) -> list[tuple[Any, float]]:
        return self.index.search(conn, query, LIMIT)


class Rows:
    """One row per posting with its impact, read by an index-only scan."""

    tables = ("r_words", "r_texts", "r_postings")

    def __init__(self, conn: Connection, words_per_text: float) -> None:
        self.average = words_per_text
        conn.execute(
            "drop table if exists r_words, r_texts, r_postings;"
            "create table r_words (id int generated always as identity primary key, word text unique, df int not null);"
            "create table r_texts (id bigint primary key, words int[] not null);"
            "create table r_postings (word int, id bigint, impact real, primary key (word, id) include (impact))"
        )

    def write(self, conn: Connection, batch: Batch) -> None:
        conn.execute("create temp table if not exists batch (id bigint, word text, count int, length int)")
        conn.execute("truncate batch")
        conn.execute(
            "insert into batch select id, lexeme, cardinality(positions),"
            " sum(cardinality(positions)) over (partition by id)"
            " from unnest(%s::bigint[], %s::text[]) t (id, text), unnest(to_tsvector('english', text))",
            _columns(batch),
        )
        keys = [key for key, _ in batch]
        conn.execute(
            "with old as (delete from r_texts where id = any(%s) returning id, words),"
            " gone as (delete from r_postings p using old, unnest(old.words) w where p.word = w and p.id = old.id"
            "  returning p.word),"
            " counted as (select word, count(*) n from gone group by word)"
            " update r_words w set df = df - n from counted c where w.id = c.word",
            [keys],
        )
        conn.execute(
            "insert into r_words as w (word, df) select word, count(*) from batch group by word order by word"
            " on conflict (word) do update set df = w.df + excluded.df"
        )
        conn.execute(
            "with posted as (insert into r_postings select w.id, b.id, count / (count + 0.3 + 0.9 * length / %s)"
            "  from batch b join r_words w using (word) order by 1, 2 returning id, word)"
            " insert into r_texts select id, array_agg(word) from posted group by id",
            [self.average],
        )

    def finish(self, conn: Connection) -> None:
        for table in self.tables:
            conn.execute(f"vacuum analyze {table}")

    def search(self, conn: Connection, query: str) -> list[tuple[Any, float]]:
        return conn.execute(
            "select p.id, sum(q.idf * impact) from (select w.id, ln(1 + (n - df + 0.5) / (df + 0.5)) idf"
            "   from unnest(tsvector_to_array(to_tsvector('english', %s))) u join r_words w on w.word = u,"
            "   (select reltuples n from pg_class where relname = 'r_texts')) q"
            " join r_postings p on p.word = q.id group by 1 order by 2 desc, 1 limit %s",
            [searchable(query), LIMIT],
        ).fetchall()


class Gin:
    """tsvectors behind GIN: candidates by the two rarest words, ranked by BM25 over their tsvectors."""

    tables = ("g_texts", "g_words")
    candidates = 2

    def __init__(self, conn: Connection, words_per_text: float) -> None:
        self.average = words_per_text
        conn.execute(
            "drop table if exists g_texts, g_words;"
            "create table g_texts (id bigint primary key, words tsvector not null, length int not null);"
            "create index on g_texts using gin (words); create table g_words (word text primary key, df int)"
        )

    def write(self, conn: Connection, batch: Batch) -> None:
        conn.execute(
            "insert into g_texts select id, v, (select coalesce(sum(cardinality(positions)), 0) from unnest(v))"
            " from unnest(%s::bigint[], %s::text[]) t (id, text), to_tsvector('english', text) v"
            " on conflict (id) do update set words = excluded.words, length = excluded.length",
            _columns(batch),
        )

    def finish(self, conn: Connection) -> None:
        conn.execute("truncate g_words")
        conn.execute("insert into g_words select word, ndoc from ts_stat('select words from g_texts')")
        for table in self.tables:
            conn.execute(f"vacuum analyze {table}")

    def search(self, conn: Connection, query: str) -> list[tuple[Any, float]]:
        found = conn.execute(
            "select word, ln(1 + (n - df + 0.5) / (df + 0.5)) from"
            " unnest(tsvector_to_array(to_tsvector('english', %s))) u join g_words w on w.word = u,"
            " (select reltuples n from pg_class where relname = 'g_texts') order by df",
            [searchable(query)],
        ).fetchall()
        if not found:
            return []
        rarest = " | ".join(_quote(word) for word, _ in found[: self.candidates])
        return conn.execute(
            "select id, sum(idf * cardinality(positions) / (cardinality(positions) + 0.3 + 0.9 * length / %s))"
            " from g_texts, unnest(words) w join unnest(%s::text[], %s::float8[]) q (word, idf) on w.lexeme = q.word"
            " where words @@ %s::tsquery group by id order by 2 desc, 1 limit %s",
            [self.average, [word for word, _ in found], [idf for _, idf in found], rarest, LIMIT],
        ).fetchall()


class TsRank(Gin):
    """PostgreSQL's own ranking over any of the words."""

    tables = Gin.tables

    def search(self, conn: Connection, query: str) -> list[tuple[Any, float]]:
        return conn.execute(
            "select id, ts_rank_cd(words, q) from g_texts, (select string_agg(quote_literal(w), ' | ')::tsquery q"
            " from unnest(tsvector_to_array(to_tsvector('english', %s))) w) where words @@ q"
            " order by 2 desc, 1 limit %s",
            [searchable(query), LIMIT],
        ).fetchall()


class Sparse:
    """Impacts as a pgvector sparsevec, searched by an HNSW index on inner product."""

    tables = ("s_texts", "s_words")
    dimension = 1_000_000

    def __init__(self, conn: Connection, words_per_text: float) -> None:
        self.average = words_per_text
        conn.execute(
            "create extension if not exists vector; drop table if exists s_texts, s_words;"
            "create table s_words (id int generated always as identity primary key, word text unique);"
            f"create table s_texts (id bigint primary key, words sparsevec({self.dimension}))"
        )

    def write(self, conn: Connection, batch: Batch) -> None:
        keys, texts = _columns(batch)
        words = "unnest(%s::bigint[], %s::text[]) t (id, text), to_tsvector('english', text) v, unnest(v) u"
        conn.execute(
            f"insert into s_words (word) select distinct lexeme from {words} on conflict do nothing", [keys, texts]
        )
        conn.execute(
            "with p as (select t.id, w.id word, cardinality(positions) count,"
            " sum(cardinality(positions)) over (partition by t.id) length"
            f" from {words} join s_words w on word = lexeme)"
            " insert into s_texts select id, ('{' || string_agg(word || ':' ||"
            " round((count / (count + 0.3 + 0.9 * length / %s))::numeric, 4), ',') || '}/' || %s)::sparsevec"
            " from p group by id"
            " on conflict (id) do update set words = excluded.words",
            [keys, texts, self.average, self.dimension],
        )

    def finish(self, conn: Connection) -> None:
        conn.execute("set maintenance_work_mem = '1GB'; set max_parallel_maintenance_workers = 0")
        conn.execute("create index if not exists s_hnsw on s_texts using hnsw (words sparsevec_ip_ops)")
        conn.execute("vacuum analyze s_texts")

    def search(self, conn: Connection, query: str) -> list[tuple[Any, float]]:
        return conn.execute(
            "with q as (select w.id, ln(1 + (n - df + 0.5) / (df + 0.5)) idf from"
            " unnest(tsvector_to_array(to_tsvector('english', %s))) u join s_words w on word = u"
            " join g_words g using (word), (select reltuples n from pg_class where relname = 's_texts'))"
            " select t.id, -(t.words <#> v) from (select ("
            f" '{{' || string_agg(id || ':' || round(idf::numeric, 4), ',') || '}}/{self.dimension}'"
            ")::sparsevec v from q offset 0) q, lateral"
            " (select id, words from s_texts order by words <#> v limit %s) t",
            [searchable(query), LIMIT],
        ).fetchall()


CONTESTANTS: dict[str, Callable[[Connection, float], Any]] = {
    "segments": Segments,
    "rows": Rows,
    "gin": Gin,
    "ts_rank_cd": TsRank,
    "sparsevec": Sparse,
}


def _columns(batch: Batch) -> list[list[Any]]:
    return [[key for key, _ in batch], [searchable(text) for _, text in batch]]


def _quote(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _windows() -> list[list[str]]:
    texts: list[str] = []
    with gzip.open(DATA / "hf_datasets" / "cards.jsonl.gz", "rt") as lines:
        texts += [json.loads(line)["body"] or "" for line in lines]
    with gzip.open(DATA / "icecat" / "products.jsonl.gz", "rt") as lines:
        texts += [f"{row['title']} {row.get('short_description') or ''}" for row in map(json.loads, lines)]
    with gzip.open(DATA / "registry" / "events.jsonl.gz", "rt") as lines:
        texts += [(json.loads(line)["after"] or {}).get("description") or "" for line in lines]
    windows = []
    for text in texts:
        words = text.split()
        windows += [words[start : start + 20] for start in range(0, len(words), 20)]
    return [window for window in windows if len(window) >= 8]


def texts(rows: int, seed: int = 1) -> Iterator[str]:
    """`rows` texts of about 100 words."""
    windows, dice = _windows(), random.Random(seed)
    for _ in range(rows):
        words: list[str] = []
        while len(words) < WORDS:
            words += dice.choice(windows)
        yield " ".join(words[:WORDS])


def _vaswani() -> tuple[list[tuple[int, str]], list[tuple[str, str]], list[Any]]:
    folder = DATA / "vaswani"
    documents = re.findall(r"<DOCNO>(\d+)</DOCNO>(.*?)</DOC>", (folder / "doc-text.trec").read_text(), re.S)
    queries = re.findall(r"<num>(\d+)</num>\s*<title>(.*?)</title>", (folder / "query-text.trec").read_text(), re.S)
    with (folder / "qrels").open() as lines:
        judgements = [
            ir_measures.Qrel(query, document, int(grade))
            for query, _, document, grade in csv.reader(lines, delimiter=" ")
        ]
    return [(int(key), text) for key, text in documents], queries, judgements


def quality(conn: Connection) -> None:
    documents, queries, judgements = _vaswani()
    conn.execute("drop table if exists v; create table v (id bigint primary key)")
    conn.execute("insert into v select unnest(%s::bigint[])", [[key for key, _ in documents]])
    for name, make in CONTESTANTS.items():
        contestant = make(conn, 26.0)
        for start in range(0, len(documents), BATCH):
            contestant.write(conn, documents[start : start + BATCH])
        contestant.finish(conn)
        run = [
            ir_measures.ScoredDoc(number, str(key), float(score))
            for number, query in queries
            for key, score in contestant.search(conn, query)
        ]
        measured = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 10], judgements, run)
        print(f"{name:12}", "  ".join(f"{measure} {value:.4f}" for measure, value in measured.items()))


def speed(conn: Connection, rows: int, only: Sequence[str], rounds: int) -> None:
    corpus = list(enumerate(texts(rows), 1))
    conn.execute("drop table if exists v; create table v (id bigint primary key)")
    conn.execute("insert into v select generate_series(1, %s)", [rows])
    conn.execute("vacuum analyze v")
    changed = list(zip(random.Random(2).sample(range(1, rows + 1), rows // 20), texts(rows // 20, seed=3), strict=True))
    made: dict[str, Any] = {}
    for name in only:
        contestant = made[name] = CONTESTANTS[name](conn, 75.0)
        seconds = []
        for batches in (corpus, changed):
            started = time.perf_counter()
            for start in range(0, len(batches), BATCH):
                with conn.transaction():
                    contestant.write(conn, batches[start : start + BATCH])
            seconds.append(time.perf_counter() - started)
            if batches is corpus:
                started = time.perf_counter()
                contestant.finish(conn)
                finished = time.perf_counter() - started
        sizes = [conn.execute("select pg_total_relation_size(%s)", [t]).fetchone() for t in contestant.tables]
        print(
            f"{name:12} write {rows / seconds[0]:7,.0f} rows/s  finish {finished:5.1f} s"
            f"  update {len(changed) / seconds[1]:7,.0f} rows/s  disk {sum(size for (size,) in sizes) / 1e6:6.0f} MB",
            flush=True,
        )
        contestant.finish(conn)
    _compare(conn, made, corpus, rounds)
    if "segments" in made:
        started = time.perf_counter()
        made["segments"].index.rebuild(conn)
        rebuilt = time.perf_counter() - started
        conn.execute("vacuum full v__postings")
        print(f"segments rebuilt in {rebuilt:.1f} s, {made['segments'].index.size(conn) / 1e6:.0f} MB without slack")
        _compare(conn, {"segments": made["segments"]}, corpus, rounds)


def _compare(conn: Connection, made: dict[str, Any], corpus: Batch, rounds: int) -> None:
    dice = random.Random(4)
    counts: dict[str, int] = {}
    for _, text in corpus[:2_000]:
        for word in set(re.findall(r"\b[a-z]{4,}\b", text.lower())):
            counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: -counts[word])[:100]
    sampled = [re.findall(r"\b[A-Za-z]{3,}\b", dice.choice(corpus)[1]) for _ in range(rounds)]
    cases = {
        "sampled": [" ".join(dice.sample(words, 4)) for words in sampled if len(words) > 4],
        "frequent": [" ".join(dice.sample(frequent, 4)) for _ in range(rounds // 2)],
    }
    for case, queries in cases.items():
        times: dict[str, list[float]] = {name: [] for name in made}
        agreed: dict[str, list[float]] = {name: [] for name in made}
        for query in queries:
            best: set[Any] = set()
            for name, contestant in made.items():
                started = time.perf_counter()
                hits = contestant.search(conn, query)
                times[name].append((time.perf_counter() - started) * 1e3)
                best = best or {key for key, _ in hits}
                agreed[name].append(len(best & {key for key, _ in hits}) / len(best) if best else 1.0)
        for name, taken in times.items():
            taken.sort()
            print(
                f"{case:9} {name:12} p50 {taken[len(taken) // 2]:7.1f} ms  p95 {taken[len(taken) * 95 // 100]:7.1f} ms"
                f"  same hits {statistics.mean(agreed[name]):.2f}"
            )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "speed"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(embedded_url(Path(folder)), autocommit=True) as conn:
            if options.what == "quality":
                quality(conn)
            else:
                speed(conn, options.rows, options.only, options.rounds)
        stop_embedded(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
