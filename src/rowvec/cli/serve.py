"""`rowvec serve`: the HTTP API and the page, until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rowvec import assemble
from rowvec import config as settings
from rowvec.cli import show
from rowvec.errors import MissingExtraError

if TYPE_CHECKING:
    from rowvec.serve import ServeSettings, Service

KEY_VARIABLE = "ROWVEC_API_KEY"
SEARCH_SECONDS = 10.0
"""A search that the database needs longer for is cancelled."""


def serve(
    config: Path | None,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    pipelines: Sequence[str] = (),
    api_key_env: str = KEY_VARIABLE,
    insecure: bool = False,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    rate: float = 500.0,
) -> None:
    """Serve the pipelines of a config, all of them where none is named.

    Args:
        api_key_env: the environment variable with the API key, or with several, separated by commas.
        insecure: allow another host than loopback without a key.
        rate: requests a second for each key or address.

    Raises:
        ConfigError: the config is wrong, or the server would be open to the network.
        SourceError, EmbedderError: rows or model of a pipeline cannot be found. A store that does not answer is no
            error: the server says so with 503 until it does.
    """
    try:
        from rowvec.serve import ServeSettings
    except ModuleNotFoundError as error:
        raise MissingExtraError("rowvec serve", "serve") from error
    keys = tuple(key.strip() for key in os.environ.get(api_key_env, "").split(",") if key.strip())
    options = ServeSettings(
        host=host,
        api_keys=keys,
        insecure=insecure,
        allowed_hosts=tuple(allowed_hosts),
        cors_origins=tuple(cors_origins),
        rate=rate,
    )
    with ExitStack() as stack:
        services = _services(stack, config, pipelines, options)
        _listen(services, options, port)


def _services(
    stack: ExitStack, config: Path | None, names: Sequence[str], options: ServeSettings
) -> dict[str, Service]:
    from rowvec.serve import Service

    loaded = settings.load(config)
    services = {}
    for name in names or loaded.names:
        pipeline = assemble.assemble(
            loaded, loaded.pipeline(name), readers=2 * (os.cpu_count() or 1) + 2, statement_seconds=SEARCH_SECONDS
        )
        stack.callback(pipeline.close)
        services[name] = Service(pipeline, cached_queries=options.cached_queries)
        # Here rather than when the application starts, so that a model that cannot be loaded is reported like any
        # other error of a command.
        services[name].warm()
        show.note(f"{name}: {services[name].problem or 'ready'}")
    return services


def _listen(services: dict[str, Service], options: ServeSettings, port: int) -> None:
    import uvicorn

    from rowvec.serve import create_app

    app = create_app(services, options)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    show.note(f"http://{shown}:{port}/  search, /ui/status  status, /docs  API. Stop with Ctrl-C.")
    if options.insecure and not options.loopback and not options.api_keys:
        show.note("No API key is set: everybody who can reach this address can search.")
    uvicorn.run(app, host=options.host, port=port, access_log=False, server_header=False, log_level="warning")
