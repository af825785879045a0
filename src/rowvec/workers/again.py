"""A task that comes again after a pause, whatever the clocks of two hosts say."""

from __future__ import annotations

import datetime as dt

from celery.worker import request

PAUSE = dt.timedelta(seconds=10)
"""The longest before a task of rowvec comes again."""


class Request(request.Request):
    @property
    def eta(self) -> dt.datetime | None:
        """When it is due. Whoever sent it again wrote that by its own clock, which may be an hour ahead of ours."""
        written: dt.datetime | None = super().eta
        if written is None or not self.request_dict.get("retries"):
            return written
        return min(written, dt.datetime.now(dt.UTC) + PAUSE)
