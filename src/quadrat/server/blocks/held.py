"""What is held in memory, up to a number of bytes; what was not used for longest goes first."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Held(Generic[Value]):
    """Values by key. Safe between threads."""

    def __init__(self, most: int) -> None:
        """Hold at most ``most`` bytes."""
        self._most, self._bytes = most, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return the value of ``key``, or None."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Hold a value of ``size`` bytes."""
        with self._lock:
            self._bytes += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = value, size
            while self._bytes > self._most:
                self._bytes -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._values.clear()
            self._bytes = 0
