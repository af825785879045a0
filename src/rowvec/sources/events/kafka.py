"""Debezium's change events in topics of Kafka.

The consumer belongs to no group and commits nothing to Kafka: how far it came stands in the store, beside the vectors.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, NoReturn

from rowvec.errors import MissingExtraError, SourceError, SourceUnavailable
from rowvec.sources.base import Source
from rowvec.sources.events.stream import EventSettings, EventStream, Record, key_of
from rowvec.sources.json_values import parse_json
from rowvec.support.redaction import HIDDEN
from rowvec.support.suggestions import suggestion
from rowvec.types import Column

MESSAGES = 500
"""Taken from the client at once."""
POLL_SECONDS = 0.2
METADATA_SECONDS = 10.0
"""To learn of topics and partitions."""
LOOK_AGAIN_SECONDS = 30.0
"""New partitions of a topic are seen within so long."""
DOWN_SECONDS = 60.0
"""Brokers that are gone for so long end the reading."""
_SECRET = re.compile(r"password|secret|token|key|jaas", re.IGNORECASE)
_log = logging.getLogger(__name__)
_waits = logging.getLogger("rowvec.waits")


class KafkaEvents(EventStream):
    """Events of one or more topics, each partition from where it was left.

    Debezium sends all events of a key to one partition, which keeps their order.
    """

    def __init__(
        self,
        brokers: str,
        topics: Sequence[str],
        settings: EventSettings,
        *,
        rows: Source | None = None,
        options: Mapping[str, str | int | float | bool] | None = None,
        remembered: Sequence[Column] = (),
    ) -> None:
        """
        Args:
            brokers: `host:port,host:port`.
            options: librdkafka's own, such as `security.protocol` and `sasl.password`.

        Raises:
            SourceError: there is no such topic. SourceUnavailable: no broker answers.
        """
        self._brokers, self._topics, self._options = brokers, list(topics), dict(options or {})
        self.location = f"Kafka {brokers} {', '.join(self._topics)}"
        super().__init__(settings, rows, remembered)

    def _records(
        self, offsets: Mapping[str, str], follow: bool, stop: threading.Event
    ) -> Generator[Record | SourceError | None]:
        with closing(_Reading(self._brokers, self._topics, self._options, offsets, self.location)) as reading:
            while not stop.is_set():
                messages = reading.messages()
                for message in messages:
                    yield self._record(message)
                if reading.ended and not follow:
                    return
                if not messages:
                    yield None
                if follow:
                    reading.look_again()

    def _record(self, message: Any) -> Record | SourceError:
        stream = f"{message.topic()}/{message.partition()}"
        location = f"{stream}, offset {message.offset()}"
        following = f"{message.offset() + 1}@{_mark(message)}"
        try:
            return Record(stream, location, key_of(message.key()), _parsed(message.value(), location), following)
        except SourceError as error:
            if not self.settings.skip_bad:
                return error
            # A number is not an event: it is counted as one that cannot be read.
            return Record(stream, location, None, 0, following)


class _Reading:
    """One reading of all partitions of some topics.

    A topic that is deleted and made again counts from 0, and may have more events by now than had been read of the old
    one. So what is kept beside an offset is a mark of the event before it, which is looked at again first.
    """

    def __init__(
        self,
        brokers: str,
        topics: Sequence[str],
        options: Mapping[str, Any],
        offsets: Mapping[str, str],
        location: str,
    ) -> None:
        self._topics, self._location, self._offsets = topics, location, offsets
        self._secrets = [str(value) for name, value in options.items() if _SECRET.search(name)]
        self._kafka = _confluent_kafka()
        self._down_since: float | None = None
        self._last_problem = ""
        self._partitions: set[tuple[str, int]] = set()
        self._at_end: set[tuple[str, int]] = set()
        self._unproved: dict[tuple[str, int], tuple[int, str]] = {}
        """The offset that was kept, and the mark of the event before it, of partitions not known to be the same yet."""
        self._from: dict[tuple[str, int], int] = {}
        """Events before this offset were read already."""
        self._out_of_range = (self._kafka.KafkaError._AUTO_OFFSET_RESET, self._kafka.KafkaError.OFFSET_OUT_OF_RANGE)
        self._idle = False
        try:
            self._consumer = self._kafka.Consumer(
                {
                    **options,
                    "bootstrap.servers": brokers,
                    # The client wants a name for the group that it never joins.
                    "group.id": "rowvec",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    # Events that were deleted before they were read are not passed over in silence.
                    "auto.offset.reset": "error",
                    "error_cb": self._hear,
                },
                logger=_log,
            )
        except (self._kafka.KafkaException, TypeError, ValueError) as error:
            line = self._scrubbed(error)
            raise SourceError(f"{location}: an option is refused: {line}", hint="Correct source.options.") from None
        try:
            self._assign()
        except BaseException:
            self._consumer.close()
            raise

    @property
    def ended(self) -> bool:
        """Every partition was read up to its end."""
        return self._at_end >= self._partitions

    def messages(self) -> list[Any]:
        """Those that are there; where there are none, it waits a moment for some."""
        found = []
        begun: set[tuple[str, int]] = set()
        for message in self._consumer.consume(MESSAGES, POLL_SECONDS if self._idle else 0.01):
            partition = (message.topic(), message.partition())
            if partition in begun:
                continue
            if partition in self._unproved and not self._proves(message, partition):
                begun.add(partition)
            elif message.error() is None:
                self._at_end.discard(partition)
                self._down_since = None
                if message.offset() >= self._from.get(partition, 0):
                    found.append(message)
            elif message.error().code() == self._kafka.KafkaError._PARTITION_EOF:
                self._at_end.add(partition)
                self._down_since = None
            else:
                self._raise(message, partition)
        self._idle = not found
        if self._down_since is not None and time.monotonic() - self._down_since > DOWN_SECONDS:
            raise self._unavailable(self._last_problem)
        return found

    def look_again(self) -> None:
        """Take up partitions that are new."""
        if time.monotonic() - self._looked_at > LOOK_AGAIN_SECONDS:
            self._assign()

    def close(self) -> None:
        self._consumer.close()

    def _assign(self) -> None:
        try:
            there = self._consumer.list_topics(timeout=METADATA_SECONDS).topics
        except self._kafka.KafkaException as error:
            raise self._unavailable(self._scrubbed(error)) from None
        # Partitions without news are silent when the brokers are back.
        self._looked_at, self._down_since = time.monotonic(), None
        for topic in self._topics:
            if topic not in there:
                known = sorted(name for name in there if not name.startswith("__"))
                raise SourceError(f"{self._location}: there is no topic {topic!r}.", hint=suggestion(topic, known))
        wanted = {(topic, number) for topic in self._topics for number in there[topic].partitions}
        new = sorted(wanted - self._partitions)
        if new:
            self._partitions |= wanted
            self._consumer.incremental_assign([self._start(*each) for each in new])

    def _start(self, topic: str, partition: int) -> Any:
        kept, _, mark = self._offsets.get(f"{topic}/{partition}", "").partition("@")
        # Of what another version of rowvec wrote in a way of its own, everything is read again and recognised.
        offset = int(kept) if kept.isdecimal() else self._kafka.OFFSET_BEGINNING
        if mark and offset > 0:
            self._unproved[topic, partition] = offset, mark
            self._from[topic, partition] = offset
            offset -= 1
        return self._kafka.TopicPartition(topic, partition, offset)

    def _proves(self, message: Any, partition: tuple[str, int]) -> bool:
        """The first answer of a partition tells that it is the one that was read before, or cannot tell; if it does
        not, reading has begun elsewhere."""
        offset, mark = self._unproved.pop(partition)
        if message.error() is None:
            if message.offset() != offset - 1 or _mark(message) == mark:
                return True  # Compaction may have taken that event away.
        elif message.error().code() == self._kafka.KafkaError._PARTITION_EOF:
            if message.offset() >= offset:
                return True
        elif message.error().code() not in self._out_of_range:
            self._unproved[partition] = offset, mark
            return True
        elif self._end(partition) >= offset:
            # The event before it was deleted, as old ones are: whether others are missing is another question.
            self._move(partition, offset)
            return False
        name = "/".join(map(str, partition))
        _waits.warning(
            "%s: %s was deleted and created again: it is read from its beginning. Rows that were deleted meanwhile may"
            " still have vectors: compare with the table once (rowvec sync --full).", self._location, name,
        )  # fmt: skip
        self._from.pop(partition)
        self._at_end.discard(partition)
        self._move(partition, self._kafka.OFFSET_BEGINNING)
        return False

    def _move(self, partition: tuple[str, int], offset: int) -> None:
        # Not `seek`, which is refused after an offset that was out of range.
        self._consumer.incremental_unassign([self._kafka.TopicPartition(*partition)])
        self._consumer.incremental_assign([self._kafka.TopicPartition(*partition, offset)])

    def _end(self, partition: tuple[str, int]) -> int:
        try:
            _, high = self._consumer.get_watermark_offsets(
                self._kafka.TopicPartition(*partition), timeout=METADATA_SECONDS
            )
        except self._kafka.KafkaException as error:
            raise self._unavailable(self._scrubbed(error)) from None
        return int(high)

    def _raise(self, message: Any, partition: tuple[str, int]) -> NoReturn:
        code, codes = message.error().code(), self._kafka.KafkaError
        name = "/".join(map(str, partition))
        if code in self._out_of_range:
            kept = self._offsets.get(name, "0").partition("@")[0]
            raise SourceError(
                f"{self._location}: the events of {name} from offset {kept} on are gone: Kafka"
                " deleted them before they were read, or the topic was created again.",
                hint="Compare with the table once (rowvec sync --full), or read all there is with --from-start.",
            )
        if code in (codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_PARTITION, codes._UNKNOWN_TOPIC):
            raise SourceError(f"{self._location}: {name} is gone.", hint="Was the topic deleted?")
        raise self._unavailable(self._scrubbed(message.error().str()))

    def _hear(self, error: Any) -> None:
        # The client connects again by itself; that no broker is left is what counts.
        self._last_problem = self._scrubbed(error)
        if error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()

    def _scrubbed(self, error: Any) -> str:
        first = error.args[0] if isinstance(error, Exception) and error.args else error
        line = str(first.str() if hasattr(first, "str") else first)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN) if secret else line
        return line

    def _unavailable(self, line: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._location} does not answer: {line}", hint="Are the brokers running, and source.brokers right?"
        )


def _confluent_kafka() -> Any:
    try:
        import confluent_kafka
    except ImportError:
        raise MissingExtraError("Kafka", "kafka") from None
    return confluent_kafka


def _mark(message: Any) -> str:
    """Tells an event from the one that has its offset in another topic of the same name."""
    _, time_stamp = message.timestamp()
    said = b"%d|%s|%s" % (time_stamp, message.key() or b"", message.value() or b"")
    return f"{zlib.crc32(said):08x}"


def _parsed(raw: bytes | None, location: str) -> Any:
    if raw is None:
        return None
    if raw[:1] == b"\0":
        raise SourceError(
            f"{location}: the event is in binary form (Avro or Protobuf of a schema registry).",
            hint="Let Kafka Connect write JSON: value.converter=org.apache.kafka.connect.json.JsonConverter",
        )
    return parse_json(raw, location, in_file=False)
