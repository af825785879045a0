"""The words of a text: tokens with their places, languages, and which language a text is in."""

from __future__ import annotations

import csv
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowvec.config import load
from rowvec.config.starter import starter
from rowvec.errors import ConfigError
from rowvec.sources.propose import propose
from rowvec.words import Analyzer, keyword_language, names, problem, read


def found(language: str, text: str, query: str) -> bool:
    words = Analyzer(language)
    return not set(words.terms(text)).isdisjoint(words.query(query))


@given(st.text() | st.text("abc12.,'/-+# \u00ad\u0301éßA日\u00a0&;ij\u0130"))
@settings(max_examples=500, deadline=None)
def test_tokens_are_the_terms_and_stand_in_the_text(text: str) -> None:
    words = Analyzer("english")
    tokens = list(words.tokens(text))
    assert sorted(token.term for token in tokens) == sorted(words.terms(text))
    assert all(0 <= token.start < token.end <= len(text) for token in tokens)
    assert not any(char.isspace() or char == "\0" for token in tokens for char in token.term)
    assert set(words.query(text)) <= set(words.terms(text))


@pytest.mark.parametrize("sign", list('\0!"$%()*;<=>?[\\]^`{|}'))
@pytest.mark.parametrize(("one", "other"), [("pads", "discs"), ("колодки", "диски"), ("hamulce", "łożyska")])
def test_a_sign_parts_words_of_every_alphabet(sign: str, one: str, other: str) -> None:
    words = Analyzer("auto")
    assert words.terms(f"{one}{sign}{other}") == words.terms(f"{one} {other}")


def test_a_token_of_many_characters_is_cut_in_text_and_query_alike() -> None:
    assert found("english", "w" * 5_000, "w" * 5_000)
    assert len(Analyzer("english").terms("w" * 5_000)[0]) == 200


def test_texts_of_odd_marks_take_no_time() -> None:
    for text in ("-" * 100_000, "1." * 50_000, "a-" * 50_000, "&" * 100_000, "\u0301" * 100_000, "v" * 99_999 + "1"):
        Analyzer("english").terms(text)


@pytest.mark.parametrize(
    ("term", "forms"),
    [
        ("1234.56", "1234.56 1234,56 1,234.56 1.234,56 1'234.56 1’234.56 1_234,56 $1,234.56 €1.234,56 1_234,56€"),
        ("1234567", "1234567 1,234,567 1.234.567 1'234'567 1_234_567 12,34,567"),
        ("1234567.89", "1234567.89 1.234.567,89 1_234_567,89 1'234'567.89 12,34,567.89"),
        ("123456", "123456 123,456 123_456 1,23,456"),
        ("10000mah", "10000mAh 10,000_mAh 10_000_mAh 10_000mAh 10'000mAh"),
        ("1234.5kg", "1234.5_kg 1,234.5_kg 1.234,5kg 1_234,5_kg 1_234,5kg"),
        ("1234.5eur", "1234.5_EUR 1.234,5EUR 1_234,5_EUR 1_234,5EUR"),
    ],
)
@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u202f", "\u2009"])
def test_a_number_is_found_however_its_thousands_are_grouped(term: str, forms: str, blank: str) -> None:
    words = Analyzer("english")
    for form in forms.split():
        written = form.replace("_", blank)
        assert term in words.terms(f"It costs {written}, more or less."), written
        assert term in words.query(written), written
        assert term in {token.term for token in words.tokens(written)}, written


def test_a_list_of_numbers_is_still_one() -> None:
    terms = Analyzer("english").terms("pages 12,34,567 and 1,2,345 and 1,23,45")
    assert {"12", "34", "567", "1", "2", "345", "23", "45"} <= set(terms)
    assert "12345" not in terms


