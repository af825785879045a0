"""The samples example in a folder of its own, and the `rowvec` command run there against a server on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rowvec import direct
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.types import Document, Vector
from tests.servers.openai import EmbeddingServer, vector_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "samples"
SMALL = "text-embedding-3-small"
DIMENSION = 1536
DOLLARS_PER_TOKEN = 0.02 / 1e6


@dataclass
class Library:
    """The example as a user has it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def use(self, server: EmbeddingServer) -> None:
        self.environment |= {"EMBEDDINGS_URL": server.url, "EMBEDDINGS_MODEL": SMALL, "OPENAI_API_KEY": "test-key"}

    def configure(self, old: str, new: str) -> None:
        """Change the rowvec.toml."""
        path = self.folder / "rowvec.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rowvec.cli.main", *arguments],
            cwd=self.folder, env=self._whole_environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(self, *arguments: str, expect: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        assert process.returncode == expect, out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    def _whole_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not re.search("API_KEY|TURSO|EMBEDDINGS", name)}
        return {**kept, **self.environment, "TIKTOKEN_CACHE_DIR": os.devnull}

    def documents(self) -> list[Document]:
        """Of every sample without a current vector."""
        return direct.rows_to_embed(1_000_000, config=self.folder)

    def vectors(self) -> dict[int, Vector]:
        database = LocalDatabase(str(self.folder / "embeddings.db"))
        rows = database.query("select id, embedding from sample_embeddings where embedding is not null")
        database.close()
        return {key: np.frombuffer(held, "<f4") for key, held in rows}

    def each_vector_is_its_texts_own(self, documents: list[Document]) -> None:
        """`documents` are those of all samples, or of those that have a vector."""
        vectors = self.vectors()
        assert vectors.keys() == {document.key for document in documents}
        for document in documents:
            expected = vector_of(document.text, DIMENSION)
            assert np.array_equal(vectors[document.key], expected), f"sample {document.key} has another text's vector"  # type: ignore[index]


def make_library(folder: Path, samples: int) -> Library:
    folder.mkdir(exist_ok=True)
    shutil.copy(EXAMPLE / "rowvec.toml", folder)
    spec = importlib.util.spec_from_file_location("make_samples", EXAMPLE / "make_samples.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.make(folder / "samples.db", samples)
    return Library(folder)
