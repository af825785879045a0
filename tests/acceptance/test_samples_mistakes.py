"""What the samples example says when something about it is wrong, in the words that a user reads."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rowvec.cli.main import main
from tests.acceptance.samples_rig import DIMENSION, Library, make_library
from tests.servers.openai import EmbeddingServer, Fault

SAMPLES = 60
FULL_AT_300_KB = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
SECRET = "eyJhbGciOiJFZERTQSJ9"

Command = Callable[..., str]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer(dimension=DIMENSION) as running:
        yield running


@pytest.fixture
def library(tmp_path: Path, server: EmbeddingServer) -> Library:
    library = make_library(tmp_path, SAMPLES)
    library.use(server)
    return library


@pytest.fixture
def rowvec(library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process that has to end with `code`; what it wrote on stderr."""

    # A service that does not answer is waited for, for a minute.
    monkeypatch.setattr("rowvec.syncing.run.PATIENCE", 1.0)

    def run(*arguments: str, code: int = 1, **environment: str | None) -> str:
        for name, value in {**library.environment, **environment}.items():
            monkeypatch.setenv(name, value) if value is not None else monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(library.folder)
        monkeypatch.setattr(sys, "argv", ["rowvec", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        assert (ended.value.code or 0) == code, written.out + written.err
        assert "Traceback" not in written.err
        assert SECRET not in written.out + written.err
        return written.err

    return run


# The service


def test_no_key(rowvec: Command, server: EmbeddingServer) -> None:
    said = rowvec("sync", EMBEDDINGS_KEY=None)
    assert "needs a key (401), but embedder.api_key is not set." in said
    assert 'Write api_key = "${YOUR_KEY}" beside base_url' in said
    assert server.billed_tokens == 0


def test_a_wrong_key_is_not_repeated(rowvec: Command, server: EmbeddingServer) -> None:
    said = rowvec("sync", EMBEDDINGS_KEY=SECRET)
    assert "does not accept the key in embedder.api_key (401): Incorrect API key provided: ***." in said
    assert "Check embedder.api_key: is it of this provider, and may it use this model?" in said
    assert server.billed_tokens == 0


def test_an_unknown_model(rowvec: Command) -> None:
    said = rowvec("sync", EMBEDDINGS_MODEL="text-embedding-4-small")
    assert "does not know the model: The model 'text-embedding-4-small' does not exist." in said
    assert "Check `model` against the provider's list." in said
    # A connection that was left open would be reported now.
    gc.collect()


def test_a_dimension_that_the_model_does_not_give(rowvec: Command, library: Library, server: EmbeddingServer) -> None:
    library.configure("batch_size = 100", "batch_size = 100\ndimensions = 2000")
    said = rowvec("sync", code=2)
    assert "'text-embedding-3-small' gives 1536 or fewer dimensions, not 2000." in said
    assert server.requests == 0


def test_a_service_that_gives_another_dimension(rowvec: Command, library: Library, server: EmbeddingServer) -> None:
    server.dimension = 384
    said = rowvec("sync")
    assert "gives 384 dimensions instead of 1536." in said
    assert library.vectors() == {}


def test_an_address_that_is_no_api(rowvec: Command, server: EmbeddingServer) -> None:
    said = rowvec("sync", EMBEDDINGS_URL=server.url + "/chat")
    assert f"{server.url}/chat/embeddings is not an embeddings API (status 404)." in said
    assert "Check base_url: it ends where the API's version does" in said


def test_an_address_with_a_web_page(rowvec: Command, library: Library, server: EmbeddingServer) -> None:
    server.chances = {Fault.HTML: 1.0}
    library.configure("batch_size = 100", "batch_size = 10\nmax_tries = 1")
    said = rowvec("sync")
    assert "answers with a web page instead of JSON." in said
    assert library.vectors() == {}


def test_an_address_where_nobody_answers(rowvec: Command, library: Library) -> None:
    library.configure("batch_size = 100", "batch_size = 10\nmax_tries = 1")
    said = rowvec("sync", EMBEDDINGS_URL="http://127.0.0.1:9/v1")
    assert "http://127.0.0.1:9/v1 cannot be reached:" in said
    assert "Check base_url, the network and the proxy." in said


def test_an_address_that_is_none(rowvec: Command) -> None:
    said = rowvec("plan", code=2, EMBEDDINGS_URL="openrouter.ai")
    assert re.search(r"pipelines\.samples\.embedder\.base_url is not a web address", said)


# The keys


@pytest.mark.parametrize(
    ("keys", "problem", "advice"),
    [
        ("10-5", "--keys 10-5: the range runs backwards.", "Write 5-10."),
        ("a-b", "'a' is not a valid integer key.", "The keys of this pipeline are integers."),
        ("1,x", "'x' is not a valid integer key.", "The keys of this pipeline are integers."),
        ("1-", "'' is not a valid integer key.", "The keys of this pipeline are integers."),
        ("99999999999999999999", "'99999999999999999999' is not a valid integer key.", "A key has at most 64 bits."),
        ("1-99999999999999999999", "'99999999999999999999' is not a valid integer key.", "A key has at most 64 bits."),
        ('"1', "--keys: unexpected end of data.", "Write a key with a comma as in CSV"),
        (" , ", "--keys names no key.", "Write for example --keys 1,5,10-20."),
    ],
)
def test_keys_that_make_no_sense(
    rowvec: Command, server: EmbeddingServer, keys: str, problem: str, advice: str
) -> None:
    for command in ("plan", "sync"):
        said = rowvec(command, "--keys", keys, code=2)
        assert problem in said
        assert advice in said
    assert server.requests == 0


def test_keys_that_are_not_there_are_no_error(rowvec: Command, server: EmbeddingServer) -> None:
    rowvec("sync", "--keys", "100000-100010", code=0)
    assert server.requests == 0


@pytest.mark.parametrize(
    ("amount", "said"), [("0", "it must be more than 0"), ("-1", "it must be more than 0"), ("nan", "not written as a")]
)
def test_a_budget_that_allows_nothing(rowvec: Command, server: EmbeddingServer, amount: str, said: str) -> None:
    assert said in rowvec("sync", "--max-cost", amount, code=2)
    assert server.requests == 0


def test_a_budget_for_a_model_of_unknown_price(rowvec: Command) -> None:
    said = rowvec("sync", "--max-cost", "1", code=2, EMBEDDINGS_URL="https://example.org/v1", EMBEDDINGS_MODEL="mine")
    assert "--max-cost needs a price, but the price of 'mine' is not known." in said
    assert "price_per_million" in said


# The files


def test_a_full_disk_loses_nothing_that_was_stored(library: Library, server: EmbeddingServer) -> None:
    library.configure("batch_size = 100", "batch_size = 5")
    said = library.run("sync", expect=1, first=FULL_AT_300_KB).stderr
    assert re.search(r"embeddings\.db: (The disk is full|The disk refused)", said)
    assert re.search("sync again", said)
    before = server.billed_texts.total()
    report = library.json("sync")
    assert report["inserted"] == SAMPLES - report["unchanged"]
    assert server.billed_texts.total() - before == report["inserted"]
    library.each_vector_is_its_texts_own(library.documents())


def test_a_file_that_may_only_be_read(rowvec: Command, library: Library) -> None:
    library.run("sync", "--keys", "1-10")
    said = rowvec("sync", TURSO_DATABASE_URL=f"file:{library.folder / 'embeddings.db'}?mode=ro")
    assert "embeddings.db: The database can be read but not written." in said
    assert "Check the owner and permissions of the file and its folder" in said


def test_a_file_of_something_else_is_left_as_it_is(rowvec: Command, library: Library) -> None:
    path = library.folder / "embeddings.db"
    path.write_text("These are my notes about samples.\n" * 100)
    said = rowvec("sync")
    assert "embeddings.db: The file is not a libSQL or SQLite database." in said
    assert path.read_text().startswith("These are my notes")


def test_a_damaged_file(rowvec: Command, library: Library, server: EmbeddingServer) -> None:
    library.run("sync", "--keys", "1-50")
    path = library.folder / "embeddings.db"
    damaged = path.read_bytes()
    path.write_bytes(damaged[:4096] + os.urandom(len(damaged) - 4096))
    said = rowvec("sync")
    assert "embeddings.db: The database file is damaged." in said
    assert "Restore it from a copy, or move it away and sync again" in said
    assert server.billed_texts.total() == 50


def test_a_damaged_file_of_samples(rowvec: Command, library: Library) -> None:
    (library.folder / "samples.db").write_text("no database" * 100)
    assert "samples.db is not a SQLite database." in rowvec("plan")


def test_rows_and_vectors_in_one_file(rowvec: Command, library: Library) -> None:
    said = rowvec("sync", code=2, TURSO_DATABASE_URL="samples.db")
    assert "holds the rows and cannot hold the vectors too" in said


# The token


@pytest.mark.parametrize("form", ["libsql://127.0.0.1:9?tls=0&authToken={}", "http://x:{}@127.0.0.1:9"])
def test_a_token_in_the_address_is_never_shown(rowvec: Command, form: str) -> None:
    said = rowvec("--verbose", "check", TURSO_DATABASE_URL=form.format(SECRET))
    assert SECRET not in said


def test_a_token_in_its_own_variable_is_never_shown(rowvec: Command) -> None:
    said = rowvec("check", TURSO_DATABASE_URL="http://127.0.0.1:9", TURSO_AUTH_TOKEN=SECRET)
    assert SECRET not in said
