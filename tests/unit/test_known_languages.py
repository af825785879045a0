"""Texts that a model or a keyword index was not made for are said, with figures; what fits is not."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rowvec.cli.check import check
from rowvec.config import load
from rowvec.config.starter import starter
from rowvec.embedders.known_languages import MULTILINGUAL, languages_of, misfit
from rowvec.embedders.known_prompts import KNOWN as PROMPTED
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import MINILM
from rowvec.sources.propose import propose
from rowvec.syncing.preview import preview
from rowvec.testing import HashEmbedder
from tests.support import simple_pipeline
from tests.support_tiny_models import tiny_model

ENGLISH = HashEmbedder(model=MINILM)
EVERY = HashEmbedder(model=MULTILINGUAL)
SENTENCES = {
    "russian": ["Эта лампа подходит для комнаты и не греется.", "Мы продаём всё для дома и для сада."],
    "ukrainian": ["Ця лампа підходить для кімнати і не гріється.", "Ми продаємо все для дому та саду."],
    "polish": ["Ta lampa jest do pokoju i się nie grzeje.", "Sprzedajemy wszystko dla domu oraz na ogród."],
    "german": ["Die Lampe ist für das Zimmer und wird nicht warm.", "Wir verkaufen alles für Haus und Garten."],
    "greek": ["Η λάμπα είναι για το δωμάτιο και δεν ζεσταίνεται.", "Πουλάμε τα πάντα για το σπίτι."],
    "japanese": ["このランプは部屋用で、熱くなりません。", "家と庭のためのすべてを販売しています。"],
}  # fmt: skip
PEOPLE = ("José García", "Jürgen Müller", "Łukasz Wójcik", "François Dupont", "Øystein Berg", "Ágnes Tóth", "Ann Smith")
FIRMS = ("Ltd", "GmbH", "S.A.", "Inc.", "Kft.", "Sp. z o.o.")
FITTING = {
    "english": ["This lamp is for the room and does not get hot.", "We sell everything for the house."] * 20,
    "codes": [f"SABO{n:06d}C-{n % 7} 12V {n}mm M{n % 12}x1.25 DIN {n} µF Ω" for n in range(100)],
    "numbers": [f"{n} {n * 3.7:.2f}" for n in range(100)],
    "names": [f"{name} {firm}" for name in PEOPLE for firm in FIRMS] * 4,
    "english with names": [f"A letter from {name} about the price of a lamp (лампа)" for name in PEOPLE] * 10,
    "a few rows in Russian": ["This lamp is for the room and does not get hot, and it costs little."] * 96
    + SENTENCES["russian"],
    "short": ["лампа"],
    "nothing": [],
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_that_the_model_does_not_know_is_said(language: str) -> None:
    found = misfit(ENGLISH, None, SENTENCES[language] * 20)
    assert found is not None
    assert "; all-MiniLM-L6-v2 knows English" in found.problem
    assert found.problem[0].isdigit()
    assert MULTILINGUAL in found.fix
    assert misfit(EVERY, None, SENTENCES[language] * 20) is None


@pytest.mark.parametrize("texts", FITTING.values(), ids=FITTING.keys())
def test_nothing_is_said_where_texts_fit(texts: list[str]) -> None:
    assert misfit(ENGLISH, "english", texts) is None


@pytest.mark.parametrize(("language", "set_to"), [("russian", '"russian"'), ("polish", '"polish"')])
def test_a_keyword_language_that_stems_nothing_of_the_texts_is_said(language: str, set_to: str) -> None:
    found = misfit(EVERY, "english", SENTENCES[language] * 20)
    assert found is not None
    assert found.problem.endswith("the keyword index is set to english.")
    assert found.fix == f"Set store.language = {set_to}."
    for fitting in (language, "auto", "simple", None, f"english+{language}"):
        assert misfit(EVERY, fitting, SENTENCES[language] * 20) is None, fitting


def test_texts_of_three_scripts_are_said_by_the_commonest() -> None:
    row = "lamp 1 " + SENTENCES["russian"][0] + SENTENCES["greek"][0][:9] + SENTENCES["japanese"][0][:3]
    found = misfit(ENGLISH, "english", [row] * 20)
    assert found is not None
    assert "of the letters are Cyrillic" in found.problem


def test_tokens_that_the_vocabulary_lacks_are_said_of_any_model(tmp_path: Path) -> None:
    tiny = LocalEmbedder(str(tiny_model(tmp_path / "tiny")), cache_dir=tmp_path)
    assert tiny.unknown_tokens(["the cat", "😀 😀"]) == (4, 2)
    assert misfit(tiny, None, ["the cat sat on a red mat"] * 20) is None
    found = misfit(tiny, None, ["😀 😀 🚗 🔥"] * 20)
    assert found is not None
    assert found.problem == "100 % of the tokens are unknown to tiny."
    assert found.as_dict()["unknown_tokens"] == 1.0


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (MINILM, {"english"}), ("all-mpnet-base-v2", {"english"}), ("BAAI/bge-small-zh-v1.5", {"chinese"}),
        ("sentence-transformers/multi-qa-mpnet-base-dot-v1", {"english"}), ("intfloat/e5-small-v2", {"english"}),
        ("jinaai/jina-embeddings-v2-base-de", {"english", "german"}),
        ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", None), (MULTILINGUAL, None),
        ("sentence-transformers/distiluse-base-multilingual-cased-v2", None), ("BAAI/bge-m3", None),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", None), ("text-embedding-3-small", None), ("my/model", None),
    ],
)  # fmt: skip
def test_the_table_knows_models_by_their_names(model: str, known: set[str] | None) -> None:
    assert languages_of(model) == known
    assert PROMPTED, "both tables go by the names on the hub"


def test_a_plan_says_it_of_the_texts_to_embed() -> None:
    rows = {n: f"{text} {n}" for n, text in enumerate(SENTENCES["russian"] * 20)}
    result = preview(simple_pipeline(rows=rows, embedder=HashEmbedder(model=MINILM)))
    assert result.misfit is not None
    assert result.as_dict()["misfit"]["problem"] == result.misfit.problem
    assert preview(simple_pipeline(rows={1: "a lamp"}, embedder=HashEmbedder(model=MINILM))).as_dict()["misfit"] is None


@pytest.mark.parametrize(
    ("language", "model", "keywords"),
    [("russian", MULTILINGUAL, "russian"), ("polish", MULTILINGUAL, "polish"), ("english", MINILM, "english")],
)
def test_a_proposed_config_has_the_model_and_the_language_of_the_rows(
    tmp_path: Path, language: str, model: str, keywords: str
) -> None:
    texts = SENTENCES.get(language, FITTING["english"])
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("create table items (id integer primary key, title text)")
        drawn = random.Random(0).choices(texts, k=60)
        database.executemany("insert into items (title) values (?)", [(text,) for text in drawn])
        database.commit()
    url = f"sqlite:///{tmp_path}/shop.db"
    text = starter(propose(url), url)
    (tmp_path / "rowvec.toml").write_text(text, encoding="utf-8")
    declared = load(tmp_path / "rowvec.toml").pipeline()
    assert declared.embedder.model_dump()["model"] == model
    assert declared.embedder.model_dump()["query_centre"] == (0.5 if model == MULTILINGUAL else 0.0)
    assert declared.store.language == keywords


def test_check_says_it_once_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("libsql")
    tiny_model(tmp_path / "tiny")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"id": n, "name": text}) + "\n" for n, text in enumerate(SENTENCES["russian"] * 20)),
        encoding="utf-8",
    )
    (tmp_path / "rowvec.toml").write_text(
        """
        [pipelines.things]
        source = { kind = "files", paths = "rows.jsonl", key = "id" }
        text = { columns = ["name"] }
        embedder = { kind = "local", model = "tiny" }
        store = { kind = "libsql", url = "vectors.db" }
        """,
        encoding="utf-8",
    )
    assert check(tmp_path / "rowvec.toml", None, as_json=True) == 0
    (said,) = [line for line in json.loads(capsys.readouterr().out) if line["what"] == "language"]
    assert said["unknown_tokens"] > 0.5
    assert said["keyword_language"] == "russian"
    assert check(tmp_path / "rowvec.toml", None, as_json=False) == 0
    printed = capsys.readouterr().out
    assert printed.count(f"NOTE   language  {said['detail']}") == 1
    assert said["fix"] in printed
