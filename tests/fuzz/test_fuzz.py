"""Made-up input for whatever reads what others wrote, for as long as ``FUZZ_SECONDS`` says (each; 3 unless told).

``.ci/run`` gives each target a minute. A failure prints the seed and the smallest example that fails.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from defender_logging._pipeline.spool.frames import encode_frame, pieces
from defender_logging._pipeline.transport import HttpTransport, Peer
from defender_logging._pipeline.wire import TransportError, WireRequest
from defender_logging.destinations.base import Response, Verdict
from defender_logging.destinations.datadog import DatadogDestination
from defender_logging.destinations.generic import GenericDestination
from defender_logging.destinations.splunk import SplunkDestination
from defender_logging.fields_building import FieldsBuilder
from defender_logging.fitting import encode_to_fit
from defender_logging.redaction import Redactor
from defender_logging.secret import Url
from defender_logging.secret_shapes import without_secrets
from defender_logging.secret_signs import may_hold_secret
from defender_logging.strict_json import clean_text, dumps
from defender_logging.testing import Answer, LocalReceiver

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 2 * SECONDS)]
MAX_LINE_BYTES = 8192

DESTINATIONS = [
    SplunkDestination(target="/services/collector", channel="c", host="h"),
    SplunkDestination(target="/services/collector/raw", channel="c", host="h"),
    SplunkDestination(target="/", channel="c", host="h", use_ack=True),
    DatadogDestination(target="/", ddsource="d", tags=("a:b",)),
    GenericDestination(target="/", body="ndjson", headers={}),
]

any_text = st.text(st.characters(codec=None), max_size=60)
sharp_text = st.lists(
    st.sampled_from(
        [
            *(
                "password=",
                "Bearer ",
                "://",
                "u:p@",
                "eyJ",
                "-----BEGIN PRIVATE KEY-----",
                "4111 1111 1111 1111",
            ),
            *(
                "AKIAIOSFODNN7EXAMPLE",
                "ghp_",
                "key: 0x",
                "a" * 20,
                "0" * 64,
                "'",
                '"',
                "\\",
                "\n",
                "\x1b[",
                "\u202e",
            ),
            *("\ud800", "[redacted", "]", " ", ": ", "=", "\t", "seed: ", "abandon " * 12, "\x00", "é", "}{"),
        ]
    )
    | any_text,
    max_size=8,
).map("".join)
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | sharp_text
    | st.binary(max_size=40)
    | st.datetimes()
    | st.complex_numbers()
    | st.fractions()
)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(atoms, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(atoms, max_size=4)
    ),
    max_leaves=20,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=10,
)


def fuzz(check, *strategies):
    """Try examples until the time is over; each round has a seed of its own."""
    end = time.monotonic() + SECONDS
    numbers = random.Random(os.urandom(8))
    rounds = 0
    while time.monotonic() < end or not rounds:
        number = numbers.getrandbits(64)
        sys.stderr.write(f"seed {number}\n")
        limits = settings(
            max_examples=100,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(limits(given(*strategies)(check)))()
        rounds += 1


def test_the_encoder():
    """Any objects in any place become one line of strict JSON that fits."""
    builder = FieldsBuilder(redactor=Redactor())

    def check(message, arguments, extra):
        record = logging.makeLogRecord(
            {"msg": message, "args": arguments, "levelno": 30, "levelname": "WARNING"}
        )
        record.__dict__.update({name: value for name, value in extra.items() if name not in record.__dict__})
        fields = builder.build(record)
        for destination in DESTINATIONS:
            draft = encode_to_fit(destination, fields, max_line_bytes=MAX_LINE_BYTES)
            line = draft.head + draft.foot
            assert len(line) <= MAX_LINE_BYTES
            assert not any(byte < 0x20 or byte == 0x7F for byte in line)
            json.loads(line, parse_constant=pytest.fail)

    names = st.sampled_from(["component", "category", "subject", "object", "user", "reason", "key", "note"])
    fuzz(
        check,
        values,
        st.tuples() | st.tuples(values),
        st.dictionaries(names | sharp_text, values, max_size=6),
    )


def test_the_redactor():
    """It never raises, leaves no secret that it would see itself, and the pre-question misses none."""

    def check(text):
        text = clean_text(text)
        clean = without_secrets(text, lambda _: "[redacted]")
        assert clean == text or may_hold_secret(dumps({"m": text}))
        keyed = Redactor.from_setting({"digest_key": "0123456789abcdef"})
        once = keyed.searched({"m": text, "key": [text]})
        assert keyed.searched(once) is not None

    fuzz(check, sharp_text)


def test_the_readers_of_replies():
    """Any answer is judged, with a reason of one line."""

    def check(status, headers, body, count):
        for destination in DESTINATIONS:
            verdict = destination.interpret(
                Response(status, tuple(headers), body), count=count, body_bytes=1000
            )
            assert isinstance(verdict, Verdict)
            assert getattr(verdict, "reason", "").isprintable()

    headers = st.lists(
        st.tuples(st.sampled_from(["location", "retry-after", "content-type"]), any_text), max_size=3
    )
    odd = json_values | st.integers(-2, 30)
    codes = st.fixed_dictionaries({}, optional={"code": odd, "invalid-event-number": odd, "ackId": odd})
    answers = (codes | json_values).map(lambda value: json.dumps(value).encode())
    fuzz(check, st.integers(100, 599), headers, answers | st.binary(max_size=200), st.integers(1, 4))


def test_the_reader_of_http():
    """Whatever bytes a peer answers with, there is a response or a failure in words, in time."""
    parts = st.sampled_from(
        [
            *(
                b"HTTP/1.1 200 OK\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.0 204\r\n",
                b"HTTP/9 2x0\r\n",
            ),
            *(
                b"Content-Length: 5\r\n",
                b"Content-Length: -1\r\n",
                b"Content-Length: 5\r\nContent-Length: 6\r\n",
            ),
            *(
                b"Transfer-Encoding: chunked\r\n",
                b"5\r\nhello\r\n0\r\n\r\n",
                b"ffffffffffff\r\n",
                b"zz\r\n",
                b"\r\n",
            ),
            *(
                b"Set-Cookie: a=b; Path=/\r\n",
                b"Set-Cookie: \xff\r\n",
                b"Connection: close\r\n",
                b"hello",
                b": x\r\n",
            ),
        ]
    )
    said = set()
    with LocalReceiver() as receiver:

        def check(raw):
            receiver.script(Answer(raw=raw))
            transport = HttpTransport(Peer(url=Url(receiver.url), request_timeout_seconds=0.1))
            try:
                assert 100 <= transport.send(WireRequest("/", {}, b"[]")).status <= 999
            except TransportError as error:
                said.add(error.reason)
            finally:
                transport.close()
                receiver.restore()

        fuzz(check, st.lists(parts | st.binary(max_size=20), max_size=8).map(b"".join))
    assert all(reason.isprintable() for reason in said)


def test_the_reader_of_the_spool():
    """Bytes that changed, went or came: every untouched line is still found, and nothing that never was."""
    written = {seq: dumps({"n": seq, "text": "x" * (seq % 50)}) for seq in range(1, 30)}
    frames = [encode_frame(seq, line) for seq, line in written.items()]
    whole = b"".join(frames)

    def check(changes):
        data = bytearray(whole)
        for at, kind, byte in changes:
            place = at % len(data)
            if kind == "change":
                data[place] = byte
            elif kind == "insert":
                data[place:place] = bytes([byte])
            else:
                del data[place : place + 1 + byte % 40]
        found = [piece for piece in pieces(bytes(data)) if piece.entry is not None]
        intact = [seq for seq, frame in zip(written, frames, strict=True) if b"\n" + frame in b"\n" + data]
        assert all(written[piece.entry.seq] == piece.entry.line for piece in found)
        assert set(intact) <= {piece.entry.seq for piece in found}

    change = st.tuples(st.integers(0), st.sampled_from(["change", "insert", "delete"]), st.integers(0, 255))
    fuzz(check, st.lists(change, min_size=1, max_size=6))


def test_every_target_has_its_minute_in_ci():
    """The step that gives the time is there."""
    assert "FUZZ_SECONDS=60" in (Path(__file__).parents[2] / ".ci" / "run").read_text("utf-8")
