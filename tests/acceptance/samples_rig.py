"""The samples example in a folder of its own, and the `rowvec` command run there against a server on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rowvec import assemble
from rowvec.pipeline import Options
from rowvec.stores.libsql.local import LocalDatabase
from rowvec.syncing.preview import documents_to_embed
from rowvec.types import Document, Vector
from tests import forks
from tests.servers.openai import EmbeddingServer, vector_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "samples"
SMALL = "text-embedding-3-small"
DIMENSION = 1536
DOLLARS_PER_TOKEN = 0.02 / 1e6

# A parent's memory counts in a child's ru_maxrss, so the process itself is asked.
_INSPECTED = """
import re, runpy, sys
try:
    runpy.run_module("rowvec.cli.main", run_name="__main__")
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
    print("", peak, *sys.modules, sep=" ", file=sys.stderr)
"""


@dataclass
class Library:
    """The example as a user has it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def use(self, server: EmbeddingServer) -> None:
        self.environment |= {"EMBEDDINGS_URL": server.url, "EMBEDDINGS_MODEL": SMALL, "EMBEDDINGS_KEY": "test-key"}

    def use_nowhere(self) -> None:
        """Nothing answers there; for what needs no embedding."""
        self.environment |= {"EMBEDDINGS_URL": "http://127.0.0.1:1/v1", "EMBEDDINGS_MODEL": SMALL}

    def configure(self, old: str, new: str) -> None:
        """Change the rowvec.toml."""
        path = self.folder / "rowvec.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def start(self, *arguments: str, first: str = "") -> forks.Command:
        """
        Args:
            first: Python that the command's process runs before.
        """
        code = f"{first}\nfrom rowvec.cli.main import main; main()"
        return forks.start(
            "" if first else "rowvec.cli.main", *arguments, code=code,
            cwd=self.folder, env=self._whole_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, expect: int = 0, first: str = "") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, first=first)
        out, err = process.communicate()
        assert process.returncode == expect, out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    def inspected(self, *arguments: str) -> tuple[int, set[str]]:
        """The most bytes of memory a command held, and the modules it had imported, when it was done."""
        process = subprocess.run(
            [sys.executable, "-c", _INSPECTED, *arguments],
            cwd=self.folder, env=self._whole_environment(), text=True, capture_output=True, check=True,
        )  # fmt: skip
        peak, *modules = process.stderr.splitlines()[-1].split()
        return int(peak) * 1024, set(modules)

    def _whole_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not re.search("API_KEY|TURSO|EMBEDDINGS", name)}
        return {**kept, **self.environment, "TIKTOKEN_CACHE_DIR": os.devnull}

    def documents(self) -> list[Document]:
        """Of every sample as it is now."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            with assemble.opened(self.folder, None) as pipeline:
                return list(documents_to_embed(pipeline, Options(force=True)))

    def query(self, sql: str) -> list[sqlite3.Row]:
        """Ask or change the samples."""
        with closing(sqlite3.connect(self.folder / "samples.db")) as database, database:
            database.row_factory = sqlite3.Row
            return database.execute(sql).fetchall()

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