def test_several_threads_use_one_analyzer() -> None:
    words, wrong = Analyzer("english"), []

    def use(number: int) -> None:
        for turn in range(300):
            if words.terms(f"connections{turn} running") != [f"connections{turn}", "run"]:
                wrong.append((number, turn))

    threads = [threading.Thread(target=use, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("language", "text", "query", "hit"),
    [
        ("english", "the connections", "connected", True),
        ("russian", "тормозные колодки", "тормозных колодок", True),
        ("russian", "тормозные колодки", "колодками", True),
        ("russian", "кабель adapters", "adapter", True),
        ("russian", "ёлочные игрушки", "елочная", True),
        ("russian", "это и то", "и", False),
        ("polish", "usługi naprawcze pojazdów", "naprawcza usługa", True),
        ("polish", "usługi", "uslugi", True),
        ("german", "Häuser", "haus", True),
        ("german", "Müller", "mueller", True),
        ("french", "chevaux noirs", "cheval noir", True),
        ("simple", "the end", "the", True),
        ("simple", "running", "run", False),
        ("english+polish", "usługi naprawcze i konserwacyjne", "naprawcza", True),
        ("english+polish", "repairs of vehicles and engines", "repairing", True),
        ("polish+russian", "тормозные колодки", "колодками", True),
        ("polish+russian", "czerwone samochody", "samochodami", True),
        ("auto", "тормозные колодки и диски", "колодками", True),
        ("auto", "usługi naprawcze oraz konserwacyjne", "naprawcza", True),
        ("auto", "repairs of vehicles and engines", "repairing", True),
        ("auto", "Dienstleistungen für die Häuser und Gärten", "haus", True),
        ("auto", "日本語", "日本", True),
    ],
)
def test_a_language_finds_its_inflections(language: str, text: str, query: str, hit: bool) -> None:
    assert found(language, text, query) is hit


def test_every_language_stems_something_and_folds_it() -> None:
    for name in (*names(), "auto"):
        words = Analyzer(name)
        assert words.terms("Łódź 12") == words.terms("Łódź 12")
        assert set(words.query("Łódź")) & set(words.terms("Łódź")), name


@pytest.mark.parametrize(
    ("language", "said"),
    [("klingon", "klingon"), ("polsih", '"polish"'), ("English", '"english"'), ("pg_catalog.german", '"german"'),
     ("", "''")],
)  # fmt: skip
def test_an_unknown_language_is_said_with_what_there_is(language: str, said: str) -> None:
    wrong = problem(language)
    assert wrong is not None
    assert said in wrong
    assert '"simple" works for any language' in wrong


def declared(folder: Path, language: str) -> str | None:
    text = starter().replace('# language = "english"', f"language = {language}")
    (folder / "rowvec.toml").write_text(text, encoding="utf-8")
    return load(folder).pipeline().store.language


@pytest.mark.parametrize(
    ("written", "kept"),
    [('"polish"', "polish"), ('["russian", "english"]', "english+russian"), ('"auto"', "auto"), ('""', None),
     ('["polish"]', "polish")],
)  # fmt: skip
def test_the_config_takes_a_language_a_list_or_auto(tmp_path: Path, written: str, kept: str | None) -> None:
    assert declared(tmp_path, written) == kept


@pytest.mark.parametrize("written", ['"klingon"', "5", "[]", '["english", 5]', '["english", "polsih"]'])
def test_the_config_refuses_what_is_no_language(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match="language"):
        declared(tmp_path, written)


def column(data: Path, name: str) -> list[str]:
    with (data / "cpv" / "cpv_aligned.tsv").open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file, delimiter="\t") if row[name].strip()]


@pytest.mark.parametrize(
    ("name", "language", "chosen"),
    [("en", "english", "english"), ("pl", "polish", "polish"), ("ru", "russian", "russian"),
     ("uk", "ukrainian", "simple"), ("de", "german", "german")],
)  # fmt: skip
@pytest.mark.parametrize("count", [20, 500])
def test_the_language_of_product_classes_is_read(data: Path, name: str, language: str, chosen: str, count: int) -> None:
    texts = random.Random(count).sample(column(data, name), count)
    assert read(texts).language == language
    assert keyword_language(texts) == chosen


def test_texts_in_two_languages_give_both(data: Path) -> None:
    polish, english, russian = (column(data, name)[:300] for name in ("pl", "en", "ru"))
    assert keyword_language(polish + english) == "english+polish"
    assert keyword_language(russian + english) == "russian", "it stems English words too"
    assert keyword_language(russian + polish) == "polish+russian"


@pytest.mark.parametrize(
    ("texts", "language"),
    [(["今日は良い天気です"], "japanese"), (["中文搜索"], "chinese"), (["한국어"], "korean"), (["ภาษาไทย"], "thai"),
     (["Καλημέρα κόσμε"], "greek"), (["שלום עולם"], "hebrew"), (["lamp", "x12"], ""), ([], "")],
)  # fmt: skip
def test_a_script_tells_its_language(texts: list[str], language: str) -> None:
    assert read(texts).language == language


CODES = [f"XK-{number} HDMI VGA" for number in range(20)]


