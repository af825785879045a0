"""Every architecture on every engine that runs it, against vectors of sentence-transformers (tests/data).

`python -m benchmarks.architectures --keep` makes those vectors, of the same models of random weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rowvec.cli.model import model
from rowvec.embedders.architectures import FAMILIES, rotations
from rowvec.embedders.local.embedder import LocalEmbedder
from rowvec.embedders.local.engines import chosen
from rowvec.embedders.model_files import find
from rowvec.errors import ConfigError, EmbedderError, MissingExtraError
from rowvec.types import Vectors
from tests.support import OPENVINO, runs
from tests.support_architectures import CASES, HEADS, LAYERS, TEXTS, WIDTH, Case, write
from tests.support_tiny_models import gelu
from tests.unit.test_model_damage import bfloat16, change, sharded

EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "architectures.json").read_text("utf-8"))
RUNS = runs({name: case.kind for name, case in CASES.items()})
KINDS = ("mpnet", "nomic_bert", "gte", "modernbert")


def case_of(kind: str) -> Case:
    return next(case for case in CASES.values() if case.kind == kind)


def vectors(folder: Path, engine: str = "auto", texts: list[str] = TEXTS) -> Vectors:
    embedder = LocalEmbedder(str(folder), engine=engine, cache_dir=folder.parent / "cache")
    found = embedder.embed(texts).vectors
    embedder.close()
    return found


def cosines(one: Vectors, other: Vectors) -> Vectors:
    found: Vectors = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, name: str, engine: str) -> None:
    folder, expected = write(tmp_path / "model", CASES[name]), np.array(EXPECTED[name])
    found = vectors(folder, engine)
    assert cosines(found, expected).min() >= 0.9999
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Each text alone, where nothing else decides how long a row of the batch is.
    alone = np.concatenate([vectors(folder, engine, [text]) for text in TEXTS[:4]])
    np.testing.assert_allclose(alone, found[:4], atol=1e-5)


def test_every_architecture_and_pooling_has_a_case() -> None:
    assert {case.kind for case in CASES.values()} | {"new"} == set(FAMILIES)
    poolings = {case.pooling for case in CASES.values()}
    assert poolings == {"mean", "cls", "max", "lasttoken", "weightedmean"}


@pytest.mark.parametrize("kind", [*KINDS[:3], pytest.param("modernbert", marks=OPENVINO)])
def test_half_precision_and_several_files_are_read(tmp_path: Path, kind: str) -> None:
    expected = vectors(write(tmp_path / "plain", case_of(kind)))
    several = write(tmp_path / "several", case_of(kind))
    sharded(several)
    np.testing.assert_allclose(vectors(several), expected, atol=1e-6)
    brain = write(tmp_path / "brain", case_of(kind))
    bfloat16(brain)
    half = write(tmp_path / "half", case_of(kind))
    weights = load_file(half / "model.safetensors")
    save_file({name: array.astype(np.float16) for name, array in weights.items()}, half / "model.safetensors")
    for folder, lowest in ((brain, 0.995), (half, 0.9999)):
        found = vectors(folder)
        assert cosines(found, expected).min() > lowest
        assert np.abs(found - expected).max() > 0, "they have fewer digits"


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_is_missing_or_of_another_size_is_named(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "model", case_of(kind))
    weights = load_file(folder / "model.safetensors")
    tables = ("token_type", "word", "tok_embeddings")
    for name in [name for name in weights if f".{LAYERS - 2}." not in name and not any(t in name for t in tables)]:
        save_file({n: array for n, array in weights.items() if n != name}, folder / "model.safetensors")
        with pytest.raises(EmbedderError, match=rf"(hold|there is) no '{name}'"):
            find(str(folder), tmp_path)
        longer = np.concatenate([weights[name], weights[name]])
        save_file({**weights, name: longer}, folder / "model.safetensors")
        with pytest.raises(EmbedderError, match=r"has the shape \[|it has max_position_embeddings|it has hidden_size"):
            find(str(folder), tmp_path)


@pytest.mark.parametrize(
    ("kind", "said", "reason"),
    [
        ("nomic_bert", {"prenorm": True}, "prenorm is True, not False"),
        ("nomic_bert", {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction is 0.5"),
        ("nomic_bert", {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor is 2.0"),
        ("nomic_bert", {"head_dim": 7}, "head_dim is 7"),
        ("gte", {"rope_parameters": {"rope_type": "yarn"}}, "scaled by 'yarn'"),
        ("gte", {"rope_parameters": []}, None),
        ("gte", {"rope_parameters": 3}, "rope_parameters is 3"),
        ("gte", {"rope_theta": "x"}, "rope_theta is 'x'"),
        ("gte", {"position_embedding_type": "absolute"}, "positions are 'absolute', not 'rope'"),
        ("new", {"rope_scaling": {"type": "ntk"}}, "rope_scaling.factor is None"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types are"),
        ("modernbert", {"layer_types": ["chunked"] * 4}, "name 'chunked'"),
        ("modernbert", {"local_attention": -1}, "local_attention is -1"),
        ("modernbert", {"hidden_activation": "mish"}, "activation is 'mish'"),
        ("modernbert", {"rope_scaling": {"type": "linear"}}, "rope_scaling is"),
    ],
)
def test_what_would_give_other_vectors_is_refused(
    tmp_path: Path, kind: str, said: dict[str, Any], reason: str | None
) -> None:
    folder = write(tmp_path / "model", Case(kind, "word pieces"))
    change(folder, "config.json", **said)
    if reason is None:
        with pytest.raises(EmbedderError):
            find(str(folder), tmp_path)
        return
    with pytest.raises(EmbedderError, match=reason):
        find(str(folder), tmp_path)


def test_the_names_that_the_authors_of_nomic_gave_are_read(tmp_path: Path) -> None:
    plain, other = (write(tmp_path / name, CASES["nomic-embed-text"]) for name in ("plain", "other"))
    old = {"n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, "n_inner": 48, "n_positions": 180,
           "activation_function": "swiglu", "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000,
           "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "qkv_proj_bias": False}  # fmt: skip
    new = ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings", "hidden_act")
    change(other, "config.json", **old, **dict.fromkeys(new, ...))
    np.testing.assert_array_equal(vectors(other), vectors(plain))
    change(other, "config.json", rotary_emb_base=10_000)
    assert find(str(other), tmp_path).revision != find(str(plain), tmp_path).revision
    assert np.abs(vectors(other) - vectors(plain)).max() > 1e-3


def test_gte_under_its_first_name_is_the_same_network(tmp_path: Path) -> None:
    expected = vectors(write(tmp_path / "gte", CASES["gte-multilingual-base"]))
    folder = write(tmp_path / "new", CASES["gte-multilingual-base"])
    change(folder, "config.json", model_type="new", rope_theta=160_000, position_embedding_type="rope", pack_qkv=True,
           layer_norm_type="layer_norm", logn_attention_scale=False)  # fmt: skip
    np.testing.assert_array_equal(vectors(folder), expected)


@pytest.mark.parametrize("engine", ["ctranslate2", pytest.param("openvino", marks=OPENVINO)])
def test_ntk_scaling_turns_as_its_description_says(tmp_path: Path, engine: str) -> None:
    """No library has this without code of the model's own, so it is written out here: attention of one layer."""
    case = Case("new", "word pieces", "cls", settings={"rope_theta": 500.0, "num_hidden_layers": 1})
    folder = write(tmp_path / "model", case)
    change(folder, "config.json", rope_scaling={"type": "ntk", "factor": 2.0})
    weights, size = load_file(folder / "model.safetensors"), WIDTH // HEADS
    config = json.loads((folder / "config.json").read_text())
    (turned,) = set(rotations(config, "model"))
    assert (turned.theta, turned.slower) == (1000.0, pytest.approx(2 ** (2 / size)))
    ids = [2, *range(5, 45), 3]

    def norm(x: Vectors, name: str) -> Vectors:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled: Vectors = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x.astype(np.float64), "embeddings.LayerNorm")
    scope = "encoder.layer.0."
    both = x @ weights[f"{scope}attention.qkv_proj.weight"].T + weights[f"{scope}attention.qkv_proj.bias"]
    q, k, v = (part.reshape(len(ids), HEADS, size).transpose(1, 0, 2) for part in np.split(both, 3, axis=1))
    # The base is multiplied by the factor, and every angle divided by factor^(2/size).
    angles = np.arange(len(ids))[:, None] * (500.0 * 2) ** (-np.arange(0, size, 2) / size) / 2 ** (2 / size)

    def turn(part: Vectors) -> Vectors:
        pairs = part[..., : size // 2] + 1j * part[..., size // 2 :]
        turned = pairs * np.exp(1j * angles)
        return np.concatenate([turned.real, turned.imag], axis=-1)

    scores = np.exp(turn(q) @ turn(k).transpose(0, 2, 1) / np.sqrt(size))
    mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), WIDTH)
    x = norm(x + mixed @ weights[f"{scope}attention.o_proj.weight"].T + weights[f"{scope}attention.o_proj.bias"],
             f"{scope}attn_ln")  # fmt: skip
    up, gate = np.split(x @ weights[f"{scope}mlp.up_gate_proj.weight"].T, 2, axis=1)
    down = (up * gelu(gate)) @ weights[f"{scope}mlp.down_proj.weight"].T + weights[f"{scope}mlp.down_proj.bias"]
    x = norm(x + down, f"{scope}mlp_ln")
    embedder = LocalEmbedder(str(folder), engine=engine, cache_dir=tmp_path)
    embedder.embed(["the"])
    (own,) = embedder._engines.values()
    found = own.vectors([ids])
    embedder.close()
    np.testing.assert_allclose(found[0], x[0], atol=1e-4)


