"""Makes the request of a batch: the destination frames the entries, a library compresses the body.

The loop asks here before it sends, and tells what went well, so that a receiver that takes no compression gets none.
"""

from __future__ import annotations

from collections.abc import Mapping

from defender_logging._pipeline.compression import compressor
from defender_logging._pipeline.entry import Batch
from defender_logging._pipeline.wire import WireRequest
from defender_logging.destinations.base import Destination

__all__ = ["Packing"]


class Packing:
    """Packs for one destination.

    Args:
        destination: frames.
        compression: one of ``COMPRESSIONS``.
    """

    def __init__(self, destination: Destination, compression: str) -> None:
        self._destination = destination
        self._content_encoding, self._compress = compressor(compression)

    def __repr__(self) -> str:
        return f"<Packing {self._content_encoding if self.compresses else 'without compression'}>"

    @property
    def compresses(self) -> bool:
        """Whether new batches are compressed."""
        return self._compress is not None

    def pack(
        self, batch: Batch, headers: Mapping[str, str], now_unix_seconds: float
    ) -> tuple[WireRequest, int]:
        """Return the request, with some headers more, and the size of its body before compression."""
        request = self._destination.build_request(
            [entry.line for entry in batch.entries], now_unix_seconds=now_unix_seconds
        )
        all_headers, body = {**request.headers, **headers}, request.body
        if self._compress is not None and self._content_encoding is not None and batch.is_compressed:
            body = self._compress(body)
            all_headers["Content-Encoding"] = self._content_encoding
        return WireRequest(request.target, all_headers, body), len(request.body)

    def learn_from_success(self, batch: Batch) -> bool:
        """Stop compressing for a receiver that refused an entry compressed and took it plain; True if it stops now.

        Otherwise it would refuse every batch, and get the entries one by one, each of them after two refusals.
        """
        if self._compress is None or batch.is_compressed:
            return False
        self._compress = None
        return True
