"""What a handler will do, in words, without a path or a key."""

import logging

import pytest

from defender_logging import ApiKeyHandler, DatadogHandler, SplunkHandler
from defender_logging.cli.review import Source
from defender_logging.cli.wording import describe

MAKERS = {
    "splunk": lambda **given: SplunkHandler(**{"url": "https://s.example", "api_key": "k-123456", **given}),
    "datadog": lambda **given: DatadogHandler(api_key="k-123456", **given),
    "generic": lambda **given: ApiKeyHandler(**{"url": "https://x.example", **given}),
}
PROXIED = {"server_fingerprint": "ab" * 32, "proxy_url": "http://u:pw@p.example:3128"}
THROUGH_PROXY = "through the proxy http://p.example:3128"
PINNED = "only if its certificate is the pinned one"
BLOCKING = "each call waits up to 0.5 s, then new entries are dropped and counted"


@pytest.mark.parametrize(
    ("kind", "given", "name", "words"),
    [
        ("splunk", {"index": "audit"}, "sends to", "https://s.example:443, Splunk HEC, index 'audit'"),
        (
            "splunk",
            {"url": "https://s.example/raw", "index": "a"},
            "sends to",
            "Splunk HEC, raw endpoint, index 'a'",
        ),
        ("splunk", {"sourcetype": "trail"}, "sends to", "sourcetype 'trail'"),
        (
            "datadog",
            {"site": "datadoghq.eu"},
            "sends to",
            "https://http-intake.logs.datadoghq.eu:443, Datadog",
        ),
        (
            "generic",
            {"url": "http://127.0.0.1:1/x", "body": "ndjson"},
            "sends to",
            "http://127.0.0.1:1, NDJSON",
        ),
        ("generic", {"url": "http://127.0.0.1:1/x"}, "sends to", "unencrypted"),
        ("generic", PROXIED, "sends to", f"https://x.example:443, JSON arrays, {THROUGH_PROXY}, {PINNED}"),
        ("generic", {}, "key", "none"),
        ("generic", {"integrity": "sha256"}, "integrity", "without a key, which anybody can compute anew"),
        (
            "generic",
            {"integrity": "hmac-sha256", "integrity_key": "s3cret"},
            "integrity",
            "a key written in the file (env:NAME or file:PATH is safer)",
        ),
        (
            "splunk",
            {},
            "key",
            "written in the file (env:NAME or file:PATH is safer), in the header Authorization",
        ),
        ("generic", {}, "selects", "every record, with or without a component; levels info, warn, error"),
        ("generic", {"log_types": ["account", "relay"]}, "selects", "components relay, account;"),
        ("generic", {"log_levels": ["error", "trace"]}, "selects", "levels trace, error"),
        ("generic", {}, "fed by", "root (INFO and above), x (5 and above)"),
        (
            "generic",
            {"max_batch_bytes": 4096},
            "batches",
            "up to 1,000 entries or 4,096 bytes, after 1 s at the latest",
        ),
        ("generic", {}, "batches", "compression gzip, one at a time"),
        ("generic", {"max_in_flight": 4}, "batches", "compression gzip, up to 4 at a time"),
        ("generic", {"max_in_flight": "auto"}, "batches", "as many at a time as the receiver takes well"),
        (
            "generic",
            {},
            "queue",
            "up to 33.6 MB in memory; when it is full, new entries are dropped and counted",
        ),
        ("generic", {"overflow": "block", "block_timeout_seconds": 0.5}, "queue", BLOCKING),
        ("generic", {"level": "ERROR"}, "level", "ERROR and above only, whatever is selected"),
    ],
)
def test_says_in_words(kind, given, name, words):
    """Each setting that matters is told; of a URL only its origin."""
    handler = MAKERS[kind](**given)
    said = dict(describe(handler, [Source("root", logging.INFO), Source("x", 5)]))
    handler.close()

    assert words in said[name]
    assert "pw" not in repr(said)
    assert "k-123456" not in repr(said)


def test_names_the_reference_of_a_key(monkeypatch):
    """Where the key comes from is told, the key is not."""
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    handler = SplunkHandler(url="https://s.example", api_key="env:TOKEN")
    said = dict(describe(handler, []))
    handler.close()

    assert "env:TOKEN in the header Authorization" == said["key"]
    assert "hunter2" not in repr(said)
    assert "nothing" == said["fed by"]
