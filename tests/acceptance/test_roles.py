"""Commands under roles that have what docs/howto/least-rights.md grants, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from rowvec.errors import StoreError
from rowvec.stores.postgres.store import PostgresStore
from tests.acceptance.shop import Finished, Shop
from tests.conftest import ROOT
from tests.servers.openai import EmbeddingServer
from tests.support import as_role

PAGE = ROOT / "docs" / "howto" / "least-rights.md"
PASSWORDS = {"rowvec_sync": "first", "rowvec_search": "second", "rowvec_rows": "third"}
EMBEDDER = (
    'kind = "openai", model = "text-embedding-3-small", base_url = "${{MODEL_URL}}", api_key = "test-key",'
    ' dimensions = 16, passage_prompt = "{prompt}"'
)
"""Another prompt makes other vectors."""


@dataclass
class Company:
    admin: psycopg.Connection[tuple[object, ...]]
    shop: Shop
    url: str

    def grant(self, *titles: str) -> None:
        """Run the statements of the page."""
        blocks = dict(re.findall(r'```sql title="(\w+)"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL))
        for title in titles:
            self.admin.execute(blocks[title].replace("DATABASE shop", f"DATABASE {self.admin.info.dbname}").encode())

    def role(self, name: str) -> str:
        return as_role(self.url, name, PASSWORDS[name])

    def declare(self, store: str, prompt: str = "") -> None:
        self.shop.declare(
            source=f'url = "{self.role("rowvec_rows")}", table = "shop.products", key = "id"',
            embedder=EMBEDDER.format(prompt=prompt),
            store=f'kind = "postgres", url = "{self.role(store)}", table = "vectors.products", metadata = ["price"]',
        )

    def advice(self, said: str) -> str:
        """The statements that an error asks an administrator to run."""
        found = re.search(r"Let an administrator run: ((?:[A-Z][^;]+;\s*)+)", re.sub(r"\s+", " ", said))
        assert found is not None, said
        return found[1]


def well(done: Finished) -> str:
    """What it printed."""
    assert done.code == 0, done.err
    return done.out


@pytest.fixture
def company(postgres_url: str, tmp_path: Path) -> Iterator[Company]:
    database = urlsplit(postgres_url).path.lstrip("/")
    with EmbeddingServer(dimension=16) as model, psycopg.connect(postgres_url, autocommit=True) as admin:
        # Nobody gets more by being anybody.
        admin.execute(f"revoke all on database {database} from public".encode())
        admin.execute("create schema shop")
        admin.execute("create table shop.products (id integer primary key, name text, description text, price real)")
        admin.execute("insert into shop.products select n, 'lamp ' || n, 'lights', n from generate_series(1, 12) n")
        company = Company(admin, Shop(tmp_path, {"MODEL_URL": model.url}), postgres_url)
        company.grant("setup")
        for role in PASSWORDS:
            admin.execute(f"grant connect on database {database} to {role}".encode())
        try:
            yield company
        finally:
            for role in PASSWORDS:
                admin.execute(f"drop owned by {role} cascade; drop role {role}".encode())
            admin.execute(f"grant connect, temporary on database {database} to public".encode())


def test_each_role_does_its_work_with_what_the_page_grants(company: Company) -> None:
    company.grant("rows")
    company.declare("rowvec_sync")
    well(company.shop.run("sync"))
    company.admin.execute("update shop.products set name = 'desk' where id = 3; delete from shop.products where id = 4")
    well(company.shop.run("sync"))
    well(company.shop.run("check"))
    well(company.shop.run("index", "build"))
    company.grant("search")
    company.declare("rowvec_search")
    for command in (("search", "desk"), ("search", "lamp", "--mode", "keyword", "--passages", "1"), ("status",)):
        well(company.shop.run(*command))
    well(company.shop.run("audit"))
    assert "desk" in company.shop.run("search", "desk", "--mode", "hybrid", "--passages", "1").out
    # Another model: a new table, its tables beside, and the swap.
    company.declare("rowvec_sync", "row: ")
    well(company.shop.run("sync"))
    company.declare("rowvec_search", "row: ")
    assert "desk" in company.shop.run("search", "desk", "--mode", "hybrid", "--passages", "1").out


def test_grants_on_single_tables_go_over_to_the_next_generation(company: Company) -> None:
    company.grant("rows")
    company.declare("rowvec_sync")
    well(company.shop.run("sync"))
    company.admin.execute("grant usage on schema vectors, rowvec to rowvec_search")
    company.admin.execute("grant select on all tables in schema vectors, rowvec to rowvec_search")
    company.declare("rowvec_sync", "row: ")
    well(company.shop.run("sync"))
    company.declare("rowvec_search", "row: ")
    assert "lamp 7" in well(company.shop.run("search", "lamp 7", "--mode", "hybrid", "--passages", "1"))


def test_a_role_that_may_not_use_the_extension_or_make_temporary_tables_is_told_so(company: Company) -> None:
    company.grant("rows")
    company.declare("rowvec_sync")
    database = company.admin.info.dbname
    company.admin.execute("revoke all on schema public from public")
    company.admin.execute(f"revoke temporary on database {database} from rowvec_sync".encode())
    for wanted in ("USAGE ON SCHEMA public", f"TEMPORARY ON DATABASE {database}"):
        refused = company.shop.run("sync")
        assert refused.code == 1
        assert company.advice(refused.err).strip() == f"GRANT {wanted} TO rowvec_sync;"
        company.admin.execute(company.advice(refused.err).encode())
    well(company.shop.run("sync"))


@pytest.mark.parametrize("command", [("search", "lamp 7", "--mode", "hybrid", "--passages", "1"), ("status",)])
def test_what_a_role_lacks_to_search_is_said_and_is_enough(company: Company, command: tuple[str, ...]) -> None:
    company.grant("rows")
    company.declare("rowvec_sync")
    well(company.shop.run("sync"))
    company.declare("rowvec_search")
    refused = company.shop.run(*command)
    assert refused.code == 1
    company.admin.execute(company.advice(refused.err).encode())
    well(company.shop.run(*command))
    company.declare("rowvec_sync", "row: ")
    well(company.shop.run("sync"))
    company.declare("rowvec_search", "row: ")
    well(company.shop.run(*command))


def test_what_a_role_lacks_to_keep_spending_is_said_and_is_enough(company: Company) -> None:
    company.grant("rows", "search")
    company.declare("rowvec_sync")
    well(company.shop.run("sync"))
    url = company.role("rowvec_search")
    with closing(PostgresStore(url, "vectors.products", pipeline="products")) as store:
        with pytest.raises(StoreError, match="permission denied for table spending") as refused:
            store.spend(1.0)
        company.admin.execute(company.advice(str(refused.value)).encode())
        store.spend(1.0)
        assert store.totals().rerank_cost == 1.0
    company.grant("spending", "page")


def test_what_the_role_of_the_rows_lacks_is_said_and_is_enough(company: Company) -> None:
    company.declare("rowvec_sync")
    for _ in range(2):
        refused = company.shop.run("sync")
        assert refused.code == 1, refused.err
        company.admin.execute(company.advice(refused.err).encode())
    well(company.shop.run("sync"))


def test_what_a_role_that_searches_lacks_to_sync_is_said(company: Company) -> None:
    company.grant("rows", "search")
    company.declare("rowvec_sync")
    well(company.shop.run("sync"))
    company.declare("rowvec_search")
    company.admin.execute("update shop.products set name = 'desk' where id = 3")
    refused = company.shop.run("sync")
    assert refused.code == 1
    assert company.advice(refused.err).strip() == "GRANT rowvec_sync TO rowvec_search;"
    company.admin.execute(company.advice(refused.err).encode())
    well(company.shop.run("sync"))


def test_what_a_superuser_has_made_is_given_to_the_role_that_syncs(company: Company) -> None:
    """The advice was to make that role a superuser's member, which may do everything."""
    company.grant("rows")
    company.admin.execute("drop schema rowvec; drop schema vectors; create schema vectors")
    company.declare("rowvec_sync")
    config = company.shop.folder / "rowvec.toml"
    config.write_text(config.read_text().replace(company.role("rowvec_sync"), company.url))
    well(company.shop.run("sync"))
    company.declare("rowvec_sync")
    company.admin.execute("update shop.products set name = 'desk' where id = 3")
    said = []
    while (refused := company.shop.run("sync")).code == 1:
        said.append(company.advice(refused.err))
        assert len(said) < 5, said
        company.admin.execute(said[-1].encode())
    well(refused)
    assert "ALTER TABLE vectors.products OWNER TO rowvec_sync;" in " ".join(said)
    superuser = company.admin.execute("select quote_ident(current_user)").fetchone()
    assert superuser is not None
    assert f"GRANT {superuser[0]} TO" not in " ".join(said)
