"""Durations are read alike whatever an application has set for its own numbers."""

from __future__ import annotations

import decimal

from rowvec.support.intervals import interval_of


def test_the_digits_that_an_application_has_set_for_decimals_do_not_count() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        assert interval_of("1 day 02:03:04.000005").microseconds == 7384000005
