"""One thread, one selector, timers."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import time
from collections.abc import Callable
from typing import Any

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._ids = itertools.count()

    def watch(self, what: Any, events: int, handler: Callable[[int], None]) -> None:
        """Calls handler(events); watching again changes the events."""
        if self._selector.get_map().get(what) is None:
            self._selector.register(what, events, handler)
        else:
            self._selector.modify(what, events, handler)

    def unwatch(self, what: Any) -> None:
        if self._selector.get_map().get(what) is not None:
            self._selector.unregister(what)

    def close(self, fd: int) -> None:
        """Closes a descriptor, watched or not."""
        self.unwatch(fd)
        os.close(fd)

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        at = time.monotonic_ns() + delay_ns
        heapq.heappush(self._timers, (at, next(self._ids), action))

    def turn(self, most_seconds: float | None) -> None:
        """Runs what is due, waits for one round of events, handles them."""
        wait = self._fire()
        if wait is None or (most_seconds is not None and most_seconds < wait):
            wait = most_seconds
        for key, events in self._selector.select(wait):
            # An earlier handler of this round may have closed it.
            if self._selector.get_map().get(key.fd) is key:
                key.data(events)

    def _fire(self) -> float | None:
        while self._timers:
            wait = self._timers[0][0] - time.monotonic_ns()
            if wait > 0:
                return wait / 1e9
            heapq.heappop(self._timers)[2]()
        return None

    def release(self) -> None:
        self._selector.close()
