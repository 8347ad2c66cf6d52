"""Every setting: its default, what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import logging
import logging.config
import threading

import pytest

from defender_logging import ApiKeyHandler, ConfigurationError, DatadogHandler, SplunkHandler, Vocabulary

SECRET = "s3cr3t-0123456789-VALUE"
MINIMAL = {
    "splunk": (SplunkHandler, {"url": "https://splunk.example:8088", "api_key": SECRET}),
    "datadog": (DatadogHandler, {"api_key": SECRET}),
    "generic": (ApiKeyHandler, {"url": "https://logs.example/in"}),
}
KINDS = list(MINIMAL)


def make(kind, **settings):
    """Construct and close a handler; close() of one that never started costs nothing."""
    handler_class, minimal = MINIMAL[kind]
    given = {key: value for key, value in {**minimal, **settings}.items() if value is not ABSENT}
    handler = handler_class(**given)
    handler.close()
    return handler


def refusal(kind, **settings):
    """The text of the ConfigurationError, in which no secret may be."""
    with pytest.raises(ConfigurationError) as raised:
        make(kind, **settings)
    text = "".join([str(raised.value), repr(raised.value)])
    assert SECRET not in text
    return str(raised.value)


ABSENT = object()

ACCEPTED = [
    ("log_types", ["relay"]), ("log_types", ("account", "admin")), ("log_types", {"sentinel"}),
    ("log_types", ["Monitor", "actions"]),
    ("log_types", None), ("log_levels", ["trace"]), ("log_levels", "all"),
    ("log_levels", ["WARNING", "fatal", "Critical", "info"]),
    ("service", "payments"), ("environment", "production"), ("host", "node-1"), ("tags", ["team:core", "region:eu"]),
    ("tags", {"team": "core"}), ("static_fields", {"release": "1.2.3", "shard": 4}),
    ("vocabulary", {"components": ["billing"], "categories": ["refunded"]}),
    ("vocabulary", {"categories": {"refunded": {"level": "warn", "outcome": "success"}}}),
    ("vocabulary", {"components": ["billing"]}),
    ("vocabulary", Vocabulary.default().extend(components=["billing"])),
    ("max_queue_bytes", 1_000_000), ("overflow", "drop_newest"), ("overflow", "drop_oldest"), ("overflow", "block"),
    ("max_batch_entries", 1), ("max_batch_bytes", 100_000), ("flush_interval_seconds", 0.5),
    ("flush_interval_seconds", 5),
    ("compression", "gzip"), ("compression", "none"), ("connect_timeout_seconds", 0.5), ("request_timeout_seconds", 30),
    ("max_in_flight", 1), ("max_in_flight", 32), ("max_in_flight", "auto"),
    ("retry_initial_seconds", 0.1), ("retry_max_seconds", 120), ("retry_after_max_seconds", 1),
    ("hold_retry_seconds", 10), ("shutdown_timeout_seconds", 1.5), ("shutdown_timeout_seconds", 0),
    ("allow_plaintext", True),
    ("allow_plaintext", False), ("redact", ["shoe_size"]), ("redact", {"only": ["shoe_size"]}),
    ("redact", {"allow": ["message"]}),
    ("server_fingerprint", "ab" * 32), ("server_fingerprint", ":".join(["AB"] * 32)), ("server_fingerprint", "Ab" * 32),
    ("level", "WARNING"), ("level", 30), ("level", 0), ("proxy_url", "http://127.0.0.1:3128"),
    ("api_header_name", "X-Api-Key"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_accepts(kind, name, value):
    """Each value that section 3 speaks of can be given to each handler."""
    extra = {"block_timeout_seconds": 0.5} if value == "block" else {}
    if (kind, name) == ("generic", "api_header_name"):
        extra["api_key"] = SECRET
    make(kind, **{name: value}, **extra)


REFUSED = [
    ("url", "logs.example/in"), ("url", "ftp://logs.example"), ("url", ""), ("url", 5), ("url", "https://"), ("url", "http://logs.example/in"),
    ("url", "http://10.0.0.7/in"), ("url", "env:CONTRACT_NOT_SET"), ("url", "file:/nonexistent/contract/url"),
    ("url", "https://logs.example:notaport/"), ("url", "https://logs.example/\nHost: evil"),
    ("api_header_name", "Bad Header"), ("api_header_name", "X-Key:"), ("api_header_name", ""),
    ("api_header_name", "X\r\nY"),
    ("api_header_name", "X-Kéy"), ("log_types", ["relayy"]), ("log_types", [5]), ("log_levels", ["loud"]),
    ("log_levels", "loud"),
    ("tags", 5), ("static_fields", ["a"]), ("static_fields", 5), ("vocabulary", {"componets": ["x"]}),
    ("vocabulary", 5),
    ("vocabulary", {"categories": {"refunded": {"level": "loud"}}}),
    ("vocabulary", {"categories": {"refunded": {"outcome": "maybe"}}}),
    ("max_queue_bytes", 0), ("max_queue_bytes", -1), ("max_queue_bytes", "many"), ("overflow", "drop"),
    ("block_timeout_seconds", -1), ("max_batch_entries", 0), ("max_batch_entries", "x"), ("max_batch_entries", 1.5),
    ("max_batch_bytes", 0), ("max_batch_bytes", -5), ("flush_interval_seconds", -1), ("flush_interval_seconds", "1 s"),
    ("flush_interval_seconds", float("nan")), ("compression", "brotli"), ("compression", 5),
    ("connect_timeout_seconds", 0),
    ("connect_timeout_seconds", -1), ("request_timeout_seconds", 0), ("request_timeout_seconds", float("nan")),
    ("max_in_flight", 0), ("max_in_flight", "many"), ("retry_initial_seconds", -1), ("retry_max_seconds", -1),
    ("retry_after_max_seconds", -1), ("hold_retry_seconds", -1), ("shutdown_timeout_seconds", -1),
    ("shutdown_timeout_seconds", "x"),
    ("ca_file", "/nonexistent/contract/ca.pem"), ("client_cert_file", "/nonexistent/contract/client.pem"),
    ("server_fingerprint", "abc"), ("server_fingerprint", "zz" * 32), ("server_fingerprint", "ab" * 20),
    ("proxy_url", "not a url"),
    ("allow_plaintext", "maybe"), ("redact", 5), ("redact", {"omit": ["x"]}), ("level", "LOUD"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_refuses(kind, name, value):
    """A wrong value is refused at construction, by the name of its setting."""
    if (kind, name) == ("datadog", "api_header_name"):
        value = value or "Bad Header"
    assert name in refusal(kind, **{name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preset", "loki"),
        ("integrity_key", "env:HOME"), ("max_spool_bytes", 1), ("fsync", "always"),
    ],
)  # fmt: skip
def test_settings_of_later_issues_are_refused(kind, name, value):
    """Refused rather than accepted and ignored."""
    assert name in refusal(kind, **{name: value})


@pytest.mark.parametrize(
    ("kind", "name"),
    [("splunk", "site"), ("splunk", "ddsource"), ("splunk", "body"), ("datadog", "index"),
     ("datadog", "use_ack"), ("datadog", "ack_timeout_seconds"), ("generic", "use_ack"),
     ("generic", "ack_timeout_seconds"),
    ("datadog", "indexed_fields"),
     ("datadog", "body"), ("generic", "index"), ("generic", "site"), ("generic", "sourcetype")],
)  # fmt: skip
def test_a_setting_of_another_destination_is_unknown(kind, name):
    """A setting that would be ignored is refused."""
    assert name in refusal(kind, **{name: "x"})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("splunk", {"index": "audit", "source": "s", "sourcetype": "t"}),
        ("splunk", {"indexed_fields": ["component", "tenant"]}),
        ("splunk", {"indexed_fields": []}),
        (
            "splunk",
            {"url": "https://x.splunkcloud.com/services/collector/raw", "api_key": f"Splunk {SECRET}"},
        ),
        ("datadog", {"site": "datadoghq.eu", "ddsource": "python"}),
        ("datadog", {"url": "https://http-intake.logs.datadoghq.eu/api/v2/logs"}),
        ("generic", {"body": "ndjson"}),
        ("generic", {"body": "json_array"}),
        ("generic", {"headers": {"X-Team": "core"}}),
        ("generic", {"api_header_name": "X-Key", "api_key": SECRET}),
    ],
)
def test_accepts_the_settings_of_its_own_destination(kind, settings):
    """The last three rows of the table."""
    make(kind, **settings)


@pytest.mark.parametrize(
    "site",
    ["datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com",
    "ap2.datadoghq.com", "ddog-gov.com",
     "uk1.datadoghq.com", "us2.ddog-gov.com"],
)  # fmt: skip
def test_every_site_of_datadog_is_known(site):
    """The table of sites, and the URL made of it is in the repr."""
    assert f"http-intake.logs.{site}" in repr(make("datadog", site=site))


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("generic", {"body": "xml"}, "body"),
        ("generic", {"headers": {"Bad Name": "x"}}, "headers"),
        ("generic", {"headers": {"X": "a\r\nb"}}, "headers"),
        ("generic", {"headers": ["X"]}, "headers"),
        ("generic", {"url": ABSENT}, "url"),
        ("splunk", {"url": ABSENT}, "url"),
        ("splunk", {"api_key": ABSENT}, "api_key"),
        ("datadog", {"api_key": ABSENT}, "api_key"),
        ("datadog", {"max_batch_bytes": 9_000_000}, "max_batch_bytes"),
        ("datadog", {"max_batch_entries": 1001}, "max_batch_entries"),
        ("datadog", {"compression": "zstd"}, "compression"),
        ("splunk", {"compression": "zstd"}, "compression"),
        ("splunk", {"indexed_fields": 5}, "indexed_fields"),
    ],
)
def test_refuses_what_its_destination_cannot_take(kind, settings, name):
    """Missing values, and limits of the vendors."""
    assert name in refusal(kind, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "key",
    ["", f"{SECRET}\n", f"{SECRET}\r\nX-Evil: 1", f"{SECRET}\x00", f"{SECRET}é", f"{SECRET}\u2028", SECRET * 3000,
    f"{SECRET}\x7f"],
    ids=["empty", "newline", "crlf", "nul", "latin1", "separator", "64KB", "delete"],
)  # fmt: skip
def test_a_key_that_no_header_can_carry_is_refused_unseen(kind, key):
    """Fault 72: at construction, and without showing it."""
    settings = {"api_key": key}
    if kind == "generic":
        settings["api_header_name"] = "X-Api-Key"
    assert "api_key" in refusal(kind, **settings)


def test_an_unset_variable_and_a_missing_file_are_named(tmp_path):
    """The reference is no secret: the reader has to know which one is missing."""
    assert "CONTRACT_NOT_SET" in refusal("splunk", api_key="env:CONTRACT_NOT_SET")
    missing = tmp_path / "absent.key"
    assert "absent.key" in refusal("splunk", api_key=f"file:{missing}")


def test_an_empty_file_is_no_key(tmp_path):
    """An empty secret is a missing one."""
    empty = tmp_path / "empty.key"
    empty.write_text("")
    assert "api_key" in refusal("datadog", api_key=f"file:{empty}")


def test_five_mistakes_make_one_error_that_names_all_five():
    """All problems at once, each with its value, no secret."""
    text = refusal(
        "splunk",
        url="splunk.example",
        api_key=f"{SECRET}\r\nX-Evil: 1",
        overflow="drop_all",
        max_queue_bytes=-7,
        log_types=["relayy"],
        flush_intervall_seconds=3,
    )

    for name in ["url", "api_key", "overflow", "max_queue_bytes", "log_types", "flush_intervall_seconds"]:
        assert name in text
    for value in ["'drop_all'", "-7", "relayy"]:
        assert value in text


@pytest.mark.parametrize(
    ("kind", "given", "meant"),
    [("splunk", "max_que_bytes", "max_queue_bytes"), ("datadog", "sight", "site"), ("generic", "log_type", "log_types"),
     ("splunk", "token", ""), ("generic", "timeout", "")],
)  # fmt: skip
def test_an_unknown_setting_is_named_with_its_nearest_match(kind, given, meant):
    """Unknown settings are errors."""
    text = refusal(kind, **{given: 5})

    assert given in text
    assert meant in text


def test_a_misspelt_key_setting_does_not_show_the_key():
    """The value of an unknown setting may be the secret."""
    for name in ["api_kye", "apikey", "api_token", "token", "password"]:
        assert name in refusal("splunk", **{name: SECRET})


def test_a_typo_in_a_selection_names_the_nearest_word():
    """A typo must not silently forward nothing."""
    assert "sentinel" in refusal("generic", log_types=["sentinl"])
    assert "warn" in refusal("generic", log_levels=["warnn"])
    assert "billing" in refusal("generic", log_types=["bilingg"], vocabulary={"components": ["billing"]})
    make("generic", log_types=["billing"], vocabulary={"components": ["billing"]})


def test_a_url_is_never_shown_with_its_query():
    """A key may be in it."""
    text = refusal("generic", url=f"http://logs.example/in?key={SECRET}", overflow="x")

    assert "url" in text


def test_url_and_key_from_the_environment_and_from_files(tmp_path, monkeypatch):
    """`env:NAME` and `file:PATH` work for the URL and for every secret; a file's last newline is not part of it."""
    monkeypatch.setenv("CONTRACT_URL", "https://from-env.example")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    handler = make("splunk", url="env:CONTRACT_URL", api_key=f"file:{tmp_path / 'key'}")
    assert "from-env.example" in repr(handler)
    (tmp_path / "url").write_text("https://from-file.example\n")
    assert "from-file.example" in repr(make("splunk", url=f"file:{tmp_path / 'url'}"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.2"])
def test_plaintext_is_for_loopback_hosts(host):
    """http:// needs no permission there."""
    make("generic", url=f"http://{host}:8088/x")


def test_plaintext_elsewhere_has_to_be_allowed():
    """`allow_plaintext` is the permission, and the error says so."""
    assert "allow_plaintext" in refusal("generic", url="http://logs.example/x")
    make("generic", url="http://logs.example/x", allow_plaintext=True)


def test_construction_only_validates(server):
    """No thread, no connection, until the first record or start()."""
    threads = set(threading.enumerate())
    handlers = [
        ApiKeyHandler(url=server.url),
        SplunkHandler(url=server.url, api_key="k"),
        DatadogHandler(url=server.url, api_key="k"),
    ]

    assert set(threading.enumerate()) <= threads
    for handler in handlers:
        handler.flush(1)
        handler.close()
    assert set(threading.enumerate()) <= threads
    assert [] == server.requests


def test_dict_config_wraps_the_error_and_keeps_it_as_cause(restored_logging):
    """ConfigurationError is the cause of dictConfig's ValueError."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"bad": {"class": "defender_logging.SplunkHandler", "url": "nowhere", "api_key": SECRET}},
        "loggers": {"contract.settings": {"handlers": ["bad"]}},
    }
    with pytest.raises(ValueError, match="bad") as raised:
        logging.config.dictConfig(config)

    assert ConfigurationError is type(raised.value.__cause__)
    assert SECRET not in str(raised.value.__cause__)


def test_the_level_of_a_handler_is_the_stdlibs(connect, server):
    """`level` works as a keyword too."""
    wire = connect(level="ERROR")
    assert logging.ERROR == wire.handler.level
    wire.logger.warning("no")
    wire.entry("yes", level=logging.ERROR)
    assert ["yes"] == [entry["message"] for entry in server.entries]


def test_defaults_that_show_on_the_wire(server):
    """Default levels, gzip, no key, one array: a handler with nothing but its URL."""
    handler = ApiKeyHandler(url=server.url + "/in")
    logger = logging.getLogger("contract.defaults")
    logger.propagate, logger.level = False, 1
    logger.addHandler(handler)
    try:
        for level in (5, 10, 20, 30, 40):
            logger.log(level, "at %d", level)
        assert handler.flush(5)
    finally:
        logger.removeHandler(handler)
        handler.close()

    assert ["info", "warn", "error"] == [entry["level"] for entry in server.entries]
    assert "gzip" == server.requests[0].header("Content-Encoding")
    assert server.requests[0].header("Authorization") is None
    assert "/in" == server.requests[0].path
    assert "POST" == server.requests[0].method
    assert server.requests[0].header("Content-Length") == str(len(server.requests[0].sent))
    assert 2 == handler.stats().filtered
