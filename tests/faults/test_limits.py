"""Cases 72 to 82 without 77: keys, metadata, limits and refusals that concern one entry and not its neighbours."""

# ruff: noqa: PLR0917 - because fixtures are named, not placed

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from defender_logging import ConfigurationError
from defender_logging.testing import Answer

FRAMINGS = ["splunk", "raw", "datadog", "array", "ndjson"]
LONE = "a\ud800b\udfffc"

BAD_KEYS = {
    "a line feed behind": "s3cr3t-0815\n",
    "a line break inside": "s3cr3t-0815\r\nX-Other: 1",
    "nul": "s3cr3t-0815\x00",
    "beyond latin-1": "s3cr3t-0815\u20ac",
    "empty": "",
    "64 KB": "s3cr3t-0815" * 6000,
}


@pytest.mark.parametrize("fault", BAD_KEYS)
@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
def test_case_72_keys_that_no_header_can_carry(oracle, receiver, connect, kind, fault):
    """Refused at construction, unseen; a handler with a good key beside it works."""
    own = {"api_header_name": "X-Key"} if kind == "generic" else {}
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        connect(kind, receiver, api_key=BAD_KEYS[fault], **own)
    assert "s3cr3t" not in str(caught.value) + repr(caught.value)
    handler, log = connect(kind, receiver)
    oracle.log(log, 10)
    oracle.assert_conserved(receiver, handler, fired=True)


@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
def test_case_73_the_key_shows_nowhere(oracle, receiver, connect, kind, tmp_path, caplog):
    """Not in a repr, a report, an error or a file, while receivers quote it back in every kind of failure."""
    secret = "s3cr3t-0815-4711-0123456789"
    caplog.set_level(logging.DEBUG)
    quote = f"your key {secret} is bad"
    receiver.script(
        *[Answer(status=status, body=quote) for status in (401, 403, 503, 302, 400, 413)],
        Answer(cut_at="before_request"),
        Answer(raw=f"{quote}\r\n\r\n".encode()),
    )
    own = {"api_header_name": "X-Key"} if kind == "generic" else {}
    handler, log = connect(
        kind, receiver, api_key=secret, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=30, **own
    )
    oracle.log(log, 100)  # One batch: the refusals of size and form halve it, and reject nothing.
    seen = []
    while receiver.unused_answers:
        seen += [repr(handler), str(handler.stats()), repr(handler._pipeline), repr(vars(handler))]
        receiver.wait_for(requests=receiver.request_count + 1, timeout_seconds=0.05)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries >= 7, duplicates=True)
    seen += [record.getMessage() + str(record.exc_text) + str(record.args) for record in caplog.records]
    assert files
    assert secret not in "".join(seen)
    assert not any(secret.encode() in content for content in files)
    assert secret in "".join(str(request.headers) for request in receiver.requests)


ODD_TEXTS = ["line\r\nbreak", "nul\x00", "x" * 5000, "\u20ac\u2028", LONE]


@pytest.mark.parametrize("framing", ["splunk", "raw"])
@pytest.mark.parametrize("name", ["index", "source", "sourcetype", "host"])
def test_case_74_metadata_that_splunk_cannot_take(oracle, receiver, open_wire, framing, name, assert_strict):
    """Cleaned, or refused at construction with the name of the setting: never an entry that a receiver refuses."""
    made, refusals = [], []
    for text in ODD_TEXTS:
        try:
            made.append(open_wire(framing, **{name: text}))
        except ConfigurationError as error:
            refusals.append(str(error))
    assert all(name in refusal for refusal in refusals)
    made.append(open_wire(framing, **{name: "plain"}))
    for _, log in made:
        oracle.log(log, 10)
    oracle.assert_conserved(receiver, *(handler for handler, _ in made), fired=True)
    assert_strict(receiver)
    assert {200} == {request.status for request in receiver.requests}


def test_case_74_indexed_fields_are_flat(oracle, receiver, open_wire):
    """A nested value would be code 15: it is left to the event, and Splunk never has to refuse it."""
    handler, log = open_wire("splunk", indexed_fields=["nested", "number", "text", "component"])
    oracle.log(log, 10, nested={"a": [1, {"b": 2}]}, number=5, text="line\nbreak")
    oracle.assert_conserved(receiver, handler, fired=lambda: receiver.entries[0].envelope["fields"])
    assert {200} == {request.status for request in receiver.requests}
    assert all(isinstance(v, str) for entry in receiver.entries for v in entry.envelope["fields"].values())


def test_case_74_indexed_fields_that_splunk_refuses_all_the_same(oracle, receiver, connect):
    """Code 15 names the entry: it arrives without its indexed fields, and nothing comes twice."""
    judge = receiver._judge

    def refuse_fields(request):
        outcome = judge(request)
        for index, entry in enumerate(outcome.entries):
            if entry["message"].startswith("poison") and "fields" in entry.envelope:
                body = {"text": "Error in handling indexed fields", "code": 15, "invalid-event-number": index}
                response = Answer(status=400, body=body).applied_to(outcome.response)
                return type(outcome)(response, outcome.entries[:index])
        return outcome

    receiver._judge = refuse_fields
    handler, log = connect("splunk", receiver)
    for _ in range(3):
        oracle.log(log, 20, component="relay", category="paused")
        oracle.log(log, 1, message="poison", component="relay", category="paused")
    oracle.assert_conserved(receiver, handler, fired=lambda: 3 == handler.stats().retries)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
