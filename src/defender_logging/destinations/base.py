"""What a destination is: fields to bytes, entries to a request, a response to a verdict.

A destination knows its vendor's words and limits and nothing else: it opens no socket, starts no thread and
reads no clock. ``delivery`` is a loop over the closed set of verdicts and knows no vendor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from defender_logging._pipeline.entry import Draft, Fields

__all__ = [
    "Acks",
    "Delivered",
    "Destination",
    "Encoder",
    "Hold",
    "Limits",
    "Partly",
    "Rejected",
    "Request",
    "Response",
    "Retry",
    "Split",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """A vendor's numbers, all counted before compression.

    Attributes:
        max_batch_entries: entries in one request; the most that a setting may choose.
        default_batch_bytes: what ``max_batch_bytes`` is when not set.
        max_batch_bytes: the most that ``max_batch_bytes`` may be set to.
        max_entry_bytes: a longer entry is cut (``truncated``) before it is queued.
        default_batch_entries: what ``max_batch_entries`` is when not set; None: the most.
    """

    max_batch_entries: int
    default_batch_bytes: int
    max_batch_bytes: int
    max_entry_bytes: int
    default_batch_entries: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, before compression and without the key; its repr shows nothing of it.

    Attributes:
        target: path and query, as in the request line.
        headers: vendor headers without ``Content-Length``, ``Content-Encoding`` and the key.
        body: the framed entries, not compressed.
    """

    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What the receiver answered; complete (a cut or unreadable answer is a ``TransportError`` instead).

    Attributes:
        status: the HTTP status.
        headers: lower-case names and their values, in order, repeated names kept.
        body: at most 64 KiB.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header_values(self, name: str) -> list[str]:
        """All values of the header ``name`` (lower case), in order."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has every entry.

    Attributes:
        receipt: the number under which ``Acks`` is asked whether the entries are safe; None: they are.
    """

    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The receiver cannot take it now: the same bytes again, after the backoff.

    ``is_ambiguous``: the entries may have arrived all the same.
    """

    reason: str
    is_ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Something in the batch is wrong or it is too large: halve it; one that fails alone is rejected as ``code``.

    ``is_oversize``: it is the size, so compressing or not makes no difference. Otherwise a single entry gets
    one more try without compression before it is rejected.
    """

    reason: str
    code: str
    is_oversize: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Neither the entries' fault nor soon over (key, index, address): keep, tell once, try slowly.

    ``is_about_the_key``: the key reference is read again before the next try. ``is_ambiguous``: the entries
    may have arrived all the same.
    """

    reason: str
    is_about_the_key: bool = False
    is_ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver refuses every entry of the batch for good; ``code`` is the word that they are counted under."""

    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Partly:
    """Different ends for different entries, by index in the batch.

    Attributes:
        delivered: indexes that the receiver has.
        rejected: indexes that it refuses for good, each with the word that it is counted under.
        simplified: indexes to send again as ``Destination.simplify`` makes them.
        rest: what holds for all other indexes; None: send them again at once.
        reason: the answer in words.
        receipt: as in ``Delivered``, for the entries in ``delivered``.
    """

    delivered: AbstractSet[int]
    rejected: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    simplified: AbstractSet[int] = frozenset()
    rest: Retry | Hold | None = None
    reason: str = ""
    receipt: int | None = None


Verdict = Delivered | Partly | Retry | Split | Hold | Rejected
"""The closed set that ``Destination.interpret`` answers with."""


class Acks(Protocol):
    """How a receiver that first only takes entries is asked whether they are safe. Pure, like ``Destination``."""

    def headers(self, channel: str) -> Mapping[str, str]:
        """Return the headers that name the channel, for requests with entries."""
        ...

    def build_query(self, channel: str, receipts: Sequence[int]) -> Request:
        """Ask about receipts of a channel."""
        ...

    def read_reply(self, response: Response) -> AbstractSet[int] | str:
        """Return the receipts whose entries are safe; where the answer says nothing about any, why not."""
        ...


class Encoder(Protocol):
    """The part of a destination that an entry meets in the caller's thread."""

    def encode(self, fields: Fields) -> Draft:
        """Turn one entry's fields into its final bytes, all but the number."""
        ...


class Destination(Encoder, Protocol):
    """A vendor's rules as pure functions. Safe to share between threads: it never changes."""

    @property
    def limits(self) -> Limits:
        """The vendor's numbers."""
        ...

    @property
    def reserved_names(self) -> frozenset[str]:
        """The names that belong to the vendor; a caller's field of such a name becomes ``extra_<name>``."""
        ...

    @property
    def inspected_names(self) -> frozenset[str]:
        """The fields whose values decide what else ``encode`` writes; the texts of all others are only copied."""
        ...

    @property
    def acks(self) -> Acks | None:
        """How to ask about receipts; None: an answer is the last word."""
        ...

    def build_request(self, lines: Sequence[bytes], *, now_unix_seconds: float) -> Request:
        """Frame lines into one request, in order."""
        ...

    def interpret(self, response: Response, *, count: int, body_bytes: int) -> Verdict:
        """Judge the answer to a request of ``count`` entries and ``body_bytes`` bytes before compression."""
        ...

    def simplify(self, line: bytes) -> bytes:
        """Return the line without the part that ``Partly.simplified`` complained about."""
        ...
