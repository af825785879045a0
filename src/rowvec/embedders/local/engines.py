"""Which engine computes the vectors of a model on this machine."""

from __future__ import annotations

from pathlib import Path

from rowvec.embedders.architectures import BERT, TITLES, Family
from rowvec.embedders.local.convert import convert
from rowvec.embedders.local.ctranslate2_engine import CTranslate2Engine, device_of
from rowvec.embedders.local.engine import Engine
from rowvec.embedders.local.openvino_engine import ROWS, SETTINGS, OpenVinoEngine, has_bf16
from rowvec.embedders.model_files import ModelFiles
from rowvec.errors import ConfigError

ENGINES = ("auto", "ctranslate2", "openvino")


def chosen(engine: str, precision: str, device: str, family: Family = BERT, *, queries: bool = False) -> str:
    """The engine's name; of `auto`, the one that is fastest at this precision (docs/benchmarks.md).

    Args:
        family: of the model, which may run on one engine alone.
        queries: for queries over rows of another precision.

    Raises:
        ConfigError: the engine cannot compute in this precision, or on this device, or not this family.
    """
    only = family.engines[0] if len(family.engines) == 1 else None
    if only and engine not in ("auto", only):
        raise ConfigError(
            f"{TITLES[engine]} cannot run {family.name}; {TITLES[only]} can.",
            hint=f'Leave out engine = "{engine}", or set engine = "{only}".',
        )
    engine = only or engine
    if engine == "auto":
        here = precision == "bfloat16" or (queries and precision == "int8" and has_bf16())
        return "openvino" if here and device_of(device) == "cpu" else "ctranslate2"
    precisions = tuple(SETTINGS) if queries else ROWS
    if engine == "openvino" and (precision not in precisions or device == "cuda"):
        what = 'device = "cuda"' if device == "cuda" else f"precision = {precision!r}"
        hint = f"It computes on the CPU, in {' or '.join(precisions)}. "
        need = f", and only OpenVINO runs {family.name}" if only else ""
        hint += "Leave that setting out." if only else 'Leave out engine = "openvino".'
        raise ConfigError(f"OpenVINO does not go with {what} here{need}.", hint=hint)
    return engine


def for_queries(wanted: str | None, precision: str, device: str) -> str:
    """The precision in which queries are computed, for rows of another one.

    `auto` takes bfloat16 for float32 rows where the processor has units for it, since its vectors are the same to the
    fourth digit, and else that of the rows.
    """
    if wanted is None:
        return precision
    if wanted != "auto":
        return wanted
    faster = precision == "float32" and device_of(device) == "cpu" and has_bf16()
    return "bfloat16" if faster else precision


def load_engine(
    files: ModelFiles,
    cache: Path,
    *,
    engine: str,
    precision: str,
    device: str,
    workers: int,
    batch_size: int | None = None,
    queries: bool = False,
) -> Engine:
    """The model, ready to compute.

    Args:
        queries: for queries over rows of another precision.

    Raises:
        ConfigError: this machine does not have the device, or cannot compute in this precision.
        EmbedderError: the model cannot be run here.
    """
    if chosen(engine, precision, device, files.family, queries=queries) == "openvino":
        return OpenVinoEngine(
            files.config, files.weights, files.recipe,
            name=files.name, precision=precision, workers=workers, batch_size=batch_size,
        )  # fmt: skip
    return CTranslate2Engine(
        convert(files, cache), files.recipe,
        words=files.config["vocab_size"], device=device, precision=precision, workers=workers, batch_size=batch_size,
    )  # fmt: skip