def test_case_79_memory_and_spool_are_both_full(oracle, receiver, open_wire, tmp_path, overflow):
    """By the policy, counted with a reason and told in the trail; what was kept arrives whole."""
    receiver.refuse()
    handler, log = open_wire(
        "array",
        spool_dir=str(tmp_path / "spool"),
        max_spool_bytes=60_000,
        max_queue_bytes=20_000,
        overflow=overflow,
        block_timeout_seconds=0.001,
    )
    oracle.log(log, 1000, note="x" * 100)
    dropped = handler.stats().dropped
    assert dropped
    receiver.listen()
    stats = oracle.assert_conserved(receiver, handler, fired=lambda: dropped, missing=dropped)[0]
    assert dropped == sum(stats["dropped_by_reason"].values())
    told = [entry for entry in receiver.entries if entry.fields.get("trail") == "dropped"]
    assert dropped == sum(entry["dropped"] for entry in told)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "block"])
def test_case_79_memory_is_full_and_there_is_no_spool(oracle, receiver, open_wire, overflow):
    """The trail itself names exactly the numbers that are missing, once there is room again."""
    receiver.refuse()
    handler, log = open_wire("array", max_queue_bytes=50_000, overflow=overflow, block_timeout_seconds=0.001)
    oracle.log(log, 500)
    dropped = handler.stats().dropped
    receiver.listen()
    stats = oracle.assert_conserved(receiver, handler, fired=lambda: dropped, missing=dropped)[0]
    told = [entry for entry in receiver.entries if entry.fields.get("trail") == "dropped"]
    named = {n for entry in told for first, last in entry["ranges"] for n in range(first, last + 1)}
    assert {*range(1, stats["accepted"] + 1)} - {entry["seq"] for entry in receiver.entries} == named
    assert dropped == sum(entry["dropped"] for entry in told) == len(named)


def test_case_80_level_names_that_datadog_reads_by_their_letters(oracle, receiver, open_wire):
    """AUDIT would be an alert, SECURITY fine, NOTSET a notice: the status goes by the number."""
    names = {21: "AUDIT", 31: "SECURITY", 41: "NOTSET AT ALL", 6: "FINE"}
    handler, log = open_wire("datadog")
    log.setLevel(1)
    for number, name in names.items():
        logging.addLevelName(number, name)
    try:
        tickets = {oracle.log(log, 1, level=number)[0]: number for number in names}
    finally:
        for number in names:
            logging._levelToName.pop(number)
        for name in names.values():
            logging._nameToLevel.pop(name)
    oracle.assert_conserved(receiver, handler, fired=True)
    found = {tickets[entry["ticket"]]: entry["status"] for entry in receiver.entries}
    assert {21: "info", 31: "warning", 41: "error", 6: "debug"} == found
    assert names == {tickets[entry["ticket"]]: entry["levelname"] for entry in receiver.entries}


@pytest.mark.parametrize("kind", ["splunk", "datadog", "generic"])
@pytest.mark.parametrize("bad", [0, 37, 99])
def test_case_81_one_entry_that_nobody_can_read(oracle, receiver, connect, kind, bad, tmp_path):
    """The receiver refuses each batch that it is in, without saying which: it alone is set aside, as a dead letter."""
    judge = receiver._judge

    def refuse_poison(request):
        outcome = judge(request)
        if any(entry["message"].startswith("poison") for entry in outcome.entries):
            return type(outcome)(replace(outcome.response, status=400, body=b"{}"))
        return outcome

    receiver._judge = refuse_poison
    handler, log = connect(kind, receiver, spool_dir=str(tmp_path / "spool"), flush_interval_seconds=30)
    oracle.log(log, bad)
    poison = oracle.log(log, 1, message="poison")
    oracle.log(log, 99 - bad)
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().rejected == 1, missing=poison)
    letters = [path for path in tmp_path.rglob("*") if path.is_file() and b"poison" in path.read_bytes()]
    assert letters


@pytest.mark.parametrize(
    ("kind", "most"), [("splunk", 1_000_000), ("datadog", 5_000_000), ("generic", 1_000_000)]
)
def test_case_82_entries_that_compress_to_almost_nothing(oracle, receiver, connect, kind, most, bodies):
    """The limits hold for the bytes before compression: no body unfolds to more than its vendor takes."""
    handler, log = connect(kind, receiver, overflow="block", block_timeout_seconds=20, max_batch_entries=1000)
    oracle.log(log, 20, message="x" * 800_000)
    oracle.assert_conserved(receiver, handler, fired=lambda: receiver.request_count >= 20 * 800_000 // most)
    assert max(map(len, bodies(receiver))) <= most
    assert max(len(request.body) for request in receiver.requests) < most // 100
