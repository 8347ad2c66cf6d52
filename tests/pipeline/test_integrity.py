"""The canonical text of an entry is one text, whatever a receiver does to its form, and another for each edit."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging._pipeline.integrity import GENESIS, Seal, core_digest, core_text

ENTRY = {
    "time": "2026-07-01T09:31:00.000000Z",
    "level": "info",
    "message": "two\nlines, a \\ and an = sign",
    "process": 4242,
    "tags": ["team:core", "x:y"],
    "amount": 1.0,
    "order": {"fee": 0.1, "legs": [{"to": "a"}, {"to": "b", "n": 5}], "none": None, "ok": True},
    "http.status": 200,
    "hashed": ["amount", "order", "http.status"],
    "schema": "1",
}
TEXT = r"""amount=1
hashed.0=amount
hashed.1=order
hashed.2=http.status
http.status=200
level=info
message=two\nlines, a \\ and an = sign
order.fee=0.1
order.legs.0.to=a
order.legs.1.n=5
order.legs.1.to=b
order.ok=true
process=4242
schema=1
tags.0=team:core
tags.1=x:y
time=2026-07-01T09:31:00.000000Z"""


def test_one_line_a_value_in_the_order_of_the_bytes():
    """The text is what docs/integrity.md says, and its digest is that of its UTF-8."""
    assert TEXT == core_text(ENTRY)
    assert hashlib.sha256(TEXT.encode()).hexdigest().encode() == core_digest(ENTRY)


@pytest.mark.parametrize(
    "other",
    [
        dict(reversed(ENTRY.items())),
        ENTRY
        | {
            "added_by_receiver": 1,
            "_time": "x",
            "id": "s-1",
            "stream": "s",
            "seq": 1,
            "prev": "",
            "hash": "",
        },
        ENTRY | {"amount": 1},
        ENTRY | {"amount": "1", "process": "4242"},
        ENTRY | {"reason": None, "user": "", "subject": [], "object": {}},
        {name: value for name, value in ENTRY.items() if name != "http.status"}
        | {"http": {"status": 200, "x": 1}},
        ENTRY | {"order": {"fee": 1e-1, "legs": [{"to": "a"}, {"n": 5.0, "to": "b"}], "ok": "true"}},
        json.loads(json.dumps(ENTRY)),
    ],
    ids=["order", "added", "number", "text", "empty", "nested", "inner", "again"],
)
def test_what_receivers_do_changes_nothing(other):
    """Order, added fields, the spelling of numbers, what is empty, and dots for nesting."""
    assert TEXT == core_text(other)


@pytest.mark.parametrize(
    "other",
    [
        ENTRY | {"message": "two\nlines, a \\ and an = sig"},
        ENTRY | {"message": "two\\nlines, a \\ and an = sign"},
        ENTRY | {"message": None},
        ENTRY | {"amount": 1.0000000000000002},
        ENTRY | {"hashed": ["amount", "order"]},
        ENTRY | {"hashed": None},
        ENTRY | {"user": "mallory"},
        ENTRY | {"tags": ["x:y", "team:core"]},
        ENTRY | {"order": ENTRY["order"] | {"legs": [{"to": "a", "n": 5}, {"to": "b"}]}},
        ENTRY | {"order": ENTRY["order"] | {"ok": False}},
    ],
)
def test_every_edit_changes_it(other):
    """Values, their places in lists and objects, and which extras are protected."""
    assert TEXT != core_text(other)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (-0.0, "0"), (1.0, "1"), (-12.5, "-12.5"), (0.1, "0.1"), (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"), (1e21, "1e+21"), (1.5e300, "1.5e+300"), (1e-6, "0.000001"), (1e-7, "1e-7"),
        (1.25e-9, "1.25e-9"), (5e-324, "5e-324"), (2**53 - 1, "9007199254740991"), (333333333.25, "333333333.25"),
        (True, "true"), (False, "false"),
    ],
)  # fmt: skip
def test_numbers_are_spelled_as_in_rfc_8785(number, text):
    """As ECMAScript's Number::toString: one spelling a number, whatever library reads and writes it."""
    assert f"level={text}" == core_text({"level": number})


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_its_text(number):
    """No two numbers share a text."""
    assert number == float(core_text({"level": number}).partition("=")[2])


_TEXTS = st.text(max_size=6) | st.text("\\=\n.0", max_size=4)


@settings(deadline=None)
@given(st.dictionaries(_TEXTS, _TEXTS, max_size=3), st.dictionaries(_TEXTS, _TEXTS, max_size=3))
def test_no_text_passes_for_another_line(one, other):
    """Flat entries with different values have different texts, whatever breaks and signs are in names and values."""

    def said(values):
        return {name: value for name, value in values.items() if value}

    def core(values):
        return core_text(
            {**{f"x{name}": v for name, v in values.items()}, "hashed": [f"x{name}" for name in values]}
        )

    if said(one) != said(other):
        assert core(one) != core(other)


def test_the_seal_is_plain_sha256_or_hmac():
    """Both can be computed with any tool from three lines."""
    parts = (GENESIS, core_digest(ENTRY), b"s-1")
    content = b"\n".join(parts)

    assert hashlib.sha256(content).hexdigest().encode() == Seal().link(*parts)
    assert hmac.new(b"key", content, "sha256").hexdigest().encode() == Seal("key").link(*parts)


def test_a_seal_shows_no_key():
    """Neither its repr nor its attributes; what names a key is a digest."""
    seal = Seal("very-secret-key")

    assert "very-secret" not in repr(seal) + str(seal.key_id)
    assert hmac.new(b"very-secret-key", b"defender-logging key id", "sha256").hexdigest()[:16] == seal.key_id
    assert Seal("another").key_id != seal.key_id
