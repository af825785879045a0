"""The dashboard for Grafana asks for metrics that the server gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.integration.serve_rig import application, client_of, product_pipeline

DASHBOARD = Path(__file__).parents[2] / "docs" / "howto" / "grafana.json"
WITH_A_BROKER = {"rowvec_tasks_waiting"}
WITH_A_RERANKER = {"rowvec_rerank_cost_dollars_total"}


def test_each_metric_of_the_dashboard_is_one_of_the_servers() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {name for panel in panels for each in panel["targets"] for name in re.findall(r"rowvec_\w+", each["expr"])}
    with client_of(application(product_pipeline())) as client:
        for mode in ("semantic", "hybrid"):
            assert client.post(f"/search/{mode}", json={"query": "brake"}).status_code == 200
        given = set(re.findall(r"(?m)^(?:# HELP )?(rowvec_\w+)", client.get("/metrics").text))
    assert len(asked) > 15
    assert asked - given <= WITH_A_BROKER | WITH_A_RERANKER
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