@pytest.mark.parametrize(
    "texts",
    [
        ["XK-5 10µF 5kΩ", "RT 22 Ω 0.5 μm", "ZX 4 Ω"],
        ["Δ 22 Ω", "α β γ", "µ"],
        ["5 Å", "Å 3 nm", "10 Ω·m 2 Μ"],
        ["Φ 16 М8", "Ш 20"],
        [*CODES, "кабель"],
        [*CODES, "το καλώδιο και η πρίζα"],
    ],
)
def test_symbols_and_lone_foreign_words_are_no_language(texts: list[str]) -> None:
    assert keyword_language(texts) == "english"
    assert sum(read(texts).shares.values()) < 0.2
    assert keyword_language([*texts, *(f"The cable number {n} is with a plug" for n in range(20))]) == "english"


def test_a_language_among_latin_names_is_read() -> None:
    texts = [f"Смартфон Apple iPhone {number} Sierra Blue" for number in range(20)]
    assert keyword_language(texts) == "russian"
    assert keyword_language(["у меня и в доме", "а я с ним"]) == "russian"
    assert keyword_language(["Ο πίνακας και η καρέκλα", "πυκνωτής 10 μF"]) == "greek"


def test_one_word_of_every_row_is_no_language() -> None:
    texts = [f"Cable of the shop.com number {n} with plug and box" for n in range(100)]
    assert keyword_language([*texts, *(f"shop.com part {n}" for n in range(300))]) == "english"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["Тормозные колодки для автомобилей", "Масло и фильтры"], 'language = "russian"'),
        (["Usługi naprawcze i konserwacyjne", "Części do pojazdów"], 'language = "polish"'),
        (["Brake pads for cars", "Oil and filters"], '# language = "english"'),
        ([], '# language = "english"'),
    ],
)
def test_init_sets_the_language_that_the_rows_are_in(tmp_path: Path, rows: list[str], line: str) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute('create table "odd name" (id integer primary key, name text, size integer)')
        database.executemany('insert into "odd name" (name) values (?)', [(row,) for row in rows])
    url = f"sqlite:///{tmp_path}/shop.db"
    text = starter(propose(url), url)
    assert [each for each in text.splitlines() if each.startswith(line)]
    (tmp_path / "rowvec.toml").write_text(text, encoding="utf-8")
    load(tmp_path)


def test_sentences_without_blanks_are_not_kept_in_memory() -> None:
    subject = Analyzer("simple")
    for number in range(200):
        subject.terms("日本語テスト" * 20 + str(number))
    assert sum(map(len, subject._all._known)) < 10_000


def test_auto_stands_alone() -> None:
    assert problem("auto+english") == '"auto" stands alone in store.language: leave the other languages out.'


@pytest.mark.parametrize("name", ["Dell", "Die", "Los", "Van"])
def test_a_name_that_is_a_stop_word_of_another_language_tells_no_language(name: str) -> None:
    """Of 300 products a third had the supplier Dell, and `init` chose Italian."""
    things = ("office chair", "desk lamp", "keyboard", "wireless mouse", "monitor stand", "printer paper")
    suppliers = ("HP", "Canon", name)
    texts = [f"{things[n % 6]} model {n} {suppliers[n % 3]}" for n in range(300)]
    assert keyword_language(texts) == "english"


@pytest.mark.parametrize("name", ["Żabka", "Škoda", "Citroën", "Märklin", "Наша Марка"])
def test_a_brand_of_many_rows_with_letters_of_another_language_tells_no_language(name: str) -> None:
    """Of 400 products a fifth had the supplier Żabka, and `init` chose Polish."""
    things = ("office chair", "desk lamp", "keyboard", "wireless mouse", "monitor stand", "printer paper")
    suppliers = ("HP", "Canon", "Epson", "Brother", name)
    texts = [f"{things[n % 6]} model {n} {suppliers[n % 5]}" for n in range(400)]
    assert keyword_language(texts) == "english"


def test_a_noun_of_many_rows_does_not_hide_the_language_of_the_others() -> None:
    things = (
        "Bürostuhl drehbar",
        "Schreibtisch höhenverstellbar",
        "Lampe für Büro",
        "Tastatur mit Kabel",
        "Drucker weiß",
    )
    assert keyword_language([f"{things[n % 5]} {n}" for n in range(400)]) == "german"


def test_stop_words_at_the_beginning_of_sentences_and_in_titles_tell_their_language() -> None:
    assert keyword_language(["Die Lampe steht auf dem Tisch", "Der Stuhl ist aus Holz"] * 20) == "german"
    assert keyword_language(["Der Stuhl Und Die Lampe", "Das Haus Mit Dem Garten"] * 20) == "german"
    assert keyword_language(["DER STUHL UND DIE LAMPE", "DAS HAUS MIT DEM GARTEN"] * 20) == "german"
