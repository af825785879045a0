"""Threads for work that would block the event loop: embedding, and waiting for databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from rowvec.serve.problems import Problem

T = TypeVar("T")


class Threads:
    """A pool with a bounded queue: a server that is behind says so at once instead of answering too late.

    Not for use outside the event loop's thread.

    Args:
        refusal: the message for a caller that finds the queue full.
    """

    def __init__(self, size: int, waiting: int, refusal: str = "The server is busy.") -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="rowvec-serve")
        self._most = size + waiting
        self._refusal = refusal
        self.busy = 0
        """Calls at work or waiting."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Room for calls that follow each other.

        Raises:
            Problem: 503, too much is waiting already.
        """
        if self.busy >= self._most:
            raise Problem(503, self._refusal, "Try again in a moment.", retry_after=1)
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    async def call(self, function: Callable[..., T], *values: Any) -> T:
        """For whoever has a place."""
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._pool, run, function, *values)

    async def run(self, function: Callable[..., T], *values: Any) -> T:
        """
        Raises:
            Problem: 503, too much is waiting already.
        """
        async with self.place():
            return await self.call(function, *values)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
