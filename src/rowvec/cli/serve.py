"""`rowvec serve`: the HTTP API and the page, until it is stopped."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rowvec.api.project import Project
from rowvec.api.tokens import KEY_VARIABLE
from rowvec.cli import output
from rowvec.cli.workers import CONFIG_VARIABLE
from rowvec.errors import ConfigError, MissingExtraError
from rowvec.support import logs
from rowvec.support.memory import keep_freed

if TYPE_CHECKING:
    from rowvec.config import Config
    from rowvec.evaluation.query_log import QueryLog
    from rowvec.serve import ServeSettings, Service

SEARCH_SECONDS = 10.0
"""A search that the database needs longer for is cancelled."""
STOP_SECONDS = 5
HOST_HINT = "--host takes an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them."


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
    trusted_proxies: Sequence[str] = (),
    rate: float = 500.0,
) -> None:
    """Serve the pipelines of a config, all of them where none is named.

    Args:
        api_key_env: the environment variable with the API key, or with several, separated by commas.
        insecure: allow another host than loopback without a key.
        rate: requests a second for each key or address.

    Raises:
        ConfigError: the config is wrong, the port is taken, or the server would be open to the network.
        SourceError, EmbedderError: rows or model of a pipeline cannot be found. A store that does not answer is not
            an error: the server says so with 503 until it does.
    """
    try:
        from rowvec.serve import ServeSettings
    except ModuleNotFoundError as error:
        raise MissingExtraError("rowvec serve", "serve") from error
    keep_freed()
    keys = tuple(key.strip() for key in os.environ.get(api_key_env, "").split(",") if key.strip())
    options = ServeSettings(
        host=host,
        api_keys=keys,
        insecure=insecure,
        allowed_hosts=tuple(allowed_hosts),
        cors_origins=tuple(cors_origins),
        trusted_proxies=tuple(trusted_proxies),
        rate=rate,
    )
    with ExitStack() as stack:
        bound = stack.enter_context(_bound(host, port))
        project = _project(stack, config)
        queries = _query_log(stack, project.config)
        services = _services(project, pipelines, options)
        _listen(services, options, bound, queries)


def speak_mcp(config: Path | None, pipelines: Sequence[str] = ()) -> None:
    """Answer the Model Context Protocol on stdin and stdout until stdin is closed.

    Raises:
        ConfigError: the config is wrong, or the extra is missing.
    """
    try:
        from rowvec.serve.mcp_server import Tools
    except ModuleNotFoundError as error:
        missing = "mcp" if str(error.name).startswith("mcp") else "serve"
        raise MissingExtraError("rowvec mcp", missing) from error
    from rowvec.serve import ServeSettings
    from rowvec.serve.threads import Threads

    options = ServeSettings()
    with ExitStack() as stack:
        services = _services(_project(stack, config), pipelines, options)
        threads, side_threads = Threads(options.workers, options.waiting), Threads(1, options.waiting)
        stack.callback(threads.close)
        stack.callback(side_threads.close)
        Tools(lambda call: services, threads, side_threads).server().run("stdio")


def _project(stack: ExitStack, config: Path | None) -> Project:
    readers = 2 * (os.cpu_count() or 1) + 2
    return stack.enter_context(Project(config, readers=readers, statement_seconds=SEARCH_SECONDS))


def _query_log(stack: ExitStack, loaded: Config) -> QueryLog | None:
    """None unless the config wants one."""
    if loaded.serve.queries is None:
        return None
    from rowvec.evaluation.query_log import QueryLog

    log = QueryLog(loaded.query_log, loaded.serve.queries.keep)
    stack.callback(log.close)
    output.note(f"Queries are logged in {loaded.query_log}.")
    return log


def _services(project: Project, names: Sequence[str], options: ServeSettings) -> dict[str, Service]:
    from rowvec.evaluation.judged import judgements_file
    from rowvec.maps.draw import map_file
    from rowvec.serve import Service

    loaded = project.config
    # The routes about tasks send them to the workers of this config.
    os.environ[CONFIG_VARIABLE] = str(loaded.path)
    services = {}
    for name in names or loaded.names:
        pipeline = project.pipeline(name).searchable
        planned = loaded.pipelines[name].schedule
        services[name] = Service(
            pipeline, cached_queries=options.cached_queries, map_file=map_file(loaded.state, name),
            judgements_file=judgements_file(loaded.state, name),
            schedule=(planned.every or planned.cron) if planned is not None else None,
        )  # fmt: skip
        # Here rather than when the application starts, so that a model that cannot be loaded is reported like any
        # other error of a command.
        services[name].warm()
        output.note(f"{name}: {services[name].problem or 'ready'}")
    return services


def _bound(host: str, port: int) -> socket.socket:
    """A socket with the address, before a model is loaded; nobody can connect until the server listens.

    Raises:
        ConfigError: the address is taken, or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"There is no address {host!r} to listen on: {error.strerror}.", hint=HOST_HINT) from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} of {host} is taken by another program.", hint=f"rowvec serve --port {port + 1}"
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"Port {port} needs the rights of root.", hint="rowvec serve --port 8000") from None
        raise ConfigError(f"{host} port {port}: {error.strerror}.", hint=HOST_HINT) from None
    return bound


def _listen(
    services: dict[str, Service], options: ServeSettings, bound: socket.socket, queries: QueryLog | None
) -> None:
    """Serve until SIGINT or SIGTERM. Requests in hand have STOP_SECONDS to end."""
    import uvicorn

    from rowvec.serve import create_app
    from rowvec.serve.guard.connections import speak_seldom, uvicorn_settings

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            speak_seldom(asyncio.get_running_loop())
            await super().startup(sockets)
            if self.started:
                _say_ready(options, bound.getsockname()[1])

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Pages that follow what happens have requests open that would not end by themselves.
            app.state.context.closing.set()
            await super().shutdown(sockets)

    if logs.wanted():
        logs.install("warning")
    app = create_app(services, options, queries)
    # uvicorn ends, then raises the signal that ended it once more: a server that is stopped has not failed.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    Server(
        uvicorn.Config(
            app,
            **uvicorn_settings(options),
            log_level="warning",
            timeout_graceful_shutdown=STOP_SECONDS,
            log_config=None if logs.wanted() else uvicorn.config.LOGGING_CONFIG,
        )
    ).run(sockets=[bound])


def _say_ready(options: ServeSettings, port: int) -> None:
    shown = f"[{options.host}]" if ":" in options.host and "[" not in options.host else options.host
    output.note(f"http://{shown}:{port}/  search, /ui/map  map, /ui/status  status, /docs  API. Stop with Ctrl-C.")
    if options.insecure and not options.loopback and not options.api_keys:
        output.note("No API key is set: everybody who can reach this address can search.")
