"""Entries come out of every form of export as they were written, as the hash of each proves."""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
import uuid

import pytest
from trails import KEY, as_ndjson, found, received

from defender_logging import ApiKeyHandler
from defender_logging._pipeline.integrity import Seal
from defender_logging.cli import verify_reading
from defender_logging.cli.exits import UsageError
from defender_logging.cli.verify_reading import read
from defender_logging.cli.verify_streams import verify

NESTED = {
    "order": {"id": 7, "fee": 0.1, "legs": [{"to": "a"}, {"to": "b", "n": 1}], "labels": ["x"], "none": None},
    "http.status": 200,
    "ratio": 1.0,
    "wei": 10**30,
    "ok": True,
    "nothing": None,
    "empty": "",
    "odd name, with = and .": "line\nbreak \\ \u2028 \x1b[31m \u202e é",
}


@pytest.fixture(scope="module")
def splunk():
    """What Splunk has: the events of one handler."""
    return received(["splunk"], records=20, extra=NESTED)


@pytest.fixture(scope="module")
def datadog():
    """What Datadog has."""
    return received(["datadog"], records=20, extra=NESTED)


def intact(tmp_path, content, name="export.json"):
    """Whether a file of this content is one intact stream of 22 entries and nothing else."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    values = list(read(str(path)))
    assert [] == [value.where for value in values if value.entry is None]
    reports = list(verify([value.entry for value in values], [Seal(KEY)]))
    assert {} == found(reports)
    return [22] == [report.entries for report in reports]


def unnested(name, value):
    """What Splunk extracts from JSON: leaves as text, dots for objects, ``{}`` for lists, a list of one as text."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from unnested(f"{name}.{inner}" if name else inner, item)
    elif isinstance(value, list):
        texts = [each if isinstance(each, str) else json.dumps(each) for each in value]
        if texts:
            yield f"{name}{{}}", texts if len(texts) > 1 else texts[0]
    elif value not in (None, ""):
        yield name, value if isinstance(value, str) else json.dumps(value)


def extracted(event):
    fields = dict(unnested("", event))
    return fields | {"host": [event["host"]] * 2, "source": "http:audit", "_time": "now", "linecount": "1"}


def nested_by_datadog(log):
    """What Datadog makes of a log: dots to objects, reserved names taken out, null dropped, whole floats shortened."""
    attributes = {}
    for name, value in log.items():
        *outer, last = name.split(".")
        target = attributes
        for part in outer:
            target = target.setdefault(part, {})
        target[last] = simple(value)
    taken = {
        name: attributes.pop(name) for name in ("message", "host", "service", "status") if name in attributes
    }
    attributes.pop("timestamp")
    return taken | {"tags": ["env:prod"], "timestamp": "2026-07-01T00:00:00Z", "attributes": attributes}


