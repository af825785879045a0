"""From nothing to search: a database, a catalogue, dbt, vectors, a query, a mart.

    python run.py                       2,000 products in a PostgreSQL of its own, kept in .demo
    python run.py --rows 50000
    python run.py --folder /var/demo    keep it elsewhere

With STAGING_DB_HOST set, the database that the variables name is used instead: it needs pgvector, and a role that
may create schemas. Its table bronze.products is replaced.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from rowvec.stores.postgres.embedded import embedded_url
from rowvec.support.redaction import redact

HERE = Path(__file__).resolve().parent
DATABASE = USER = PASSWORD = "analytics"
QUERY = "пневматическая подушка"
NEAREST = """
select e.product_id, s.name, s.vendor_code, s.price, e.embedding <=> q.embedding as distance
from analytics_features.product_embeddings e
join staging_staging.stg_product s on e.product_id = s.product_id
cross join (select embedding from analytics_features.product_embeddings order by product_id limit 1) q
order by e.embedding <=> q.embedding limit 3
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--folder", type=Path, default=HERE / ".demo")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | settings(folder)
    python = sys.executable
    rowvec = [python, "-m", "rowvec.cli.main"]
    dbt = [tool("dbt"), "--no-send-anonymous-usage-stats"]

    def step(*command: str) -> None:
        shown = " ".join(Path(part).name if part in (python, dbt[0]) else part for part in command)
        print(f"\n$ {redact(shown.replace('python -m rowvec.cli.main', 'rowvec'))}", flush=True)
        if code := subprocess.run(command, cwd=HERE, env=environment).returncode:
            sys.exit(code)

    step(python, "make_products.py", address(environment), "--rows", str(options.rows))
    step(*dbt, "build", "--select", "path:models/staging")
    step(*rowvec, "check")
    step(*rowvec, "sync")
    step(*rowvec, "search", QUERY, "--limit", "3")
    step(*dbt, "build", "--select", "source:features+")
    step(*rowvec, "status")
    print("\nThe products nearest to the first one, in SQL:", flush=True)
    with psycopg.connect(address(environment)) as connection:
        for row in connection.execute(NEAREST):
            print("  ", *row, sep="  ")


def settings(folder: Path) -> dict[str, str]:
    """The variables that rowvec.toml and the dbt project read, as far as they are not set; starts the database."""
    made = {
        "DBT_PROJECT_DIR": str(HERE / "dbt"), "DBT_PROFILES_DIR": str(HERE / "dbt"),
        "DBT_TARGET_PATH": str(folder / "dbt-target"), "DBT_LOG_PATH": str(folder / "dbt-logs"),
    }  # fmt: skip
    if "STAGING_DB_HOST" in os.environ:
        return made
    url = embedded_url(folder)
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            connection.execute(f"create role {USER} login password '{PASSWORD}'")
            connection.execute(f"create database {DATABASE} owner {USER}")
            with psycopg.connect(make_conninfo(url, dbname=DATABASE)) as inside:
                inside.execute("create extension vector")  # Which takes a superuser.
        host, port = connection.info.host, str(connection.info.port)
    return made | {
        "STAGING_DB_HOST": host, "STAGING_DB_PORT": port, "STAGING_DB_NAME": DATABASE, "STAGING_DB_USER": USER,
        "STAGING_DB_PASSWORD": PASSWORD, "PGVECTOR_HOST": host, "PGVECTOR_PORT": port, "PGVECTOR_DATABASE": DATABASE,
        "PGVECTOR_USER": USER, "PGVECTOR_PASSWORD": PASSWORD,
    }  # fmt: skip


def address(environment: dict[str, str]) -> str:
    named = {name: environment.get(f"STAGING_DB_{name.upper()}", default) for name, default in (
        ("host", "localhost"), ("port", "5433"), ("user", USER), ("password", PASSWORD),
    )}  # fmt: skip
    parameters = "&".join(f"{name}={quote(value, safe='/')}" for name, value in named.items())
    return f"postgresql:///{environment.get('STAGING_DB_NAME', DATABASE)}?{parameters}"


def tool(name: str) -> str:
    """A command installed beside this Python, or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed: pip install dbt-postgres")
    return found


if __name__ == "__main__":
    main()
