"""What real processes leave at a receiver verifies: after exits, deaths, adoptions, forks, drops and refusals."""

from __future__ import annotations

import json
import os
import signal

import pytest
from trails import KEY, found

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging._pipeline.integrity import Seal
from defender_logging.cli import main
from defender_logging.cli.verify_streams import verify
from defender_logging.testing import Answer, LocalReceiver

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL, SIGTERM and fork")

CHAINED = """
import multiprocessing
handler = make(integrity="hmac-sha256", integrity_key="correct-horse-battery-staple", **SETTINGS)
"""
KILLED = """
for number in range(50):
    log.info("entry %d", number)
if os.environ.get("DELIVERED"):
    handler.flush(10)
tell("STREAM", handler._pipeline.buffer.stream)
os.kill(os.getpid(), signal.SIGKILL)
"""


def program(source, **settings):
    """A program whose handler chains its entries."""
    return f"import signal\nSETTINGS = {settings!r}\n{CHAINED}\n{source}"


def reports(receiver):
    """Reports by stream on what has arrived."""
    return {r.stream: r for r in verify([entry.fields for entry in receiver.entries], [Seal(KEY)])}


def faults(receiver):
    return found(reports(receiver).values())


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(3)",
        "1 / 0",
        "logging.shutdown()",
        "handler.close()",
        "flush_all(10)",
        "VERY_LAST.append(lambda: 0)",
    ],
)
def test_every_normal_end_of_a_process_ends_its_stream(programs, receiver, end):
    """The last entry is ``stopped``, whichever way the interpreter leaves."""
    result = programs.run(program(f'log.info("one")\n{end}'), url=receiver.generic_url)

    assert {} == faults(receiver), result.stderr
    assert ["started", None, "stopped"] == [entry.fields.get("trail") for entry in receiver.entries]


def test_what_exit_hooks_log_belongs_to_the_stream(programs, receiver):
    """Records of hooks that run after ours are followed by another ``stopped``."""
    source = """
atexit.register(lambda: log.info("early"))
late = logging.Handler()
late.close = lambda: log.info("late")  # By logging.shutdown, before it closes older handlers.
log.info("one")
"""
    result = programs.run(program(source), url=receiver.generic_url)

    assert {} == faults(receiver), result.stderr
    assert ["early", "late"] == [e.fields["message"] for e in receiver.entries if "trail" not in e.fields][1:]
    assert "stopped" == receiver.entries[-1].fields["trail"]


def test_children_have_streams_of_their_own(programs, receiver):
    """Forked by ``os.fork`` and by ``multiprocessing``: each stream is chained from its own beginning; who leaves by
    ``os._exit`` without a word has an open end.
    """
    source = """
def child():
    log.info("child")

log.info("parent")
worker = multiprocessing.get_context("fork").Process(target=child)
worker.start()
worker.join()
pid = os.fork()
if pid == 0:
    log.info("grandchild")
    handler.flush(10)
    os._exit(0)
os.waitpid(pid, 0)
log.info("parent again")
    """
    result = programs.run(program(source), url=receiver.generic_url)

    assert 3 == len(reports(receiver)), result.stderr
    assert [{"open end": [(2, 2)]}] == list(faults(receiver).values())


def test_a_killed_process_without_a_spool_leaves_an_open_end(programs, receiver):
    """Reported as such, and nothing else."""
    result = programs.run(program(KILLED), url=receiver.generic_url, DELIVERED="1")

    stream = result.value("STREAM")
    assert {stream: {"open end": [(51, 51)]}} == faults(receiver)


@pytest.mark.parametrize("is_delivered", [True, False])
def test_who_adopts_a_stream_closes_it(programs, receiver, is_delivered):
    """After ``kill -9`` with a spool the next process names the last entry, delivered or not; so a cut is seen."""
    if not is_delivered:
        receiver.refuse()
    dead = programs.run(
        program(KILLED, spool_dir="spool"), url=receiver.generic_url, DELIVERED="1" if is_delivered else ""
    ).value("STREAM")
    if not is_delivered:
        receiver.listen()
    source = f'log.info("next")\ntell("DONE", wait_until(lambda: not os.path.exists("spool/{dead}")))'
    result = programs.run(program(source, spool_dir="spool"), url=receiver.generic_url)

    assert result.value("DONE"), result.stderr
    assert {} == faults(receiver)
    assert 51 == reports(receiver)[dead].last

    cut = [e.fields for e in receiver.entries if e.fields["stream"] != dead or e.fields["seq"] <= 40]
    assert {dead: {"cut tail": [(41, 51)]}} == found(verify(cut, [Seal(KEY)]))
    gone = [e.fields for e in receiver.entries if e.fields["stream"] != dead]
    assert {dead: {"absent": [(1, 51)]}} == found(verify(gone, [Seal(KEY)]))


