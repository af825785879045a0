"""Following topics of Kafka, on the broker that librdkafka has inside it for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from rowvec.errors import SourceError, SourceUnavailable
from rowvec.pipeline import Pipeline
from rowvec.sources.events.kafka import KafkaEvents
from rowvec.sources.events.stream import EventSettings
from rowvec.stores.base import Store
from rowvec.stores.postgres.store import PostgresStore
from rowvec.stores.runs import Report
from rowvec.syncing.run import sync
from rowvec.testing import HashEmbedder, MemoryStore
from tests.integration.debezium_rig import Change, envelope, put, registry, removed
from tests.support import rows_of, simple_pipeline, vectors_match_rows

pytestmark = pytest.mark.slow


class Broker:
    """A broker of one process; it lives as long as the producer that holds it."""

    def __init__(self) -> None:
        self.producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 1})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def send(self, changes: Iterable[Change], topic: str = "things") -> None:
        for change in changes:
            value = json.dumps(envelope(change)).encode()
            self.raw(value, json.dumps({"id": change.key}).encode(), topic)
        assert self.producer.flush(30) == 0

    def raw(self, value: bytes | None, key: bytes | None = None, topic: str = "things") -> None:
        self.producer.produce(topic, value, key=key)
        self.producer.poll(0)


@pytest.fixture
def broker() -> Iterator[Broker]:
    started = Broker()
    yield started
    started.producer.flush(5)


def follow(broker: Broker, store: Store | None = None, **settings: Any) -> Pipeline:
    events = KafkaEvents(broker.address, ["things"], EventSettings("id", **settings), options={"log_level": 0})
    return simple_pipeline(events, store or MemoryStore(), HashEmbedder(billed=True))


def carry_out(pipeline: Pipeline, **options: Any) -> Report:
    assert isinstance(pipeline.source, KafkaEvents)
    return sync(pipeline, **options)


def texts_of(pipeline: Pipeline) -> list[str]:
    assert isinstance(pipeline.embedder, HashEmbedder)
    return pipeline.embedder.texts


def test_events_of_all_partitions_are_carried_out_once(broker: Broker, postgres_url: str, data: Path) -> None:
    changes, state = registry(data)
    broker.send(changes[:2000])
    pipeline = follow(broker, PostgresStore(postgres_url, "things_embeddings", pipeline="things"))
    assert carry_out(pipeline).read == 2000
    broker.send(changes[2000:])
    report = carry_out(pipeline, batch_events=300)
    assert report.read == len(changes) - 2000
    vectors_match_rows(pipeline, state)
    offsets = rows_of(pipeline).offsets()
    assert sum(int(offset.partition("@")[0]) for offset in offsets.values()) == len(changes)
    assert set(offsets) == {f"things/{number}" for number in range(4)}

    embedded = len(texts_of(pipeline))
    assert carry_out(pipeline).read == 0
    broker.send(changes)
    assert carry_out(pipeline).written == 0, "a connector that sends everything again changes nothing"
    assert carry_out(pipeline, from_start=True).written == 0
    assert len(texts_of(pipeline)) == embedded
    vectors_match_rows(pipeline, state)
    pipeline.close()


def test_tombstones_and_nulls_are_understood(broker: Broker) -> None:
    broker.send([put(1, "one", 1), put(2, "two", 2), removed(1, 3)])
    broker.raw(None, b'{"id": 1}')
    broker.raw(None, b'{"id": 2}')
    broker.producer.flush(10)
    pipeline = follow(broker)
    report = carry_out(pipeline)
    vectors_match_rows(pipeline, {})
    assert report.reasons["event skipped: tombstone after a deletion"] == 1


def test_following_ends_when_it_is_stopped(broker: Broker) -> None:
    broker.send([put(1, "one", 1)])
    pipeline = follow(broker)
    stop = threading.Event()

    def send_more(report: Report) -> None:
        if report.read == 1:
            broker.send([put(2, "two", 2)])
        elif report.read == 2:
            stop.set()

    carry_out(pipeline, follow=True, stop=stop, progress=send_more)
    vectors_match_rows(pipeline, {1: "one", 2: "two"})
    assert pipeline.store.runs()[0].outcome == "done"


def test_brokers_that_came_back_are_read_on_from_though_nothing_is_new(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send([put(1, "one", 1)])
    events = follow(broker).source
    assert isinstance(events, KafkaEvents)
    readings: list[dict[str, Any]] = []

    def consumer(config: dict[str, Any], **options: Any) -> Any:
        readings.append(config)
        return real(config, **options)

    real = confluent_kafka.Consumer
    monkeypatch.setattr(confluent_kafka, "Consumer", consumer)
    monkeypatch.setattr("rowvec.sources.events.kafka.LOOK_AGAIN_SECONDS", 0.5)
    monkeypatch.setattr("rowvec.sources.events.kafka.DOWN_SECONDS", 2.0)
    stop, began, told = threading.Event(), time.monotonic(), False
    for _ in events.batches({}, 10, follow=True, stop=stop):
        waited = time.monotonic() - began
        if waited > 2 and not told:
            told = True
            readings[0]["error_cb"](confluent_kafka.KafkaError(confluent_kafka.KafkaError._ALL_BROKERS_DOWN))
        elif waited > 6:
            stop.set()
    assert told


def test_a_topic_that_does_not_exist_is_named_with_the_nearest_one(broker: Broker) -> None:
    broker.send([put(1, "one", 1)])
    with pytest.raises(SourceError, match="there is no topic 'thing'") as caught:
        KafkaEvents(broker.address, ["thing"], EventSettings("id"))
    assert caught.value.hint == "Did you mean 'things'?"
    assert "thing" not in broker.producer.list_topics(timeout=10).topics, "asking did not create it"


def test_events_that_kafka_deleted_are_missed_loudly(broker: Broker) -> None:
    broker.send([put(1, "one", 1)])
    pipeline = follow(broker)
    carry_out(pipeline)
    events = pipeline.source
    assert isinstance(events, KafkaEvents)
    beyond = {f"things/{number}": "500" for number in range(4)}
    with pytest.raises(SourceError, match=r"the events of things/\d from offset 500 on are gone"):
        list(events.batches(beyond, 10, follow=False, stop=threading.Event()))


def read_on(broker: Broker, offsets: dict[str, str]) -> tuple[list[Any], dict[str, str]]:
    """The keys of all events after `offsets`, and the offsets after them."""
    events = follow(broker).source
    assert isinstance(events, KafkaEvents)
    keys, after = [], dict(offsets)
    for batch in events.batches(offsets, 10, follow=False, stop=threading.Event()):
        keys += [event.key for event in batch.events]
        after |= batch.offsets
    return keys, after


@pytest.mark.parametrize("count", [1, 4, 9])
def test_a_topic_that_was_made_again_is_read_from_its_beginning_and_said_so(
    broker: Broker, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker.send([put(1, f"text {n}", n + 1) for n in range(5)])
    keys, offsets = read_on(broker, {})
    assert keys == [1] * 5
    again = Broker()
    again.send([put(1, f"other {n}", n + 1) for n in range(count)])
    keys, offsets = read_on(again, offsets)
    assert keys == [1] * count, "its offsets begin at 0, whatever was remembered"
    assert ["was deleted and created again" in record.message for record in caplog.records] == [True]
    again.send([put(1, "more", 20)])
    assert read_on(again, offsets)[0] == [1]
    assert len(caplog.records) == 1
    again.producer.flush(5)


def test_offsets_of_an_older_version_are_read_on_from(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.send([put(1, f"text {n}", n + 1) for n in range(5)])
    _, offsets = read_on(broker, {})
    (stream,) = offsets
    assert read_on(broker, {stream: "3"})[0] == [1, 1]
    assert read_on(broker, offsets) == ([], offsets)
    assert not caplog.records


@pytest.mark.slow
def test_brokers_that_do_not_answer_are_unavailable() -> None:
    with pytest.raises(SourceUnavailable, match=r"Kafka 127\.0\.0\.1:1 things does not answer"):
        KafkaEvents("127.0.0.1:1", ["things"], EventSettings("id"), options={"log_level": 0})


def test_a_wrong_option_is_named_and_no_password_shown() -> None:
    with pytest.raises(SourceError, match="an option is refused") as caught:
        KafkaEvents("127.0.0.1:1", ["t"], EventSettings("id"), options={"sasl.passwort": 1, "sasl.password": "hunter2"})
    assert "sasl.passwort" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\0\0\0\0\1abc", "in binary form"),
        (b"{", "things/., offset 0: no valid JSON"),
        (b"\xff", "things/., offset 0: byte 1 is not UTF-8"),
        (b'"text"', "a text is not a change event"),
    ],
)
def test_an_event_that_cannot_be_read_stops_or_is_counted(broker: Broker, value: bytes, message: str) -> None:
    broker.raw(value, b"k")
    broker.send([put(1, "one", 1)], topic="things")
    with pytest.raises(SourceError, match=message):
        carry_out(follow(broker))
    pipeline = follow(broker, skip_bad=True)
    report = carry_out(pipeline)
    assert report.reasons["event that cannot be read"] == 1
    vectors_match_rows(pipeline, {1: "one"})
