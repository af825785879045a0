"""Files of a model that are damaged, or that somebody wrote to do harm: a clear error or the right value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.model_files import find
from rowvec.errors import EmbedderError
from tests.support_tiny_models import tiny_model

DEEP = "[" * 200_000
FILES = (
    "config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "tokenizer_config.json", "tokenizer.json",
)  # fmt: skip
TEXTS = ["the cat", "a red mat"]


def vectors(folder: Path) -> np.ndarray:
    embedder = LocalEmbedder(str(folder), cache_dir=folder.parent / "cache")
    return np.asarray(embedder.embed(TEXTS).vectors)


def change(folder: Path, file: str, **values: Any) -> None:
    """Values of a JSON file; None takes one out."""
    path = folder / file
    said = {**(json.loads(path.read_text()) if path.exists() else {}), **values}
    path.write_text(json.dumps({name: value for name, value in said.items() if value is not ...}))


@pytest.mark.parametrize("content", ["", "{", DEEP, '{"a":' * 200_000, "3", '"text"', "null", "\x00\xff"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path: Path, file: str, content: str) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(EmbedderError, match=Path(file).name):
        find(str(folder), tmp_path)


NUMBERS: list[Any] = ["x", [], {}, -1, 0, 1e9, 3.5, True, 7]
WINDOWS: list[Any] = ["abc", [], -1, 0, True, 2]
WRONG: list[tuple[str, str, Any]] = [
    *(("config.json", key, value)
      for key in ("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
      for value in NUMBERS),
    ("config.json", "layer_norm_eps", "x"),
    ("config.json", "layer_norm_eps", -1),
    ("config.json", "hidden_act", []),
    ("config.json", "model_type", ["bert"]),
    ("config.json", "position_embedding_type", {}),
    *(("sentence_bert_config.json", "max_seq_length", value) for value in WINDOWS),
    ("sentence_bert_config.json", "do_lower_case", "yes"),
    ("sentence_bert_config.json", "processor_kwargs", []),
    ("config_sentence_transformers.json", "prompts", []),
    ("config_sentence_transformers.json", "prompts", {"query": 3}),
    ("config_sentence_transformers.json", "default_prompt_name", []),
    ("config_sentence_transformers.json", "default_prompt_name", "nothing"),
    ("config_sentence_transformers.json", "similarity_fn_name", {}),
    ("config_sentence_transformers.json", "similarity_fn_name", "hamming"),
    ("config_sentence_transformers.json", "truncate_dim", []),
    ("1_Pooling/config.json", "pooling_mode", [3]),
    ("1_Pooling/config.json", "pooling_mode", {}),
    ("1_Pooling/config.json", "pooling_mode_mean_tokens", "yes"),
    ("tokenizer.json", "model", []),
    ("tokenizer.json", "model", {"type": "WordPiece", "vocab": []}),
    ("tokenizer.json", "normalizer", {"type": "Nothing"}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "key", "value"), WRONG, ids=lambda each: str(each)[:30])
def test_a_value_that_cannot_be_ends_in_words(tmp_path: Path, file: str, key: str, value: Any) -> None:
    folder = tiny_model(tmp_path / "model")
    change(folder, file, **{key: value})
    if (file, key, value) == ("1_Pooling/config.json", "pooling_mode", {}):
        assert vectors(folder).shape == (2, 32), "an empty value says nothing"
        return
    with pytest.raises(EmbedderError) as caught:
        vectors(folder)
    assert str(folder.name) in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "xlm-roberta", "camembert"])
def test_sizes_that_the_config_leaves_out_are_those_of_the_weights(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / kind, kind)
    expected = vectors(folder)
    sizes = ("vocab_size", "hidden_size", "dim", "num_hidden_layers", "n_layers", "max_position_embeddings",
             "intermediate_size", "hidden_act", "activation")  # fmt: skip
    change(folder, "config.json", **dict.fromkeys(sizes, ...))
    assert find(str(folder), tmp_path).dimension == 32
    np.testing.assert_allclose(vectors(folder), expected, atol=1e-6)


@pytest.mark.parametrize("said", [None, 1e30, 10**30])
def test_no_longest_length_is_that_of_the_positions(tmp_path: Path, said: Any) -> None:
    folder = tiny_model(tmp_path / "model", settings={"max_seq_length": None})
    change(folder, "tokenizer_config.json", model_max_length=said, tokenizer_class="PreTrainedTokenizerFast")
    assert find(str(folder), tmp_path).recipe.max_tokens == 40


@pytest.mark.parametrize("size", [0, 4, 8, 1000, -1])
def test_weights_that_are_cut_off_are_found_before_anything_is_embedded(tmp_path: Path, size: int) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(EmbedderError, match="half downloaded"):
        find(str(folder), tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b"[" * 100_000,
    ],
)
def test_a_header_of_weights_that_is_not_one_is_said(tmp_path: Path, header: bytes) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(EmbedderError, match=r"model\.safetensors cannot be read"):
        find(str(folder), tmp_path)


def bfloat16(folder: Path) -> None:
    """Writes the weights again, as the first half of each float32."""
    header, data = {}, b""
    for name, array in load_file(folder / "model.safetensors").items():
        part = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": offsets}
        data += part
    said = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(said).to_bytes(8, "little") + said + data)


def test_bfloat16_weights_are_read(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    expected = vectors(folder)
    bfloat16(folder)
    found = vectors(folder)
    assert (found * expected).sum(axis=1).min() > 0.999
    assert np.abs(found - expected).max() > 0, "they have fewer digits"


def test_weights_of_a_type_that_is_not_read_are_refused_by_name(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({name: array.astype(np.int8) for name, array in weights.items()}, folder / "model.safetensors")
    with pytest.raises(EmbedderError, match="of the type I8"):
        find(str(folder), tmp_path)


def sharded(folder: Path) -> list[Path]:
    """The weights again, in two files and an index."""
    whole = folder / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    places: dict[str, str] = {}
    paths: list[Path] = []
    for number, part in enumerate([list(weights)[::2], list(weights)[1::2]], 1):
        paths.append(folder / f"model-{number:05}-of-00002.safetensors")
        save_file({name: weights[name] for name in part}, paths[-1])
        places |= dict.fromkeys(part, paths[-1].name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return paths


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    expected = vectors(folder)
    sharded(folder)
    np.testing.assert_allclose(vectors(folder), expected, atol=1e-6)


def test_a_file_missing_among_several_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    sharded(folder)[1].unlink()
    with pytest.raises(EmbedderError, match=r"lie in 2 files, and model-00002-of-00002\.safetensors is missing"):
        find(str(folder), tmp_path)


def test_an_index_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(EmbedderError, match="not a file beside it"):
        find(str(folder), tmp_path)


PROMPTS: list[tuple[dict[str, Any], str | None, str, str]] = [
    ({"query": "q ", "document": ""}, "query", "q ", ""),
    ({"query": "q ", "passage": ""}, "query", "q ", ""),
    ({"query": "q "}, "query", "q ", ""),
    ({"query": "", "document": "d "}, "document", "", "d "),
    ({"document": "d "}, "document", "", "d "),
    ({"query": "q ", "document": None}, "query", "q ", ""),
    ({"query": "q ", "passage": "p "}, None, "q ", "p "),
    ({"query": "q ", "passage": "p ", "document": ""}, "query", "q ", "p "),
    ({"query": "q ", "corpus": "c "}, "query", "q ", "c "),
    ({"always": "a "}, "always", "a ", "a "),
    ({"always": "a ", "query": "q "}, "always", "q ", "a "),
    ({"always": "a ", "query": "", "document": ""}, "always", "", ""),
    ({"always": "a "}, None, "", ""),
    ({}, "query", "", ""),
    ({}, None, "", ""),
]


@pytest.mark.parametrize(("prompts", "default", "query", "passage"), PROMPTS)
def test_an_empty_prompt_is_a_prompt_and_that_of_queries_is_not_put_before_rows(
    tmp_path: Path, prompts: dict[str, Any], default: str | None, query: str, passage: str
) -> None:
    folder = tiny_model(tmp_path / "m", prompts={"prompts": prompts, "default_prompt_name": default})
    recipe = find(str(folder), tmp_path).recipe
    assert (recipe.prompt("query"), recipe.prompt("document", "passage", "corpus")) == (query, passage)
