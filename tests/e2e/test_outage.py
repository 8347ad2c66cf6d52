"""A receiver that is down, full, broken or asks for another key costs time, never entries."""

from __future__ import annotations

import json
import logging
import socket
import threading
from dataclasses import asdict, replace

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.testing import Answer, LocalReceiver

KINDS = {"splunk": SplunkHandler, "datadog": DatadogHandler, "generic": ApiKeyHandler}
PORTAL = Answer(
    status=200, body="<html>Please sign in to the network</html>", headers={"Content-Type": "text/html"}
)
FAST = {
    "api_header_name": "X-Key",
    "api_key": "secret",
    "flush_interval_seconds": 0.01,
    "max_batch_entries": 100,
    "retry_initial_seconds": 0.02,
    "retry_max_seconds": 0.05,
    "hold_retry_seconds": 0.05,
}


def make(kind, receiver, **settings):
    settings = {**FAST, **settings}
    if kind == "splunk":
        settings |= {"url": receiver.hec_url, "api_header_name": "Authorization", "api_key": receiver.token}
    elif kind == "datadog":
        settings |= {
            "url": receiver.datadog_url,
            "api_header_name": "DD-API-KEY",
            "api_key": receiver.api_key,
        }
    else:
        settings |= {"url": receiver.generic_url}
    return KINDS[kind](**settings)


def account_of(handler):
    stats = handler.stats()
    pipeline = handler._pipeline
    counts = {
        **asdict(replace(stats, dropped_by_reason={}, rejected_by_reason={})),
        "stream": pipeline.buffer.stream,
    }
    return {**counts, "rejected_by_reason": dict(stats.rejected_by_reason)}


def seqs_in_order_of_first_arrival(receiver):
    return list(dict.fromkeys(entry["seq"] for entry in receiver.entries))


@pytest.fixture
def check(check_account, receiver):
    def check_handler(handler, *, delivered, duplicates=False):
        assert handler.flush(20)
        account = account_of(handler)
        check_account([account], receiver, delivered=delivered, duplicates=duplicates)
        assert delivered == account["accepted"] - account["rejected"]
        assert 0 == receiver.unused_answers
        return account

    return check_handler


