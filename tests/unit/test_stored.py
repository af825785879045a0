"""What another version of rowvec kept is read as far as it is known."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from rowvec.errors import StoreError
from rowvec.sources.events.position import Position
from rowvec.stores.ledger import Ledger
from rowvec.stores.migrations import Migration, Standing, fingerprint_of, line, pending, refuse_newer
from rowvec.stores.runs import Report
from rowvec.support.stored import format_of, from_json, json_object, moment, with_format
from rowvec.types import Fingerprint

WHOLE = Fingerprint("local", "model", "1", 8)
STEPS = [Migration(1, "one", len), Migration(2, "two", len)]


def test_what_was_written_is_read() -> None:
    assert from_json(Fingerprint, json.dumps(WHOLE.as_dict())) == WHOLE
    assert from_json(Report, Report(read=7, reasons={"new row": 7}).as_dict()).reasons == {"new row": 7}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shape": [1, 2]}, WHOLE),
        ({"normalized": None}, WHOLE),
        ({"max_tokens": "many"}, WHOLE),
        ({"max_tokens": None}, WHOLE),
        ({"revision": None}, Fingerprint("local", "model", "", 8)),
        ({"dimension": "8"}, Fingerprint("local", "model", "1", 0)),
        ({"dimension": True}, Fingerprint("local", "model", "1", 0)),
    ],
)
def test_fields_that_are_not_known_are_left_out_and_others_have_their_defaults(
    change: dict[str, Any], expected: Fingerprint
) -> None:
    assert from_json(Fingerprint, WHOLE.as_dict() | change) == expected


@pytest.mark.parametrize("said", ["[1]", "7", "null", "not JSON", [1], None, 7])
def test_what_is_no_object_is_an_error_of_its_own(said: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(Fingerprint, said if said is not None else "null")
    assert json_object(said) == {}


@pytest.mark.parametrize("said", ["{}", '{"model": "m"}', '{"dimension": 3}', '{"model": 7, "dimension": 3}'])
def test_a_fingerprint_that_names_no_model_is_none(said: str) -> None:
    with pytest.raises(ValueError, match="name a model"):
        fingerprint_of(said)


def test_a_ledger_that_another_version_sent_is_read() -> None:
    assert from_json(Ledger, {"exists": True, "recipe": "a.1", "colour": "red"}) == Ledger(True, recipe="a.1")


@pytest.mark.parametrize("text", ["", "yesterday", "1767000000", None, 7])
def test_a_time_that_is_none_is_none(text: Any) -> None:
    assert moment(text) is None


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert moment("2026-01-02T03:04:05") == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize("text", ["", "v2", "1|2", "x|1|lsn:shop", "1.5|1|lsn"])
def test_a_position_of_another_version_is_a_place_that_is_not_known(text: str) -> None:
    assert Position.parse(text) is None


def test_a_word_without_a_format_is_of_the_first_one() -> None:
    assert format_of("english") == ("english", 1)
    assert format_of(with_format("my_config, x", 12)) == ("my_config, x", 12)
    assert format_of("english, format two") == ("english, format two", 1)


def test_what_is_pending_follows_from_the_version() -> None:
    assert [each.number for each in pending(None, STEPS)] == [1, 2]
    assert [each.number for each in pending(Standing(1), STEPS)] == [2]
    assert pending(Standing(2), STEPS) == []


def test_a_newer_store_is_refused_by_naming_both_versions() -> None:
    refuse_newer(Standing(2), STEPS, "here")
    refuse_newer(None, STEPS, "here")
    with pytest.raises(StoreError, match=r"here: .* version 3, written by rowvec 7\.1.* up to 2"):
        refuse_newer(Standing(3, "7.1"), STEPS, "here")


def test_the_line_of_a_check_says_what_is_pending_and_what_is_lacking() -> None:
    said = line(Standing(1), STEPS)
    assert (said.ok, said.detail) == (True, "version 1 of 2, pending: 2: two")
    assert said.fix is not None
    assert said.more == {"version": 1, "wanted": 2, "pending": [{"number": 2, "what": "two"}], "lacking": []}
    assert not line(Standing(2), STEPS, ["runs.error"]).ok
    assert line(None, STEPS).more["version"] is None
