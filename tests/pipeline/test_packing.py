"""Packing frames as the destination does, compresses as long as the receiver takes it, and shows nothing."""

from __future__ import annotations

import gzip
from dataclasses import replace

from defender_logging._pipeline.entry import Batch, Entry
from defender_logging._pipeline.packing import Packing
from defender_logging.destinations.generic import GenericDestination

DESTINATION = GenericDestination(target="/path-k3y", headers={"X-Second": "header-k3y"})
BATCH = Batch((Entry(1, b'{"a":1}'), Entry(2, b'{"a":2}')))
FRAMED = b'[{"a":1},{"a":2}]'


def pack(packing, batch=BATCH):
    return packing.pack(batch, {"X-Channel": "c"}, 1_750_000_000.0)


def test_packs_what_the_destination_frames():
    """Its target and headers, those of the lane, and the size before compression, which the limits are about."""
    request, body_bytes = pack(Packing(DESTINATION, "none"))

    assert ("/path-k3y", FRAMED, len(FRAMED)) == (request.target, request.body, body_bytes)
    assert ("header-k3y", "c") == (request.headers["X-Second"], request.headers["X-Channel"])
    assert "Content-Encoding" not in request.headers


def test_compresses_and_says_so():
    """But not a batch that is tried without."""
    packing = Packing(DESTINATION, "gzip")
    request, body_bytes = pack(packing)
    assert ("gzip", FRAMED, len(FRAMED)) == (
        request.headers["Content-Encoding"],
        gzip.decompress(request.body),
        body_bytes,
    )

    assert FRAMED == pack(packing, replace(BATCH, is_compressed=False))[0].body


def test_stops_compressing_after_a_plain_success():
    """Once, and for good; what was taken compressed changes nothing."""
    packing = Packing(DESTINATION, "gzip")
    assert not packing.learn_from_success(BATCH)
    assert packing.compresses
    assert [True, False] == [
        packing.learn_from_success(replace(BATCH, is_compressed=False)) for _ in range(2)
    ]

    assert not packing.compresses
    assert FRAMED == pack(packing)[0].body


def test_a_request_shows_nothing():
    """Path, query and the user's own headers may hold a key, and locals get printed."""
    packing = Packing(DESTINATION, "none")
    request = DESTINATION.build_request([b"{}"], now_unix_seconds=0.0)

    assert "k3y" not in repr(request) + repr(pack(packing)) + repr(packing)