def test_spool_send_closes_what_it_delivers(programs, receiver, tmp_path, capsys, monkeypatch):
    """The command adopts like a service, and its own stream is whole as well."""
    receiver.refuse()
    programs.run(program(KILLED, spool_dir="spool"), url=receiver.generic_url)
    receiver.listen()
    monkeypatch.chdir(tmp_path)
    handler = {
        "class": "defender_logging.ApiKeyHandler",
        "url": receiver.generic_url,
        "spool_dir": "spool",
        "integrity": "hmac-sha256",
        "integrity_key": KEY,
    }
    config = {"version": 1, "handlers": {"trail": handler}, "root": {"handlers": ["trail"]}}
    (tmp_path / "logging.json").write_text(json.dumps(config), "utf-8")

    assert 0 == main(["spool", "send", "logging.json"]), capsys.readouterr()
    assert {} == faults(receiver)
    assert ["salt"] == [path.name for path in (tmp_path / "spool").iterdir()]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_an_outage_that_was_too_long_explains_itself(attached, overflow):
    """Entries that the full queue drops are told, hashes and all, and the trail is as it was written."""
    with LocalReceiver() as receiver:
        receiver.refuse()
        handler = ApiKeyHandler(
            url=receiver.generic_url,
            integrity="hmac-sha256",
            integrity_key=KEY,
            max_queue_bytes=20_000,
            overflow=overflow,
            retry_initial_seconds=0.01,
            retry_max_seconds=0.01,
        )
        logger = attached(handler)
        for number in range(500):
            logger.info("entry %d", number)
        receiver.listen()
        assert handler.flush(20)
        logger.info("after")
        handler.close()
        assert handler.flush(20)
        (report,) = reports(receiver).values()

        assert {} == found([report])
        assert handler.stats().dropped == len(report.dropped) > 0
        told = [entry.fields for entry in receiver.entries if entry.fields.get("trail") == "dropped"]
        assert all(None not in pair for entry in told for pair in entry["range_hashes"])


def test_retries_and_refused_fields_change_nothing(attached):
    """Answers that were lost, entries sent again without indexed ``fields`` (code 15): duplicates at most."""
    with LocalReceiver() as receiver:
        receiver.script(
            Answer(cut_at="after_body", takes_entries=True),
            Answer(
                status=400, body={"text": "x", "code": 15, "invalid-event-number": 1}, takes_entries=False
            ),
        )
        handler = SplunkHandler(
            url=receiver.hec_url,
            api_key=receiver.token,
            integrity="sha256",
            retry_initial_seconds=0.01,
            flush_interval_seconds=0.01,
        )
        logger = attached(handler)
        logger.info("one", extra={"component": "relay", "category": "paused"})
        handler.flush(10)
        logger.info("two", extra={"component": "relay", "category": "paused"})
        handler.close()
        assert handler.flush(10)

        assert 0 == receiver.unused_answers
        assert {} == found(verify([entry.fields for entry in receiver.entries], [Seal()]))


@pytest.mark.parametrize("kind", ["generic", "splunk", "datadog"])
def test_entries_cut_to_size_are_chained_as_they_are_sent(attached, kind):
    """Too long texts, too many extras, too deep nesting: within the limit, marks included, and intact."""
    deep = {"x": None}
    for _ in range(60):
        deep = {"x": deep}
    with LocalReceiver() as receiver:
        settings = {"integrity": "hmac-sha256", "integrity_key": KEY}
        handler = {
            "generic": lambda: ApiKeyHandler(url=receiver.generic_url, **settings),
            "splunk": lambda: SplunkHandler(url=receiver.hec_url, api_key=receiver.token, **settings),
            "datadog": lambda: DatadogHandler(url=receiver.datadog_url, api_key=receiver.api_key, **settings),
        }[kind]()
        logger = attached(handler)
        logger.info("m" * 3_000_000, extra={"a": "\x1b" * 500_000, "b": ["é" * 400_000]})
        logger.info("many", extra={f"name_{'x' * 500}_{n}": "v" * 600 for n in range(1500)})
        logger.info("deep", extra={"deep": deep, "hashed": ["mine"], "prev": 1, "hash": 2})
        handler.close()
        assert handler.flush(20)
        entries = [entry.fields for entry in receiver.entries]

        assert [True] * 3 == [entry["truncated"] for entry in entries if "trail" not in entry]
        assert (["mine"], 1, 2) == tuple(entries[3][f"extra_{name}"] for name in ("hashed", "prev", "hash"))
        assert {} == faults(receiver)


def test_the_key_is_nowhere(attached, capsys):
    """Not in an entry, a repr, or an error about it."""
    with LocalReceiver() as receiver:
        handler = ApiKeyHandler(url=receiver.generic_url, integrity="hmac-sha256", integrity_key=KEY)
        attached(handler).info("one")
        handler.close()
        assert handler.flush(10)
        seen = [repr(vars(each)) for each in (handler, handler._pipeline, handler._pipeline.buffer._chain)]
        seen += [repr(handler._settings), str(receiver.entries)]
        with pytest.raises(ValueError, match="integrity") as raised:
            ApiKeyHandler(url=receiver.generic_url, integrity="sha256", integrity_key=KEY)

        assert KEY not in "".join([*seen, str(raised.value), *capsys.readouterr()])


def test_sigterm_that_becomes_a_normal_exit_ends_the_stream(programs, receiver):
    """The recipe: a handler that raises SystemExit."""
    source = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
log.info("one")
tell("READY", 1)
while True:
    time.sleep(0.01)
"""
    running = programs.start(program(source), url=receiver.generic_url)
    running.wait_for("READY")
    running.process.send_signal(signal.SIGTERM)
    running.finish()

    assert {} == faults(receiver)