FAULTS = {
    "503": Answer(status=503),
    "429 with Retry-After": Answer(status=429, headers={"Retry-After": "1"}),
    "500 with HTML": Answer(status=500, body="<html>"),
    "reset before the request": Answer(cut_at="before_request"),
    "reset after the headers": Answer(cut_at="after_headers"),
}
AMBIGUOUS = {
    "reset after the body was read": Answer(cut_at="after_body", takes_entries=True),
    "reset in the middle of the answer's headers": Answer(cut_at="in_answer_headers", takes_entries=True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_all_of_a_thousand_records_arrive_in_order_after_an_outage(receiver, attached, check, kind, fault):
    """Whatever the receiver said meanwhile, each entry arrives once, in order."""
    receiver.script(*[FAULTS[fault]] * (1 if "Retry-After" in fault else 4))
    handler = make(kind, receiver)
    log = attached(handler)
    for number in range(1000):
        log.info("record %d", number)

    check(handler, delivered=1000)
    assert list(range(1, 1001)) == seqs_in_order_of_first_arrival(receiver)


@pytest.mark.parametrize("kind", ["splunk", "generic"])
def test_a_captive_portal_is_no_receiver(receiver, attached, check, kind):
    """A page of HTML with status 200 confirms nothing, so the entries are sent again."""
    receiver.script(*[PORTAL] * 4)
    handler = make(kind, receiver)
    log = attached(handler)
    for number in range(1000):
        log.info("record %d", number)

    check(handler, delivered=1000)
    assert list(range(1, 1001)) == seqs_in_order_of_first_arrival(receiver)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_an_ambiguous_answer_makes_duplicates_with_the_same_id(receiver, attached, check, kind, fault):
    """The receiver had the entries when the connection broke: they come again, as the entries that they are."""
    receiver.script(*[AMBIGUOUS[fault]] * 2)
    handler = make(kind, receiver)
    log = attached(handler)
    for number in range(1000):
        log.info("record %d", number)
    account = check(handler, delivered=1000, duplicates=True)

    assert receiver.duplicates()
    assert sum(receiver.ids.values()) - 1000 <= account["duplicates_possible"]
    by_id = {}
    for entry in receiver.entries:
        assert entry["message"] == by_id.setdefault(entry.id, entry["message"])
    assert list(range(1, 1001)) == seqs_in_order_of_first_arrival(receiver)


def test_all_arrive_when_a_refused_port_opens_again(receiver, attached, check):
    """While nobody listens nothing is lost, and nothing is sent twice afterwards."""
    receiver.refuse()
    handler = make("generic", receiver)
    log = attached(handler)
    for number in range(1000):
        log.info("record %d", number)
    assert not handler.flush(0.1)
    assert 1000 == handler.stats().pending
    assert "refused" in handler.stats().last_error.lower()
    assert "retrying" == handler.stats().state
    receiver.listen()

    check(handler, delivered=1000)
    assert list(range(1, 1001)) == seqs_in_order_of_first_arrival(receiver)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_wrong_address_holds_and_heals(receiver, attached, check, status):
    """Redirects and missing pages are a matter of configuration: the entries are kept until it is right."""
    receiver.script(*[Answer(status=status, headers={"Location": "http://127.0.0.1:9/"})] * 3)
    handler = make("generic", receiver)
    log = attached(handler)
    for number in range(200):
        log.info("record %d", number)

    check(handler, delivered=200)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver, attached, check, status):
    """The key and the trail go to the configured host and to no other: a trap elsewhere sees nothing at all."""
    with LocalReceiver() as trap, socket.create_server(("127.0.0.1", 0)) as unused:
        del unused
        receiver.script(Answer(status=status, headers={"Location": trap.generic_url}))
        handler = make("generic", receiver)
        attached(handler).info("record")

        check(handler, delivered=1)
        assert 0 == trap.request_count


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotated_key_heals_without_a_restart(receiver, attached, check, tmp_path, kind):
    """A key that is refused is read again from its file, and then everything arrives."""
    key_file = tmp_path / "key"
    key_file.write_text("old-key\n")
    good = "22222222-2222-2222-2222-222222222222"
    receiver.hec = replace(receiver.hec, tokens=(good,))
    receiver.datadog = replace(receiver.datadog, api_keys=(good,))
    receiver.generic = replace(receiver.generic, header_name="X-Key", header_values=(good,))
    settings = {"url": getattr(receiver, {"splunk": "hec_url"}.get(kind, f"{kind}_url"))}
    if kind == "generic":
        settings["api_header_name"] = "X-Key"
    handler = KINDS[kind](
        **{k: v for k, v in FAST.items() if not k.startswith("api_")}, **settings, api_key=f"file:{key_file}"
    )
    log = attached(handler)
    for number in range(50):
        log.info("record %d", number)
    assert receiver.wait_for(requests=2)
    assert "held" == handler.stats().state
    assert 0 == receiver.entry_count
    key_file.write_text(good)

    check(handler, delivered=50)
    assert {401, 403} & {request.status for request in receiver.requests}


def test_too_large_a_batch_is_halved_down_to_the_one_that_is_too_large(receiver, attached, check):
    """413 splits; neighbours of an entry that is too large alone arrive."""
    receiver.generic = replace(receiver.generic, max_content_bytes=3000)
    handler = make("generic", receiver)
    log = attached(handler)
    for number in range(64):
        log.info("large " + "x" * 5000 if number == 20 else "record")

    account = check(handler, delivered=63)
    assert 1 == account["rejected"]
    assert {*range(1, 65)} - {21} == {entry["seq"] for entry in receiver.entries}


def test_one_bad_entry_of_a_hundred_is_set_aside_alone(receiver, attached, check):
    """A receiver that only says 400 is asked about halves, until the bad entry stands alone."""
    with LocalReceiver() as picky:

        class Refuses:
            status = None

        del Refuses
        original = picky._judge

        def judge(request):
            outcome = original(request)
            if any("poison" in str(entry.fields) for entry in outcome.entries):
                return type(outcome)(replace_response(outcome.response))
            return outcome

        def replace_response(response):
            return type(response)(400, (), b"{}")

        picky._judge = judge
        handler = make("generic", picky)
        log = attached(handler)
        for number in range(100):
            log.info("poison" if number == 37 else "record")
        assert handler.flush(20)
        stats = handler.stats()

        assert (100, 99, 1, 0) == (stats.accepted, stats.delivered, stats.rejected, stats.pending)
        assert {*range(1, 101)} - {38} == {entry["seq"] for entry in picky.entries}
        assert {} == picky.duplicates()


def hec_error(code, text, number=None, status=400):
    body = {"text": text, "code": code}
    if number is not None:
        body["invalid-event-number"] = number
    return Answer(status=status, body=body)


def hec_judge(receiver, answer_for):
    """Let the receiver index what comes before the bad object, as Splunk does, and answer with its number."""
    original = receiver._judge

    def judge(request):
        outcome = original(request)
        for index, entry in enumerate(outcome.entries):
            answer = answer_for(index, entry)
            if answer is not None:
                response = answer.applied_to(outcome.response)
                return type(outcome)(response, outcome.entries[: index if answer_for.keeps_prefix else 0])
        return outcome

    receiver._judge = judge


@pytest.mark.parametrize("has_number", [True, False], ids=["numbered", "without number"])
@pytest.mark.parametrize(
    ("code", "text"),
    [(6, "Invalid data format"), (12, "Event field is required"), (13, "Event field cannot be blank")],
)
def test_hec_sets_the_bad_object_aside(  # noqa: PLR0917 - because fixtures are named, not placed
    receiver, attached, check, code, text, has_number
):
    """With a number the prefix counts as indexed; without one the batch is halved; the others arrive once."""

    def answer_for(index, entry):
        return hec_error(code, text, index if has_number else None) if "poison" in entry["message"] else None

    answer_for.keeps_prefix = has_number
    hec_judge(receiver, answer_for)
    handler = make("splunk", receiver)
    log = attached(handler)
    for number in range(100):
        log.info("poison" if number in (0, 37, 99) else "record")

    account = check(handler, delivered=97)
    assert 3 == account["rejected"]
    assert {*range(2, 101)} - {38, 100} == {entry["seq"] for entry in receiver.entries}


@pytest.mark.parametrize("has_number", [True, False], ids=["numbered", "without number"])
def test_hec_fields_that_splunk_cannot_take_are_left_out(receiver, attached, check, has_number):
    """Code 15 is about the indexed fields: the entry arrives without them (numbered), or is found by halving."""

    def answer_for(index, entry):
        is_bad = "poison" in entry["message"] and (entry.envelope or {}).get("fields")
        return (
            hec_error(15, "Error in handling indexed fields", index if has_number else None)
            if is_bad
            else None
        )

    answer_for.keeps_prefix = has_number
    hec_judge(receiver, answer_for)
    handler = make("splunk", receiver)
    log = attached(handler)
    for number in range(100):
        extra = {"component": "relay", "category": "paused"}
        log.info("poison" if number == 37 else "record", extra=extra)

    assert handler.flush(20)
    stats = handler.stats()
    assert 100 == stats.delivered + stats.rejected
    assert {} == receiver.duplicates()
    if has_number:
        assert (100, 0) == (stats.delivered, stats.rejected)
        assert list(range(1, 101)) == sorted(entry["seq"] for entry in receiver.entries)


def test_hec_refusing_an_index_holds_what_was_not_indexed(receiver, attached, check):
    """Code 7 with number N names the object after the bad one: N-1 and later wait until the index exists."""
    closed = threading.Event()

    def answer_for(index, entry):
        is_bad = not closed.is_set() and "other index" in entry["message"]
        return hec_error(7, "Incorrect index", index + 1) if is_bad else None

    answer_for.keeps_prefix = True
    hec_judge(receiver, answer_for)
    handler = make("splunk", receiver)
    log = attached(handler)
    for number in range(20):
        log.info("other index" if number == 12 else "record")
    assert receiver.wait_for(count=12)
    assert not handler.flush(0.1)
    assert 12 == handler.stats().delivered
    assert "held" == handler.stats().state
    closed.set()

    check(handler, delivered=20)
    assert list(range(1, 21)) == [entry["seq"] for entry in receiver.entries]


def test_splunk_clouds_disguised_oversize_is_split(receiver, attached, check):
    """400 with code 6 and number 0 on a body over 5,242,880 bytes means too large, not bad."""
    sizes = []
    original = receiver._judge

    def judge(request):
        outcome = original(request)
        size = sum(
            len(json.dumps(entry.envelope)) + len(json.dumps(entry.fields)) for entry in outcome.entries
        )
        sizes.append(size)
        if size > 5_300_000:
            return type(outcome)(hec_error(6, "Invalid data format", 0).applied_to(outcome.response))
        return outcome

    receiver._judge = judge
    handler = make(
        "splunk",
        receiver,
        max_batch_bytes=20_000_000,
        max_batch_entries=1000,
        flush_interval_seconds=30,
        compression="none",
    )
    log = attached(handler)
    for _ in range(14):
        log.info("x" * 500_000)

    check(handler, delivered=14)
    assert max(sizes) > 5_300_000


def test_a_full_queue_drops_by_policy_and_the_trail_tells_which(receiver, attached, check_account):
    """An outage longer than the queue: what was dropped is counted, and the trail names exactly the missing numbers."""
    receiver.refuse()
    handler = make("generic", receiver, max_queue_bytes=50_000)
    log = attached(handler)
    for number in range(1000):
        log.info("record %d", number)
    dropped = handler.stats().dropped
    receiver.listen()
    assert handler.flush(20)
    assert handler.flush(20)  # The trail tells of the drops once there is room, so after the first flush.
    account = account_of(handler)

    assert dropped > 0
    check_account([account], receiver)
    arrived = {entry["seq"] for entry in receiver.entries}
    told = [entry for entry in receiver.entries if entry.fields.get("trail") == "dropped"]
    missing = {n for entry in told for first, last in entry["ranges"] for n in range(first, last + 1)}
    assert {*range(1, account["accepted"] + 1)} - arrived == missing
    assert dropped == sum(entry["dropped"] for entry in told) == account["dropped"]


def test_the_root_logger_is_left_as_it_is(receiver, attached):
    """Making, using and closing a handler changes no logger and no level name."""
    before = (logging.root.level, list(logging.root.handlers), logging.getLevelName(5))
    log = attached(make("generic", receiver))
    log.info("record")

    assert before == (logging.root.level, list(logging.root.handlers), logging.getLevelName(5))
