"""A URL of a store that the driver refuses is told in words, and never shown."""

from __future__ import annotations

import pytest

from rowvec.errors import StoreError
from rowvec.stores.postgres.connect import connect


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:sekret@127.0.0.1/x?pgbouncer=true", "has the parameter 'pgbouncer'"),
        ("postgresql://u:sekret@127.0.0.1/x?sslmode=disable&schema=shop", "has the parameter 'schema'"),
        ("postgresql://u:sekret@127.0.0.1/x?sslmode=wrong", "invalid sslmode value"),
        ("postgresql://u:sekret@127.0.0.1:a/x", "invalid integer value"),
        ("postgresql://u:p/sekret?sekret=1@127.0.0.1/x", "is not a PostgreSQL connection string"),
        ("postgresql://[sekret/x", "is not a PostgreSQL connection string"),
    ],
)
def test_what_the_driver_cannot_use_is_named(url: str, said: str) -> None:
    with pytest.raises(StoreError) as refused:
        connect(url, "test")
    assert said in str(refused.value)
    assert refused.value.hint
    assert "sekret" not in f"{refused.value} {refused.value.hint}"
