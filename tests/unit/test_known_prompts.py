"""What goes before texts: what the config says, else the model's own files, else what is known of the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rowvec.embedders.known_prompts import KNOWN, choose
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_recipe import ModelRecipe
from tests.support_tiny_models import tiny_model

E5 = "intfloat/multilingual-e5-small"
PASSAGES = "Represent this sentence for searching relevant passages: "


@pytest.mark.parametrize(
    ("name", "query", "passage"),
    [
        (E5, "query: ", "passage: "),
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("BAAI/bge-small-en-v1.5", PASSAGES, ""),
        ("baai/BGE-large-en", PASSAGES, ""),
        ("BAAI/bge-m3", "", ""),
        ("thenlper/gte-small", "", ""),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("Snowflake/snowflake-arctic-embed-xs", PASSAGES, ""),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", PASSAGES, ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("mixedbread-ai/mxbai-embed-large-v1", PASSAGES, ""),
        ("jinaai/jina-embeddings-v2-small-en", "", ""),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
        ("somebody/my-e5-small", "", ""),
    ],
)
def test_what_is_known_of_a_model(name: str, query: str, passage: str) -> None:
    chosen = choose(name, ModelRecipe(), None, None)
    assert (chosen.query, chosen.passage) == (query, passage)
    assert chosen.note.endswith(f"known for {name}") == bool(query or passage)


def test_instructions_come_before_the_plain_models_of_their_family() -> None:
    chosen = choose("intfloat/multilingual-e5-large-instruct", ModelRecipe(), None, None)
    assert chosen.query.startswith("Instruct: ") and chosen.passage == ""
    assert all(pattern for pattern in KNOWN)


def test_the_models_own_files_win_and_it_is_said() -> None:
    own = ModelRecipe(prompts={"query": "frage: ", "passage": "text: "})
    chosen = choose(E5, own, None, None)
    assert (chosen.query, chosen.passage) == ("frage: ", "text: ")
    assert chosen.note == (
        "query prompt 'frage: ', passage prompt 'text: ', from the model's files,"
        " where others put query prompt 'query: ', passage prompt 'passage: '"
    )
    agreed = choose(E5, ModelRecipe(prompts={"query": "query: ", "passage": "passage: "}), None, None)
    assert agreed.note.endswith("from the model's files")


def test_files_whose_prompts_are_all_empty_name_none() -> None:
    """The sentence-transformers library writes two empty ones into every model that it saves."""
    chosen = choose(E5, ModelRecipe(prompts={"query": "", "document": ""}), None, None)
    assert (chosen.query, chosen.passage) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    ("said", "expected", "source"),
    [
        ({"query": "q ", "passage": "p "}, ("q ", "p "), "set in the config"),
        ({"query": "", "passage": ""}, ("", ""), ""),
        ({"query": "q ", "passage": None}, ("q ", "passage: "), "in part set in the config"),
        ({"query": None, "passage": ""}, ("query: ", ""), "in part set in the config"),
    ],
)
def test_the_config_wins(said: dict[str, Any], expected: tuple[str, str], source: str) -> None:
    chosen = choose(E5, ModelRecipe(), **said)
    assert (chosen.query, chosen.passage) == expected
    assert chosen.note.endswith(source)


def test_a_folder_is_known_by_what_its_config_says_and_not_by_its_name(tmp_path: Path) -> None:
    """A renamed folder is the same model."""
    folder = tiny_model(tmp_path / "intfloat" / "e5-small")
    assert LocalEmbedder(str(folder), cache_dir=tmp_path).fingerprint.prompt == ""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "intfloat/e5-small"}))
    before = LocalEmbedder(str(folder), cache_dir=tmp_path)
    assert (before.fingerprint.prompt, before.prompt_note[-26:]) == ("passage: ", "known for intfloat/e5-small"[-26:])
    moved = folder.rename(tmp_path / "mine")
    assert LocalEmbedder(str(moved), cache_dir=tmp_path).fingerprint == before.fingerprint


def test_the_prompt_of_rows_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", config={"_name_or_path": E5})
    known = LocalEmbedder(str(folder), cache_dir=tmp_path).fingerprint
    without = LocalEmbedder(str(folder), cache_dir=tmp_path, passage_prompt="").fingerprint
    asked = LocalEmbedder(str(folder), cache_dir=tmp_path, query_prompt="").fingerprint
    assert known != without and known == asked, "no vector of a row depends on the prompt of queries"
