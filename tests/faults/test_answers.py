"""Cases 43 to 50 and 59 to 61: answers that mean something else, and receivers that are slow or come and go."""

# ruff: noqa: PLR0917 - because fixtures are named, not placed

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import pytest
from freezegun import freeze_time

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.testing import Answer, HecSettings, LocalReceiver

KINDS = ["splunk", "datadog", "generic"]
HTML = "<html><body>It works!</body></html>"


def hec(status, code, **others):
    return Answer(status=status, body={"text": "text", "code": code, **others})


NO_SUCCESS = {
    "200 with code 6": hec(200, 6),
    "200 with code 9": hec(200, 9),
    "200 with code 17": hec(200, 17),
    "200 with an unknown code": hec(200, 99),
    "200 with HTML": Answer(status=200, body=HTML),
    "200 with {}": Answer(status=200, body={}),
    "200 with []": Answer(status=200, body=[]),
    "200 with nothing": Answer(status=200),
    "200 with code 0 as text": hec(200, "0"),
    "503 with code 9": hec(503, 9),
    "500 with code 8": hec(500, 8),
    "400 with code 6": hec(400, 6),
    "201 with code 0": hec(201, 0),
    "202 with code 0": hec(202, 0),
    "204": Answer(status=204),
}


@pytest.mark.parametrize("answer", NO_SUCCESS)
def test_case_43_only_codes_0_24_and_25_on_a_200_release_a_batch(oracle, receiver, connect, answer):
    """Splunk took nothing, whatever the first answers look like: all of it is sent again, and none of it set aside."""
    receiver.script(*[NO_SUCCESS[answer]] * 3)
    handler, log = connect("splunk", receiver, flush_interval_seconds=30)  # Full batches: they can be halved.
    oracle.log(log, 300)
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries >= 3)


@pytest.mark.parametrize("code", [24, 25])
def test_case_43_a_full_queue_that_took_the_batch(oracle, receiver, connect, code):
    """Codes 24 and 25 are warnings: the batch is in, and is not sent again."""
    receiver.script(*[replace(hec(200, code), takes_entries=True)] * 3)
    handler, log = connect("splunk", receiver)
    for _ in range(3):
        oracle.log(log, 100)
        assert handler.flush(20)
    oracle.assert_conserved(receiver, handler, fired=lambda: 0 == handler.stats().retries)


def refuse(receiver, answer_for):
    """Have the receiver index what stands before the first entry with an answer of its own, as Splunk does."""
    judge = receiver._judge

    def judge_entries(request):
        outcome = judge(request)
        for index, entry in enumerate(outcome.entries):
            answer = answer_for(index, entry)
            if answer is not None:
                return type(outcome)(answer.applied_to(outcome.response), outcome.entries[:index])
        return outcome

    receiver._judge = judge_entries


@pytest.mark.parametrize("code", [6, 12, 13])
@pytest.mark.parametrize("status", [200, 400])
def test_case_43_a_number_says_which_entry_is_bad(oracle, receiver, connect, code, status):
    """What stands before it is in, it alone is set aside, and the rest is sent: each entry once."""

    def answer_for(index, entry):
        is_bad = entry["message"].startswith("poison")
        return hec(status, code, **{"invalid-event-number": index}) if is_bad else None

    refuse(receiver, answer_for)
    handler, log = connect("splunk", receiver)
    poison = []
    for _ in range(3):
        poison += oracle.log(log, 1, message="poison")
        oracle.log(log, 40)
    oracle.assert_conserved(receiver, handler, fired=lambda: 3 == handler.stats().rejected, missing=poison)


def test_case_43_an_index_that_is_refused_for_a_while(oracle, receiver, connect, until):
    """Code 7 with number N names the object behind the bad one: what stands before is in, the rest is held."""
    is_open = threading.Event()

    def answer_for(index, entry):
        is_bad = entry["message"].startswith("elsewhere") and not is_open.is_set()
        return hec(400, 7, **{"invalid-event-number": index + 1}) if is_bad else None

    refuse(receiver, answer_for)
    handler, log = connect("splunk", receiver, flush_interval_seconds=30)
    oracle.log(log, 12)
    oracle.log(log, 1, message="elsewhere")
    oracle.log(log, 87)
    assert until(lambda: handler.stats().state == "held")
    assert (12, 88) == (handler.stats().delivered, handler.stats().pending)
    is_open.set()
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries)


TAKEN = {
    ("generic", 200): Answer(status=200),
    ("generic", 201): Answer(status=201),
    ("generic", 202): Answer(status=202),
    ("generic", 204): Answer(status=204),
    ("datadog", 202): Answer(status=202, body={}),
    ("datadog", 200): Answer(status=200, body={}),
}
NOT_TAKEN = {
    ("generic", 203): Answer(status=203),
    ("generic", 206): Answer(status=206),
    ("generic", 207): Answer(status=207),
    ("generic", 260): Answer(status=260),
    ("datadog", 200): Answer(status=200, body=HTML),
    ("datadog", 201): Answer(status=201, body={}),
    ("datadog", 204): Answer(status=204),
}


