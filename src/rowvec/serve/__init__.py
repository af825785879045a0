"""Search over HTTP: an API, a web page, health and metrics for one or several pipelines.

guard           who may ask, how often, how much: one ASGI layer around everything else
service         one pipeline ready to be searched: model loaded, query vectors cached
search_routes   the searches           embeddings, rerank   OpenAI's /v1
state_routes    health, status, metrics, the list of pipelines
page            the web page, its status pictures and the API's own documentation page
map_routes      the map of the vectors          colours         which colour its points have
"""

from __future__ import annotations

from rowvec.serve.api import create_app
from rowvec.serve.service import Service
from rowvec.serve.settings import ServeSettings

__all__ = ["ServeSettings", "Service", "create_app"]
