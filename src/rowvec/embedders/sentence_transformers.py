"""The embedder for any model that the sentence-transformers library loads; brings torch along."""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from rowvec.embedders.base import shortened
from rowvec.embedders.known_prompts import choose, known_as
from rowvec.embedders.matryoshka import checked_dimensions, trained_to_shorten
from rowvec.embedders.model_cache import default_cache, file_digest
from rowvec.embedders.model_json import Settings
from rowvec.embedders.model_recipe import ModelRecipe
from rowvec.embedders.windows import readable
from rowvec.errors import EmbedderError, MissingExtraError, TextRefused
from rowvec.types import Embedded, Fingerprint, Vector, Vectors

DECISIVE = ("*.safetensors", "*.bin", "modules.json", "config.json", "tokenizer.json")
BATCH = 32
"""Texts that the library computes at once by default."""


class SentenceTransformersEmbedder:
    """Texts to vectors with the sentence-transformers library.

    Args:
        model: a folder, or a name on the Hugging Face hub.
        device: a torch device; the library's choice unless given.
        batch_size: texts that the library computes at once.
        query_prompt: put before a query; unless given the model's own prompt `query`, or what is known of the model.
        passage_prompt: put before a text; likewise, the model's own prompt `document`, `passage` or `corpus`.
        revision: a branch, tag or commit of the hub.
        dimensions: of the vectors, to make them shorter than the model's own; see `matryoshka`.
        trust_remote_code: run Python code that the model brings along.

    Raises:
        MissingExtraError: the library is not installed.
        EmbedderError: the library cannot load the model.
    """

    billed = False
    concurrency = 1
    chunk_texts = 256
    chunk_tokens = 16_384

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        batch_size: int | None = None,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
        revision: str | None = None,
        dimensions: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self._batch = batch_size or BATCH
        self._model = _load(model, device=device, revision=revision, trust_remote_code=trust_remote_code)
        # The library adds these two where the model's files do not name them.
        filled = ("query", "document")
        prompts = {name: text for name, text in (self._model.prompts or {}).items() if text or name not in filled}
        recipe = ModelRecipe(prompts=prompts, default_prompt=self._model.default_prompt_name)
        folder = Path(model).expanduser()
        known = known_as(model, _config(folder), on_hub=not folder.is_dir())
        self._query_prompt, self._passage_prompt, self.prompt_note = choose(known, recipe, query_prompt, passage_prompt)
        self.shortens = trained_to_shorten(known, _config(folder))
        own = int(self._model.get_embedding_dimension())
        self._dimension = None if dimensions is None else checked_dimensions(model, dimensions, own)
        self.similarity = str(getattr(self._model, "similarity_fn_name", None) or "cosine")
        self._at_work = threading.Lock()
        kinds = [type(module).__name__ for module in self._model]
        window = self._model.max_seq_length
        self.fingerprint = Fingerprint(
            kind="sentence-transformers",
            model=folder.resolve().name if folder.is_dir() else model,
            revision=_folder_revision(folder) if folder.is_dir() else _hub_revision(model, revision),
            dimension=self._dimension or own,
            normalized="Normalize" in kinds,
            prompt=self._passage_prompt,
            max_tokens=None if window is None or window == math.inf else int(window),
            precision=str(self._model.dtype).removeprefix("torch."),
        )

    def embed(self, texts: Sequence[str]) -> Embedded:
        counts = self._counts(self._passage_prompt, texts)
        window = self.fingerprint.max_tokens
        tokens = sum(count if window is None else min(count, window) for count in counts)
        truncated = [place for place, count in enumerate(counts) if window is not None and count > window]
        return Embedded(self._encoded(self._model.encode_document, texts, self._passage_prompt), tokens, truncated)

    def embed_query(self, text: str) -> Vector:
        vector: Vector = self._encoded(self._model.encode_query, [text], self._query_prompt)[0]
        return vector

    exact_tokens = True

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        window = self.fingerprint.max_tokens
        counts = self._counts(self._passage_prompt, texts)
        return counts if window is None else [min(count, window) for count in counts]

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """See `rowvec.embedders.base.KnowsWindow`."""
        window = self.fingerprint.max_tokens
        return [window is None or count <= window for count in self._counts(self._passage_prompt, texts)]

    def close(self) -> None:
        """The memory goes back when the embedder itself does."""

    def _counts(self, prompt: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with nothing cut off."""
        if not texts:
            return []
        from tokenizers import Tokenizer

        tokenizer, whole = self._model.tokenizer, [prompt + readable(text) for text in texts]
        # A tokenizer keeps what it truncates at as a state of its own, which the model at work sets, too.
        with self._at_work:
            if isinstance(tokenizer, Tokenizer):  # of a static model, which is nothing but a vector for each token
                return [len(each.ids) for each in tokenizer.encode_batch(whole, add_special_tokens=False)]
            # Not verbose: the tokenizer would warn of every text that is about to be truncated.
            return [len(ids) for ids in tokenizer(whole, truncation=False, verbose=False)["input_ids"]]

    def _encoded(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str) -> Vectors:
        if not texts:
            return np.empty((0, self.fingerprint.dimension), np.float32)
        try:
            with self._at_work:
                vectors = encode(
                    [readable(text) for text in texts],
                    prompt=prompt,
                    batch_size=self._batch,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
        # What torch raises for a token that the model has no vector for.
        except IndexError as error:
            raise TextRefused(f"The model {self.fingerprint.model!r} has no vector for a token: {error}.") from error
        # What torch raises when a device runs out of memory or fails.
        except RuntimeError as error:
            raise EmbedderError(
                f"The model {self.fingerprint.model!r} could not be run: {error}.", hint="Try a smaller batch_size."
            ) from error
        found = np.asarray(vectors, np.float32)
        if self._dimension is None:
            return found
        return shortened(found, self._dimension) if self.fingerprint.normalized else found[:, : self._dimension]


def _load(model: str, **options: Any) -> Any:
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise MissingExtraError('An embedder of kind "sentence-transformers"', "sentence-transformers") from error
    try:
        return library.SentenceTransformer(model, **options)
    # Its errors come from three libraries and the model's own code, with no root in common.
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise EmbedderError(
            f"The sentence-transformers library cannot load the model {model!r}: {type(error).__name__}: {reason}.",
            hint="Check the name and the network, or copy the model's files to this machine and give their folder.",
        ) from error


def _config(folder: Path) -> Mapping[str, Any]:
    return Settings(folder / "config.json", optional=True).values


def _folder_revision(folder: Path) -> str:
    """Made of every file in the folder that holds weights, or says what is done with them."""
    files = sorted(path for name in DECISIVE for path in folder.glob(f"**/{name}"))
    digests = "".join(file_digest(path, default_cache()) for path in files)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def _hub_revision(model: str, revision: str | None) -> str:
    """The commit that the library has just fetched or found: the name of the folder that holds it.

    A name without an organisation is one of `sentence-transformers`, or one of the first models of the hub.
    """
    from huggingface_hub import try_to_load_from_cache

    # Where the library keeps its models; None is the hub's own folder.
    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    # A model made of modules has a config.json in their folders, and perhaps none of its own.
    names = [model] if "/" in model else [model, f"sentence-transformers/{model}"]
    for name, file in product(names, ("modules.json", "config.json")):
        found = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
        if isinstance(found, str):
            return Path(found).parent.name
    return revision or ""