def test_an_engine_that_cannot_run_a_family_is_refused_with_the_one_that_can() -> None:
    family = FAMILIES["modernbert"]
    assert chosen("auto", "float32", "auto", family) == "openvino"
    with pytest.raises(ConfigError, match="CTranslate2 cannot run ModernBERT; OpenVINO can"):
        chosen("ctranslate2", "float32", "cpu", family)
    for precision, device in (("int8", "cpu"), ("float32", "cuda")):
        with pytest.raises(ConfigError, match="only OpenVINO runs ModernBERT"):
            chosen("auto", precision, device, family)


def test_a_missing_engine_is_named_as_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    embedder = LocalEmbedder(str(write(tmp_path / "model", CASES["modernbert-embed"])), cache_dir=tmp_path)
    with pytest.raises(MissingExtraError, match=r"rowvec\[openvino\]"):
        embedder.embed(["the cat"])


def test_a_model_says_what_runs_it(tmp_path: Path) -> None:
    embedder = LocalEmbedder(str(write(tmp_path / "model", CASES["MPNet, max"])), cache_dir=tmp_path)
    assert embedder.how == "MPNet on CTranslate2, pooling max"
    assert embedder.fingerprint.dimension == 40
    modern = LocalEmbedder(str(write(tmp_path / "modern", CASES["modernbert-embed"])), cache_dir=tmp_path)
    assert modern.how == "ModernBERT on OpenVINO, pooling mean"


