"""Whatever is sent, the server answers as its OpenAPI document says and never with 5xx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.serve_rig import application, filled_store, product_pipeline, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""All but "valid data is accepted": which filters are valid depends on the columns of a pipeline."""

schema = schemathesis.pytest.from_fixture("openapi")


@pytest.fixture(scope="module")
def openapi(server: str) -> Iterator[schemathesis.BaseSchema]:
    with filled_store(server) as store:
        app = application(product_pipeline(store, synced=False), rate=1e6)
        with serving(app) as url:
            yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS)
