"""What `rowvec init --from` finds in a database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rowvec.sources.propose import propose


def test_a_proposal_finds_key_text_metadata_cursor_and_condition(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    database.execute(
        "create table product (product_id integer primary key, vendor_code text, description text, name text,"
        " price decimal(10,2), deleted boolean, updated_at datetime)"
    )
    database.execute("insert into product (name) values ('x')")
    database.execute("create table link (a integer, b integer, primary key (a, b))")
    database.execute("create table event (slug text unique, is_active boolean)")
    database.execute("create view broken as select * from nowhere")
    database.close()
    product, *others = propose("sqlite:///shop.db", tmp_path)
    assert (product.table, product.rows, product.key, product.key_note) == ("product", 1, "product_id", "primary key")
    assert product.text == ("name", "description")
    assert product.metadata == ("name", "price")
    assert (product.cursor, product.where) == ("updated_at", "not deleted")
    found = {proposal.table: proposal for proposal in others}
    assert found["link"].key is None
    assert "2 columns (a, b)" in found["link"].key_note
    assert (found["event"].key, found["event"].where) == ("slug", "is_active")
    assert "no such table" in found["broken"].key_note