def test_the_command_says_architecture_pooling_and_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model("show", str(write(tmp_path / "modern", CASES["gte-modernbert-base"])))
    assert "ModernBERT, pooling cls, runs on OpenVINO\n" in capsys.readouterr().out
    model("show", str(write(tmp_path / "mpnet", CASES["all-mpnet-base-v2"])))
    assert "MPNet, pooling mean, runs on CTranslate2 or OpenVINO\n" in capsys.readouterr().out


DENSE: list[tuple[dict[str, Any], str]] = [
    ({"activation_function": "torch.nn.modules.activation.Mish"}, "activation of its Dense module"),
    ({"activation_function": "custom.Tanh"}, "activation of its Dense module"),
    ({"in_features": 31}, "takes 31 dimensions, and gets 32"),
    ({"out_features": 23}, r"'linear.weight' in 2_Dense is F32 \[24, 32\] instead of \[23, 32\]"),
    ({"use_residual": True}, "adds its input"),
]


@pytest.mark.parametrize(("said", "reason"), DENSE)
def test_a_dense_module_that_is_not_as_it_says_is_refused(tmp_path: Path, said: dict[str, Any], reason: str) -> None:
    folder = write(tmp_path / "model", CASES["distiluse-base"])
    change(folder, "2_Dense/config.json", **said)
    with pytest.raises(EmbedderError, match=reason):
        find(str(folder), tmp_path)


def test_a_dense_module_is_part_of_the_fingerprint_and_its_weights_are_missed(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", CASES["distiluse-base"])
    before, file = find(str(folder), tmp_path).revision, folder / "2_Dense" / "model.safetensors"
    weights = load_file(file)
    save_file({name: array + 1 for name, array in weights.items()}, file)
    assert find(str(folder), tmp_path).revision != before
    save_file({"linear.weight": weights["linear.weight"]}, file)
    with pytest.raises(EmbedderError, match=r"2_Dense/model.safetensors holds no 'linear.bias'"):
        find(str(folder), tmp_path)
    file.unlink()
    with pytest.raises(EmbedderError, match=r"has no 2_Dense/model.safetensors"):
        find(str(folder), tmp_path)
