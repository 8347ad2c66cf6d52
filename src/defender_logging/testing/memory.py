"""Remember what arrived, and let tests wait for it without polling.

The receiver adds each request with its entries, in one step and before the answer is sent: whoever has an
answer finds its entries here.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable

from defender_logging.testing.exchange import Outcome, ReceivedEntry, ReceivedRequest


class Memory:
    """What one receiver has seen. May be read from any thread; what it returns are copies.

    Args:
        max_entries: keep the newest this many (the counts go on); None: all. Holds for the discarded ones
            too.
        max_requests: keep the newest this many; None: all.
    """

    def __init__(self, *, max_entries: int | None, max_requests: int | None) -> None:
        # Re-entrant, because a predicate given to wait_for reads from here.
        self._changed = threading.Condition(threading.RLock())
        self._max_entries = max_entries
        self._entries: deque[ReceivedEntry] = deque()
        self._discarded: deque[ReceivedEntry] = deque(maxlen=max_entries)
        self._requests: deque[ReceivedRequest] = deque(maxlen=max_requests)
        self._ids: Counter[str] = Counter()
        self._entry_count = 0
        self._request_count = 0

    def clear(self) -> None:
        """Forget what has arrived; counts begin at 0 again."""
        with self._changed:
            for part in (self._entries, self._discarded, self._requests, self._ids):
                part.clear()
            self._entry_count = self._request_count = 0

    @property
    def entries(self) -> list[ReceivedEntry]:
        """What has arrived, in order, HEC envelopes opened."""
        with self._changed:
            return list(self._entries)

    @property
    def discarded(self) -> list[ReceivedEntry]:
        """What was acknowledged and then thrown away, as Splunk and Datadog do in silence; each says why."""
        with self._changed:
            return list(self._discarded)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request, in order, scripted ones too."""
        with self._changed:
            return list(self._requests)

    @property
    def ids(self) -> Counter[str]:
        """How often each ``id`` among ``entries`` has arrived."""
        with self._changed:
            return self._ids.copy()

    @property
    def entry_count(self) -> int:
        """How many entries have arrived, forgotten ones too; cheaper than ``len(entries)``."""
        with self._changed:
            return self._entry_count

    @property
    def request_count(self) -> int:
        """How many requests have come, forgotten ones too."""
        with self._changed:
            return self._request_count

    def duplicates(self) -> dict[str, int]:
        """The ids that have arrived more than once, and how often."""
        return {entry_id: times for entry_id, times in self.ids.items() if times > 1}

    def wait_for(
        self,
        *,
        count: int | None = None,
        requests: int | None = None,
        ids: Iterable[str] | None = None,
        predicate: Callable[[], bool] | None = None,
        timeout_seconds: float = 10.0,
    ) -> bool:
        """Block until everything that is given holds.

        Args:
            count: at least this many entries have arrived.
            requests: at least this many requests have come.
            ids: each of these ids has arrived.
            predicate: returns True; asked again at each request.
            timeout_seconds: the longest wait.

        Returns:
            False when the time was over first.
        """
        missing = set(ids or ())

        def holds() -> bool:
            # Only what is still missing is looked up again: waiting for 100,000 ids stays cheap.
            missing.difference_update([entry_id for entry_id in missing if entry_id in self._ids])
            return (
                not missing
                and (count is None or self._entry_count >= count)
                and (requests is None or self._request_count >= requests)
                and (predicate is None or predicate())
            )

        with self._changed:
            return self._changed.wait_for(holds, timeout_seconds)

    def _remember(self, request: ReceivedRequest, outcome: Outcome) -> None:
        """Add a request and what was taken from it."""
        with self._changed:
            self._requests.append(request)
            self._entries += outcome.entries
            self._discarded += outcome.discarded
            self._ids.update(entry_id for entry in outcome.entries if (entry_id := entry.id) is not None)
            self._entry_count += len(outcome.entries)
            self._request_count += 1
            while self._max_entries is not None and len(self._entries) > self._max_entries:
                self._forget_id(self._entries.popleft().id)
            self._changed.notify_all()

    def _forget_id(self, entry_id: str | None) -> None:
        """Take one arrival off an id's count."""
        if entry_id is not None:
            self._ids[entry_id] -= 1
            if not self._ids[entry_id]:
                del self._ids[entry_id]
