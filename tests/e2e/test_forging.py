"""No field can make a second entry or repaint a terminal: on the wire, in the spool, on the screens of commands."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, DefenderFormatter, SplunkHandler
from defender_logging.cli import main
from defender_logging.cli.display import Screen
from defender_logging.testing import Answer, LocalReceiver

WAIT_SECONDS = 20

EVIL = [
    *("a\nb", "a\r\nb", "a\rb", "a\x00b", "a\x08b", "a\x0bb", "a\x0cb", "a\x1ab", "a\x7fb"),
    *("\x1b[2J\x1b[1;1H\x1b[31mall is well", "\x1b]0;title\x07", "\x9b31m", "a\x85b", "a\x1eb"),
    *("a\u2028b", "a\u2029b", "\u202etxt.exe", "\u2066a\u2069", "\u061ca", "\u200ea", "\ufeffa"),
    *(
        '"}\n{"message":"forged"}',
        '"}{"event":{"message":"forged"}}{"x":"',
        '"},{"message":"forged"',
        "\\u000aforged",
    ),
    *("\ud800", "\udfff\n", "%0d%0aforged", "\N{FULLWIDTH COMMERCIAL AT}\x1b"),
]

# What ends a line or repaints a screen, for any reader: C0, DEL, C1, marks, separators, bidi, byte order mark.
REPAINTS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

HANDLERS = {
    "hec event": lambda receiver, **given: SplunkHandler(
        url=receiver.hec_url, api_key=receiver.token, index=None, **given
    ),
    "hec raw": lambda receiver, **given: SplunkHandler(
        url=f"{receiver.url}/services/collector/raw", api_key=receiver.token, **given
    ),
    "datadog": lambda receiver, **given: DatadogHandler(
        url=receiver.datadog_url, api_key=receiver.api_key, **given
    ),
    "json array": lambda receiver, **given: ApiKeyHandler(url=receiver.generic_url, **given),
    "ndjson": lambda receiver, **given: ApiKeyHandler(url=receiver.generic_url, body="ndjson", **given),
}


def evil_records():
    """Records that each have the evil text in every place at once."""
    for number, text in enumerate(EVIL):
        try:
            raise type(f"Error{text}", (ValueError,), {})(text)
        except ValueError as error:
            exc_info = (type(error), error, error.__traceback__)
        yield logging.makeLogRecord(
            {
                "name": f"app{text}",
                "msg": f"{text} %s",
                "args": (text,),
                "levelno": 30,
                "levelname": text,
                "threadName": text,
                "exc_info": exc_info,
                "stack_info": text,
                "component": text,
                "category": text,
                "subject": text,
                "object": {"id": text, "name": text},
                "reason": text,
                "user": text,
                "src_ip": text,
                "tenant": text,
                "outcome": text,
                f"name{text}": text,
                "deep": [{text: [text.encode("utf-8", "surrogatepass")]}],
                "number": number,
            }
        )


def framed(request):
    body = request.body
    return (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()


@pytest.mark.parametrize("kind", list(HANDLERS))
def test_one_record_is_one_entry_on_the_wire(kind):
    """As many entries as records arrive, whole; only the framing has a line break."""
    with LocalReceiver() as receiver:
        handler = HANDLERS[kind](
            receiver, flush_interval_seconds=0, shutdown_timeout_seconds=1, log_levels="all"
        )
        for record in evil_records():
            handler.handle(record)
        assert handler.flush(WAIT_SECONDS), handler.stats()
        handler.close()

        assert list(range(len(EVIL))) == sorted(entry["number"] for entry in receiver.entries)
        for request in receiver.requests:
            body = framed(request)
            lines = body.split("\n") if kind in {"ndjson", "hec raw", "hec event"} else [body]
            assert [] == [line for line in lines if REPAINTS.search(line)]
            assert all(json.loads(line) for line in lines if line)
        assert [] == [name for r in receiver.requests for _, name in r.headers if REPAINTS.search(name)]


def test_one_record_is_one_line_of_the_formatter():
    """For files and consoles that others read."""
    formatter = DefenderFormatter()
    for record in evil_records():
        line = formatter.format(record)

        assert REPAINTS.search(line) is None
        assert json.loads(line)["number"] == record.number


def test_the_screen_of_receive_is_not_repainted():
    """One printable line an entry, whatever stands in it; a stranger posts what our handlers never would."""
    for text in EVIL:
        entry = dict.fromkeys(
            ("time", "level", "component", "category", "subject", "object", "outcome"), text
        )
        for shown in (entry | {"message": text, "trail": text}, text, [text], {text: text}):
            stream = io.StringIO()
            Screen(stream).line(Screen(stream).entry("generic", shown))

            assert 1 == stream.getvalue().count("\n")
            assert REPAINTS.search(stream.getvalue().removesuffix("\n")) is None


def test_the_screens_of_the_spool_are_not_repainted(tmp_path, capsys):
    """``list`` and ``show``, readable and as JSON, with dead letters whose reason is the receiver's own text."""
    spool = tmp_path / "spool"
    with LocalReceiver() as receiver:
        receiver.script(
            *[Answer(status=400, body=f"no {text}".encode(errors="replace")) for text in EVIL * 3]
        )
        handler = ApiKeyHandler(
            url=receiver.generic_url,
            spool_dir=str(spool),
            flush_interval_seconds=0,
            max_batch_entries=1,
            shutdown_timeout_seconds=1,
            log_levels="all",
        )
        handler.name = EVIL[9]
        for record in evil_records():
            handler.handle(record)
        handler.flush(WAIT_SECONDS)
        assert handler.stats().rejected == len(EVIL)
        receiver.refuse()
        for record in evil_records():
            handler.handle(record)
        handler.close()
        for verb, *options in (
            *(("list",), ("list", "--json"), ("show",), ("show", "--json")),
            *(("show", "--dead-letters"), ("show", "--dead-letters", "--json"), ("export",)),
        ):
            main(["spool", verb, str(spool), *options])
            printed = capsys.readouterr()
            lines = (printed.out + printed.err).split("\n")

            assert len(lines) > (1 if verb == "list" else len(EVIL)), (verb, options)
            assert [] == [line for line in lines if REPAINTS.search(line)]


@pytest.mark.parametrize("text", EVIL)
def test_the_screens_of_check_and_send_are_not_repainted(tmp_path, capsys, text):
    """Names and values of the configuration, and the answer of the receiver."""
    with LocalReceiver() as receiver:
        receiver.script(*[Answer(status=403, body=text.encode(errors="replace"))] * 9)
        good = {"class": "defender_logging.ApiKeyHandler", "url": receiver.generic_url, "service": "s"}
        bad = {"class": f"defender_logging.{text}", text: text, "url": text, "level": text}
        path = tmp_path / "logging.json"
        config = {
            "version": 1,
            "handlers": {f"good{text}": good, f"bad{text}": bad},
            "root": {"handlers": [text]},
        }
        path.write_text(json.dumps(config))
        sendable = {"version": 1, "handlers": {f"good{text}": good}, "root": {"handlers": [f"good{text}"]}}
        (tmp_path / "send.json").write_text(json.dumps(sendable))
        codes = [main(["check", str(path)]), main(["send", str(tmp_path / "send.json"), "--timeout", "0.2"])]
    printed = capsys.readouterr()

    assert 0 not in codes
    assert [] == [line for line in (printed.out + printed.err).split("\n") if REPAINTS.search(line)]
