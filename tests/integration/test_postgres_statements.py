"""How a session of our own is asked for what a search needs."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from rowvec.stores.postgres.connect import connect, rows_under

SETTINGS = {"enable_seqscan": "off", "work_mem": "8MB"}
ASKED = b"select current_setting('enable_seqscan'), current_setting('work_mem'), %s::int"
OFTEN = 8
"""Times after which the driver has had a statement prepared."""


def test_settings_hold_for_one_statement(postgres_url: str) -> None:
    with connect(postgres_url, "test") as session:
        before = session.execute(ASKED, [0]).fetchall()
        for number in range(OFTEN):
            assert rows_under(session, SETTINGS, ASKED, [number], prepare=True) == [("off", "8MB", number)]
            assert session.info.transaction_status is TransactionStatus.IDLE
        assert session.execute(ASKED, [0]).fetchall() == before != [("off", "8MB", 0)]


def test_what_fails_under_settings_is_said_as_it_is(postgres_url: str) -> None:
    with connect(postgres_url, "test") as session:
        for prepare in (True, False):
            with pytest.raises(psycopg.errors.DivisionByZero):
                rows_under(session, SETTINGS, b"select 1 / %s::int", [0], prepare=prepare)
            with pytest.raises(psycopg.errors.UndefinedTable):
                rows_under(session, SETTINGS, b"select * from not_there where a = %s", [0], prepare=prepare)
            assert session.info.transaction_status is TransactionStatus.IDLE
            assert session.execute("show enable_seqscan").fetchone() == ("on",)


def test_settings_hold_in_the_transaction_of_a_caller(postgres_url: str) -> None:
    with connect(postgres_url, "test") as session:
        with session.transaction():
            assert rows_under(session, SETTINGS, ASKED, [1], prepare=True) == [("off", "8MB", 1)]
            assert session.info.transaction_status is TransactionStatus.INTRANS
        assert session.execute("show enable_seqscan").fetchone() == ("on",)
