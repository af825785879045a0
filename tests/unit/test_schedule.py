"""`[workers]` and `schedule`: from the config to what the scheduler does."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from celery.schedules import crontab

from rowvec.config import load
from rowvec.errors import ConfigError
from rowvec.workers.schedule import AFTER_RUN, beat_schedule
from tests.unit.configs import SOURCE, complaint, pipeline, written


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30m", dt.timedelta(minutes=30)),
        ("45s", dt.timedelta(seconds=45)),
        ("1h30m", dt.timedelta(minutes=90)),
        ("7d", dt.timedelta(days=7)),
    ],
)
def test_a_length_of_time_is_numbers_with_units(tmp_path: Path, text: str, length: dt.timedelta) -> None:
    schedule = pipeline(tmp_path, f'schedule = {{ every = "{text}" }}').schedule
    assert schedule is not None
    assert schedule.every == length


@pytest.mark.parametrize("text", ["", "30", "m", "30 minutes", "0s", "-5m", "1.5h"])
def test_any_other_length_is_refused(tmp_path: Path, text: str) -> None:
    assert "pipelines.products.schedule.every" in complaint(tmp_path, f'schedule = {{ every = "{text}" }}')


def test_every_and_cron_are_one_or_the_other(tmp_path: Path) -> None:
    both = 'schedule = { every = "1h", cron = "0 2 * * *" }'
    assert "has both every and cron" in complaint(tmp_path, both)
    assert "has neither every nor cron" in complaint(tmp_path, "schedule = {}")


def test_a_pipeline_without_a_schedule_has_no_entry(tmp_path: Path) -> None:
    pipeline(tmp_path)
    assert beat_schedule(load(tmp_path)) == {}


def test_a_task_never_expires_by_the_clock_of_whoever_takes_it(tmp_path: Path) -> None:
    pipeline(tmp_path, 'schedule = { every = "30m" }')
    entry = beat_schedule(load(tmp_path))["sync products"]
    assert (entry["task"], entry["args"], entry["schedule"]) == ("rowvec.sync", ("products",), dt.timedelta(minutes=30))
    assert entry["options"] == {"headers": {AFTER_RUN: None}}


def test_a_cron_line_is_read_as_cron_reads_it(tmp_path: Path) -> None:
    pipeline(tmp_path, 'schedule = { cron = "*/10 8-18 * * mon-fri" }')
    found = beat_schedule(load(tmp_path))["sync products"]["schedule"]
    assert found == crontab(minute="*/10", hour="8-18", day_of_week="mon-fri")


@pytest.mark.parametrize("line", ["61 * * * *", "0 25 * * *", "0 2 * * someday"])
def test_a_cron_line_that_means_nothing_is_named(tmp_path: Path, line: str) -> None:
    pipeline(tmp_path, f'schedule = {{ cron = "{line}" }}')
    with pytest.raises(ConfigError, match=r"schedule\.cron is"):
        beat_schedule(load(tmp_path))


def test_a_cron_line_has_five_fields(tmp_path: Path) -> None:
    assert "is not a cron line" in complaint(tmp_path, 'schedule = { cron = "0 2 * *" }')


def test_the_broker_comes_from_the_config_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROWVEC_BROKER", raising=False)
    lines = ["[workers]", 'broker = "redis://one/0"', "[pipelines.products]", SOURCE]
    config = load(written(tmp_path, "\n".join(lines)))
    assert config.workers.broker is not None
    assert config.workers.broker.get_secret_value() == "redis://one/0"
    monkeypatch.setenv("ROWVEC_BROKER", "amqp://two//")
    assert load(tmp_path).workers.broker == config.workers.broker, "what is written counts"
    config = load(written(tmp_path, "\n".join(lines[2:])))
    assert config.workers.broker is not None
    assert config.workers.broker.get_secret_value() == "amqp://two//"
    assert "two" not in repr(config)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('broker = "kafka://x"', "workers.broker is not an address of Redis or RabbitMQ"),
        ('time_limit = "soon"', "workers.time_limit is not a length of time"),
        ('brocker = "redis://x"', "workers.brocker is not a known key"),
    ],
)
def test_a_mistake_in_workers_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(written(tmp_path, "\n".join(["[workers]", line, "[pipelines.products]", SOURCE])))


def test_a_broker_without_its_variable_stops_only_what_needs_it(tmp_path: Path) -> None:
    config = load(written(tmp_path, "\n".join(["[workers]", 'broker = "${NO_SUCH}"', "[pipelines.products]", SOURCE])))
    assert config.pipeline().name == "products"
    with pytest.raises(ConfigError, match="NO_SUCH"):
        _ = config.workers