def name_of(pair):
    return f"{pair[0]} {pair[1]}"


@pytest.mark.parametrize("pair", TAKEN, ids=name_of)
def test_case_44_the_successes_of_a_kind(oracle, receiver, connect, pair):
    """Delivered, and not sent again."""
    receiver.script(*[replace(TAKEN[pair], takes_entries=True)] * 3)
    handler, log = connect(pair[0], receiver)
    for _ in range(3):
        oracle.log(log, 100)
        assert handler.flush(20)
    oracle.assert_conserved(receiver, handler, fired=lambda: 0 == handler.stats().retries)


@pytest.mark.parametrize("pair", NOT_TAKEN, ids=name_of)
def test_case_44_other_answers_of_the_200s(oracle, receiver, connect, pair):
    """They promise nothing: kept and sent again."""
    receiver.script(*[NOT_TAKEN[pair]] * 3)
    handler, log = connect(pair[0], receiver)
    oracle.log(log, 300)
    oracle.assert_conserved(receiver, handler, fired=lambda: 3 == handler.stats().retries)


@pytest.mark.filterwarnings("ignore")
def test_case_46_splunk_cloud_says_bad_data_and_means_too_large(oracle, connect):
    """400, code 6, number 0 for a body over 5,242,880 bytes: split, and nothing is set aside."""
    with LocalReceiver(hec=HecSettings(is_cloud=True)) as receiver:
        handler, log = connect(
            "splunk", receiver, max_batch_bytes=20_000_000, max_batch_entries=1000, flush_interval_seconds=30
        )
        oracle.log(log, 14, message="x" * 500_000)
        oracle.assert_conserved(
            receiver, handler, fired=lambda: [400] == [r.status for r in receiver.requests if r.status != 200]
        )


def limited(kind, max_bytes):
    """A receiver that takes no body above a size."""
    receiver = LocalReceiver()
    if kind == "splunk":
        receiver.hec = HecSettings(max_content_bytes=max_bytes)
    elif kind == "datadog":
        receiver.datadog = replace(receiver.datadog, max_content_bytes=max_bytes)
    else:
        receiver.generic = replace(receiver.generic, max_content_bytes=max_bytes)
    return receiver


@pytest.mark.parametrize("count", [1000, 2, 1])
@pytest.mark.parametrize("kind", ["splunk", "generic"])
def test_case_47_413(oracle, connect, kind, count):
    """Halves, down to the one entry that is too large alone; its neighbours arrive."""
    with limited(kind, 40_000) as receiver:
        handler, log = connect(kind, receiver, max_batch_entries=1000, flush_interval_seconds=30)
        oracle.log(log, count // 2)
        large = oracle.log(log, 1, message="x" * 50_000)
        oracle.log(log, count - count // 2 - 1)
        oracle.assert_conserved(
            receiver,
            handler,
            fired=lambda: any(request.status == 413 for request in receiver.requests),
            missing=large,
        )
        assert 1 == handler.stats().rejected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [401, 403])
def test_case_49_a_key_is_refused_for_a_while(oracle, receiver, connect, kind, status, caplog):
    """Held, told once, tried slowly; everything arrives when the key is good again."""
    refusal = Answer(status=status, body={"text": "Invalid token", "code": 4, "errors": []})
    receiver.script(*[refusal] * 5)
    handler, log = connect(kind, receiver, hold_retry_seconds=0.1)
    began = time.monotonic()
    oracle.log(log, 500)
    assert receiver.wait_for(requests=5)
    tries = receiver.request_count
    assert tries <= 2 + (time.monotonic() - began) / 0.1
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries == 5)
    alerts = [record for record in caplog.records if "holds its entries" in record.getMessage()]
    assert 1 == len(alerts)


@pytest.mark.parametrize("kind", KINDS)
def test_case_49_a_rotated_key(oracle, receiver, connect, kind, tmp_path, until):
    """A key that is refused is read again from its file: no restart."""
    good = "22222222-2222-2222-2222-222222222222"
    receiver.hec = replace(receiver.hec, tokens=(good,))
    receiver.datadog = replace(receiver.datadog, api_keys=(good,))
    receiver.generic = replace(receiver.generic, header_name="X-Key", header_values=(good,))
    key_file = tmp_path / "key"
    key_file.write_text("old-key\n")
    own = {"api_header_name": "X-Key"} if kind == "generic" else {}
    handler, log = connect(kind, receiver, api_key=f"file:{key_file}", **own)
    oracle.log(log, 50)
    assert until(lambda: handler.stats().state == "held")
    assert 0 == receiver.entry_count
    key_file.write_text(good)
    oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_case_50_redirects_to_another_host(oracle, receiver, connect, kind, status):
    """Not followed: held until the configured host answers, and the trap elsewhere sees no connection at all."""
    with LocalReceiver() as trap:
        receiver.script(*[Answer(status=status, headers={"Location": trap.generic_url})] * 3)
        handler, log = connect(kind, receiver)
        oracle.log(log, 200)
        oracle.assert_conserved(receiver, handler, fired=lambda: 3 == handler.stats().retries)
        assert 0 == trap.request_count


