"""From `[workers]` to the settings of Celery: where tasks wait, where results stay, how long anything may take."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from rowvec.config import Config, load
from rowvec.documents.values import clean
from rowvec.errors import BrokerUnavailable
from rowvec.support.redaction import redact_text
from rowvec.workers.schedule import beat_schedule

CONFIG_VARIABLE = "ROWVEC_CONFIG"
QUEUE_SCHEMA = "rowvec_tasks"
QUEUE_MARK = "tasks"
"""A file beside the embedded server that says: tasks wait in it."""
GRACE_SECONDS = 60
CONNECT_SECONDS = 4
ANSWER_SECONDS = 10
"""For Redis, which answers at once: a host that vanished without a word is noticed after as long, or twice."""
KEEP_MESSAGES = dt.timedelta(days=2)


def load_config() -> Config:
    """The config that ROWVEC_CONFIG names, or the nearest one."""
    path = os.environ.get(CONFIG_VARIABLE)
    return load(Path(path) if path else None)


def celery_settings(loaded: Config) -> dict[str, Any]:
    """Everything that the app is configured with. Starts the embedded server where no broker is named."""
    workers = loaded.workers
    broker = workers.broker.get_secret_value() if workers.broker else _embedded(loaded, "sqla")
    results = _results(loaded, broker)
    limit = int(workers.time_limit.total_seconds())
    return {
        "broker_url": broker,
        "result_backend": results,
        "database_engine_options": _engine(results),
        "result_expires": workers.keep_results,
        "result_extended": True,
        "beat_schedule": beat_schedule(loaded),
        "beat_schedule_filename": str(_state(loaded) / "beat"),
        "timezone": workers.timezone or "UTC",
        "task_default_queue": workers.queue,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "task_soft_time_limit": limit,
        "task_time_limit": limit + GRACE_SECONDS,
        # A long task must not keep short ones waiting behind it in the same worker.
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        # By default a worker ends after about 50 minutes.
        "broker_connection_max_retries": None,
        "broker_connection_timeout": CONNECT_SECONDS,
        "broker_transport_options": _transport(broker, int(workers.redeliver_after.total_seconds())),
        "redis_socket_connect_timeout": CONNECT_SECONDS,
        "redis_socket_timeout": ANSWER_SECONDS,
        "worker_hijack_root_logger": False,
    }


def _transport(broker: str, redeliver_seconds: int) -> dict[str, Any]:
    if broker.startswith(("redis", "sentinel")):
        return {
            "visibility_timeout": redeliver_seconds,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "health_check_interval": ANSWER_SECONDS,
        }
    return _engine(broker) if broker.startswith("sqla+") else {}


def _engine(url: str) -> dict[str, Any]:
    """For SQLAlchemy, which drops an empty password from a URL: PGPASSWORD would then be taken for the embedded
    server's, whose password is in a file."""
    embedded = {"connect_args": {"password": ""}} if "&passfile=" in url else {}
    return {"pool_pre_ping": True, **embedded}


def _results(loaded: Config, broker: str) -> str:
    """As the config says; else in the Redis that is the broker, else in the embedded PostgreSQL."""
    chosen = loaded.workers.results
    if chosen is not None:
        return chosen.get_secret_value()
    return broker if broker.startswith(("redis", "sentinel")) else _embedded(loaded, "db")


def _state(loaded: Config) -> Path:
    loaded.state.mkdir(parents=True, exist_ok=True)
    return loaded.state


def is_used(loaded: Config) -> bool:
    """Tasks have a place to wait in: a broker is named, or they stand in the embedded server, which runs."""
    return loaded.workers.broker is not None or (loaded.state / QUEUE_MARK).exists()


def _embedded(loaded: Config, kind: str) -> str:
    """The embedded PostgreSQL as Celery's SQLAlchemy transport ("sqla") or result backend ("db") names it.

    Its tables stand in a schema of their own. The transport marks delivered messages and keeps them for ever, and
    without Beat nobody drops results: old ones are dropped here.
    """
    from rowvec.stores.postgres.embedded import embedded_url

    url = embedded_url(loaded.state)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtextextended('rowvec.tasks', 0))")
        connection.execute(f"create schema if not exists {QUEUE_SCHEMA}")
        for table, old, age in (
            ("kombu_message", "not visible and timestamp", KEEP_MESSAGES),
            ("celery_taskmeta", "date_done", loaded.workers.keep_results),
        ):
            if connection.execute(f"select to_regclass('{QUEUE_SCHEMA}.{table}')").fetchone() != (None,):
                # Celery writes times of UTC without saying so.
                connection.execute(
                    f"delete from {QUEUE_SCHEMA}.{table} where {old} < timezone('utc', now()) - %s", [age]
                )
    (loaded.state / QUEUE_MARK).touch()
    mark = "&" if "?" in url else "?"
    return (
        f"{kind}+{url.replace('postgresql://', 'postgresql+psycopg://', 1)}{mark}options=-csearch_path%3D{QUEUE_SCHEMA}"
    )


def check_broker() -> None:
    """Raises BrokerUnavailable when tasks can neither be sent nor fetched now."""
    from rowvec.workers.celery import app

    with reachable(), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)


def broker_address() -> str:
    """Without a password."""
    from rowvec.workers.celery import app

    connection = app.connection_for_write()
    # Kombu writes a masked password even into an address that has none.
    return str(connection.as_uri() if connection.password else connection.as_uri().replace("://:**@", "://"))


@contextmanager
def reachable() -> Iterator[None]:
    """Raise what Celery says of a broker or a result store that does not answer as BrokerUnavailable."""
    from celery.exceptions import BackendError
    from kombu.exceptions import OperationalError
    from sqlalchemy.exc import DBAPIError

    from rowvec.workers.celery import app

    # Each kind of result store raises errors of its own driver.
    of_backend = getattr(app.backend, "connection_errors", ())
    refusals = (*app.connection_for_write().channel_errors, *getattr(app.backend, "channel_errors", ()))
    broker = broker_address()
    try:
        yield
    except (OperationalError, BackendError, DBAPIError, ConnectionError, TimeoutError, *of_backend) as error:
        raise BrokerUnavailable(
            f"The broker {broker} does not answer.",
            hint="Is it running, and is workers.broker right?",
        ) from error
    except refusals as error:
        raise BrokerUnavailable(
            f"The broker {broker} refuses what it is sent: {redact_text(clean(str(error)))[:200]}",
            hint="Is its memory full? Does its user have the rights?",
        ) from error