def simple(value):
    if isinstance(value, dict):
        return {name: simple(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [simple(item) for item in value]
    return int(value) if isinstance(value, float) and value == int(value) else value


class TestForms:
    def test_entries_as_they_were_sent(self, tmp_path, splunk):
        """NDJSON, in an array a line, with blank lines, a byte order mark, CRLF, and packed."""
        lines = as_ndjson(splunk)

        assert intact(tmp_path, lines)
        assert intact(tmp_path, json.dumps(splunk))
        assert intact(tmp_path, "\ufeff" + lines.replace("\n", "\r\n\r\n").rstrip())
        assert intact(tmp_path, gzip.compress(lines.encode()), "export.json.gz")

    def test_envelopes_of_hec(self, tmp_path, splunk):
        """As a proxy in between would have written them down, with and without the indexed fields."""
        assert intact(
            tmp_path, as_ndjson({"time": 1.5, "event": event, "fields": {"a": "b"}} for event in splunk)
        )

    def test_splunk_with_raw_text(self, tmp_path, splunk):
        """Each result with ``_raw``, and the lines that Splunk puts around them."""
        results = [
            {"preview": False, "offset": i, "result": {"_raw": json.dumps(event), "host": "h", "seq": "9"}}
            for i, event in enumerate(splunk)
        ]

        assert intact(tmp_path, as_ndjson([*results, {"preview": False, "lastrow": True}]))
        assert intact(tmp_path, as_ndjson({"_raw": json.dumps(event), "_time": "x"} for event in splunk))

    def test_splunk_with_extracted_fields(self, tmp_path):
        """All values text, objects flat, lists as ``{}``, host twice; but for lists of objects and whole floats."""
        extra = {
            "order": {"id": 7, "fee": 0.1, "labels": ["x", "y"]},
            "http.status": 200,
            "wei": 10**30,
            "one": ["x"],
        }
        events = received(["splunk"], records=20, extra=extra | {"amount": 0.5})

        assert intact(tmp_path, as_ndjson({"result": extracted(event)} for event in events))

    def test_datadog_from_search_and_archive(self, tmp_path, datadog):
        """Nested once in an archive, twice in the answers of the search API, version 1 and 2."""
        archived = [nested_by_datadog(log) for log in datadog]

        assert intact(tmp_path, as_ndjson(archived))
        assert intact(tmp_path, as_ndjson({"id": "AQ", "type": "log", "attributes": log} for log in archived))
        assert intact(tmp_path, as_ndjson({"id": "AQ", "content": log} for log in archived))

    def test_a_moved_timestamp_is_not_covered(self, tmp_path, datadog):
        """Datadog's own, which has to be moved where the entry is old."""
        assert intact(tmp_path, as_ndjson(log | {"timestamp": 1} for log in datadog))


class TestStrangers:
    @pytest.mark.parametrize(
        "line",
        ["x", "{", "5", "null", '"text"', "[5]", "{}", '{"event": 5}', '{"_raw": "x"}', '{"result": {"_raw": "{"}}',
         '{"attributes": {"attributes": {"attributes": {"attributes": {"stream": "s", "seq": 1}}}}}',
         '{"stream": "s", "seq": 1, "seq": 2}', '{"stream": "s", "seq": NaN}', "[" * 100_000, "\udcff", "\x00"],
    )  # fmt: skip
    def test_a_line_that_is_no_entry_is_named(self, tmp_path, line):
        """Whatever stands there; nothing of it is believed and nothing of it stops the work."""
        path = tmp_path / "export.json"
        path.write_bytes(b"\n" + line.encode("utf-8", "surrogateescape") + b"\n")

        assert [(f"{path}:2", None)] == list(read(str(path)))

    def test_a_line_of_any_length_stays_in_bounds(self, tmp_path, monkeypatch):
        """What is longer than any entry is left out as a whole, and what follows is read."""
        monkeypatch.setattr(verify_reading, "MAX_LINE_BYTES", 100)
        path = tmp_path / "export.json"
        good = '{"stream":"s","seq":1}'
        path.write_text(f"{'x' * 1000}\n{good}\n{'y' * 99}\n{good}\n{'z' * 100}", "utf-8")

        assert [True, False, True, False, True] == [value.entry is None for value in read(str(path))]

    @pytest.mark.parametrize("name", ["missing.json", "folder", "broken.gz", "cut.gz"])
    def test_a_file_that_cannot_be_read(self, tmp_path, name):
        """Said in words, with the path."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("x", "utf-8")
        (tmp_path / "broken.gz").write_text("x", "utf-8")
        (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])

        with pytest.raises(UsageError, match=name):
            list(read(str(tmp_path / name)))


def test_standard_input(monkeypatch, splunk):
    """The path ``-``."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_ndjson(splunk).encode())))

    assert splunk == [value.entry for value in read("-")]


def test_a_spool_with_its_dead_letters(tmp_path):
    """What waits on the disk, and what the receiver has refused, complete the trail."""
    from defender_logging.testing import Answer, LocalReceiver

    with LocalReceiver() as receiver:
        handler = ApiKeyHandler(
            url=receiver.generic_url,
            spool_dir=str(tmp_path / "spool"),
            integrity="sha256",
            max_batch_entries=1,
            flush_interval_seconds=0,
            retry_initial_seconds=0.01,
            retry_max_seconds=0.01,
        )
        logger = logging.getLogger(f"trails.{uuid.uuid4().hex}")
        logger.propagate, logger.level = False, 1
        logger.addHandler(handler)
        logger.info("taken")
        assert handler.flush(10)
        receiver.script(*[Answer(status=400)] * 3)  # The last one without compression.
        logger.info("refused")
        handler.flush(10)
        receiver.refuse()
        logger.info("waiting")
        exported = [entry.fields for entry in receiver.entries]
        spooled = [value.entry for value in read(str(tmp_path / "spool"))]
        rejected = handler.stats().rejected
        receiver.listen()
        handler.close()
        assert handler.flush(10)
        exported += [entry.fields for entry in receiver.entries]

    assert 1 == rejected
    assert {"refused", "waiting"} <= {entry["message"] for entry in spooled}
    assert {} == found(verify(exported + spooled, [Seal()]))