TEMPORARY = [
    Answer(status=503),
    Answer(status=500, body=HTML),
    Answer(status=429, headers={"Retry-After": "0"}),
    Answer(status=408),
    Answer(cut_at="before_request"),
    Answer(cut_at="after_headers"),
    Answer(cut_at="after_body", takes_entries=True),
    Answer(cut_at="in_answer_headers", takes_entries=True),
    Answer(cut_at="in_answer_body"),
    Answer(status=200, body=HTML),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_flight", [1, 4, "auto"])
@pytest.mark.parametrize("rate", ["every second", "one in a hundred", "all, then none"])
def test_case_59_a_receiver_that_comes_and_goes(oracle, receiver, connect, kind, in_flight, rate):
    """Failures of every kind in the midst of the traffic of four threads: identity, order, and no memory left over."""
    chance = random.Random(f"{kind} {rate} {in_flight}")
    faults = [f for f in TEMPORARY if not (kind == "generic" and f.status == 200)]
    share = {"every second": 0.5, "one in a hundred": 0.01, "all, then none": 1}[rate]
    count = 20 if share == 1 else 150
    answers = [chance.choice(faults) if chance.random() < share else Answer() for _ in range(count)]
    receiver.script(chance.choice(faults), *answers)
    handler, log = connect(
        kind, receiver, max_batch_entries=10, retry_max_seconds=0.02, max_in_flight=in_flight
    )
    threads = [threading.Thread(target=oracle.log, args=(log, 800)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    while receiver.unused_answers:
        oracle.log(log, 50)
        assert handler.flush(20)
    oracle.assert_conserved(
        receiver,
        handler,
        fired=lambda: handler.stats().retries,
        duplicates=True,
        in_order=in_flight == 1,
    )
    assert (0, "idle") == (handler.stats().queue_bytes, handler.stats().state)


@pytest.mark.parametrize(("in_flight", "most"), [(1, 1), (4, 4), ("auto", 16)])
def test_case_60_a_slow_receiver_costs_the_caller_nothing(oracle, receiver, connect, in_flight, most):
    """All calls return while no answer has come; what is under way is bounded, and none of it is repeated."""
    may_answer = threading.Event()
    receiver.always(Answer(wait_for=may_answer))
    handler, log = connect("splunk", receiver, request_timeout_seconds=20, max_in_flight=in_flight)
    oracle.log(log, 1)
    assert receiver.wait_for(requests=1)
    oracle.log(log, 5000)
    assert 5001 == handler.stats().pending
    assert receiver.request_count <= most
    may_answer.set()
    oracle.assert_conserved(
        receiver, handler, fired=lambda: 0 == handler.stats().retries, in_order=in_flight == 1
    )


@pytest.mark.parametrize("hours", [17.9, 18.1, 200])
def test_case_61_a_backlog_that_datadog_would_throw_away(oracle, receiver, connect, hours, until):
    """After an outage of many hours nothing vanishes in silence, and ``time`` still says when it happened."""
    with freeze_time("2026-07-01 12:00:00") as frozen:
        receiver.refuse()
        handler, log = connect("datadog", receiver)
        oracle.log(log, 300)
        assert not handler.flush(0.1)
        frozen.tick(hours * 3600)
        begun = handler.stats().requests  # One of them may have been written before the clock jumped.
        assert until(lambda: handler.stats().requests >= begun + 2)
        receiver.listen()
        oracle.assert_conserved(receiver, handler, fired=lambda: handler.stats().retries)
    assert [] == receiver.discarded
    assert {"2026-07-01T12:00:00.000000Z"} == {entry["time"] for entry in receiver.entries}


def test_case_59_all_three_kinds_at_once(oracle, connect):
    """One receiver down, one that answers nothing, one that works: none of them waits for another."""
    with LocalReceiver() as down, LocalReceiver() as silent, LocalReceiver() as well:
        down.refuse()
        silent.black_hole()
        kinds = [("splunk", down), ("datadog", silent), ("generic", well)]
        made = [connect(kind, receiver, request_timeout_seconds=0.3) for kind, receiver in kinds]
        for _, log in made:
            oracle.log(log, 200)
        assert well.wait_for(count=200)
        assert (0, 0) == (down.entry_count, silent.entry_count)
        down.listen()
        silent.restore()
        handlers = [handler for handler, _ in made]
        assert [SplunkHandler, DatadogHandler, ApiKeyHandler] == [type(handler) for handler in handlers]
        oracle.assert_conserved(
            [down, silent, well], *handlers, fired=lambda: all(h.stats().retries for h in handlers[:2])
        )
