"""Whatever is sent, the server answers as its OpenAPI document says and never with 5xx."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine

from rowvec.workers.celery import app
from tests.integration.serve_rig import application, filled_store, product_pipeline, serving

# Of kombu, whose tables in SQLAlchemy use it.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""All but "valid data is accepted": which filters are valid depends on the columns of a pipeline."""

schema = schemathesis.openapi.from_dict(application(product_pipeline(count=1)).openapi())
OPERATIONS = {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}


@pytest.fixture(scope="module")
def broker(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tasks wait in the tests' PostgreSQL, and nobody carries them out."""
    folder: Path = tmp_path_factory.mktemp("broker")
    address = server.replace("postgresql://", "postgresql+psycopg://")
    (folder / "rowvec.toml").write_text(
        f'[workers]\nbroker = "sqla+{address}"\nresults = "db+{address}"\n'
        '[pipelines.products]\nsource = { kind = "sql", url = "sqlite:///none.db", table = "products", key = "id" }\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWVEC_CONFIG", str(folder / "rowvec.toml"))
        yield
    app.close()
    for each in gc.get_objects():
        if isinstance(each, Engine):  # Celery and kombu give no other way to close what they pool.
            each.dispose()


@pytest.fixture(scope="module")
def url(server: str, broker: None) -> Iterator[str]:
    with (
        filled_store(server) as store,
        serving(application(product_pipeline(store, synced=False), rate=1e6)) as address,
    ):
        yield address


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_documented(url: str, label: str, mode: GenerationMode) -> None:
    strategy = OPERATIONS[label].as_strategy(mode)

    @given(case=strategy)
    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        # A longer address is refused by the parser of HTTP, before the application has a say.
        assume(len(case.as_transport_kwargs(base_url=url)["url"]) + len(urlencode(case.query or {})) < 60_000)
        case.call_and_validate(base_url=url, checks=CHECKS)

    try:
        check()
    except Unsatisfiable:
        # An operation without parameters and body has no invalid requests.
        assert mode is GenerationMode.NEGATIVE
