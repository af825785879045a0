"""One mechanism for the asynchronous twin of every call: `search(…)` blocks, `await search.aio(…)` does not.

The twin runs the same function in a thread. A call that takes a `stop` event is stopped when its task is cancelled, so
that a sync ends as after Ctrl-C: what was embedded is written.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Call(Generic[P, R]):
    """A function, and its twin for coroutines."""

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same from a coroutine: it runs in a thread, and the event loop goes on."""
        stop = threading.Event()
        arguments: dict[str, Any] = dict(kwargs)
        if "stop" in inspect.signature(self._function).parameters and arguments.get("stop") is None:
            arguments["stop"] = stop
        work = asyncio.ensure_future(asyncio.to_thread(self._function, *args, **arguments))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            if "stop" in arguments:
                await asyncio.wait([work])
            raise

    def __repr__(self) -> str:
        return f"<call {self._function.__qualname__}>"


class method(Generic[S, P, R]):
    """Makes a method a `Call`: `pipeline.search(…)` and `await pipeline.search.aio(…)`."""

    def __init__(self, function: Callable[Concatenate[S, P], R]) -> None:
        own: Any = self
        functools.update_wrapper(own, function)
        self._function = function

    @overload
    def __get__(self, owner: None, kind: type[S]) -> method[S, P, R]: ...
    @overload
    def __get__(self, owner: S, kind: type[S]) -> Call[P, R]: ...
    def __get__(self, owner: S | None, kind: type[S]) -> method[S, P, R] | Call[P, R]:
        if owner is None:
            return self
        return Call(self._function.__get__(owner, kind))
