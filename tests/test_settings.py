"""Settings are read whole or refused whole: every problem at once, with its value and remedy, never a secret."""

# ruff: noqa: E501 - because a row of a table is compared best on one line.

from __future__ import annotations

import pickle
import sys

import pytest

from defender_logging import settings
from defender_logging._pipeline.buffer import Overflow
from defender_logging.errors import ConfigurationError
from defender_logging.parsers import MAX_SECONDS
from defender_logging.settings import DATADOG, GENERIC, SPLUNK, read_settings
from defender_logging.severity import Severity
from defender_logging.vocabulary import Vocabulary

KEY = "k3y-0123456789"
URL = "https://logs.example"
MINIMAL = {
    "SplunkHandler": {"url": URL, "api_key": KEY},
    "DatadogHandler": {"api_key": KEY},
    "ApiKeyHandler": {"url": URL},
}
KINDS = [SPLUNK, DATADOG, GENERIC]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.handler)


def read(kind, **given):
    return read_settings(kind, MINIMAL[kind.handler] | given)


def problems_of(kind, **given):
    with pytest.raises(ConfigurationError) as caught:
        read(kind, **given)
    assert KEY not in str(caught.value) + repr(caught.value)
    return list(caught.value.problems)


class TestDefaults:
    @every_kind
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("log_types", None),
            ("log_levels", {Severity.INFO, Severity.WARN, Severity.ERROR}),
            ("service", None),
            ("environment", None),
            ("tags", ()),
            ("static_fields", {}),
            ("vocabulary", Vocabulary.default()),
            ("max_queue_bytes", 33_554_432),
            ("overflow", Overflow.DROP_NEWEST),
            ("block_timeout_seconds", 1.0),
            ("flush_interval_seconds", 1.0),
            ("compression", "gzip"),
            ("connect_timeout_seconds", 5.0),
            ("request_timeout_seconds", 15.0),
            ("retry_initial_seconds", 1.0),
            ("retry_max_seconds", 60.0),
            ("retry_after_max_seconds", 600.0),
            ("hold_retry_seconds", 300.0),
            ("shutdown_timeout_seconds", 5.0),
            ("ca_file", None),
            ("client_cert_file", None),
            ("client_key_file", None),
            ("server_fingerprint", None),
            ("proxy_url", None),
            ("level", 0),
        ],
    )
    def test_are_those_of_the_contract(self, kind, name, value):
        """A setting that is not given has the documented default, for every handler."""
        assert value == getattr(read(kind), name)

    @pytest.mark.parametrize(
        ("kind", "header", "entries", "batch_bytes", "vendor"),
        [
            (
                SPLUNK,
                "Authorization",
                10_000,
                1_000_000,
                {
                    "index": None,
                    "source": None,
                    "sourcetype": "defender:log",
                    "indexed_fields": ("component", "category", "level"),
                    "use_ack": False,
                    "ack_timeout_seconds": 300.0,
                },
            ),
            (DATADOG, "DD-API-KEY", 1_000, 4_000_000, {"site": None, "ddsource": "defender"}),
            (GENERIC, None, 1_000, 1_000_000, {"body": "json_array", "headers": {}}),
        ],
        ids=["splunk", "datadog", "generic"],
    )
    def test_follow_the_vendor(self, kind, header, entries, batch_bytes, vendor):
        """Header, batch limits and the destination's own settings."""
        chosen = read(kind)

        assert (header, entries, batch_bytes) == (
            chosen.api_header_name,
            chosen.max_batch_entries,
            chosen.max_batch_bytes,
        )
        assert vendor == chosen.vendor

    def test_host_is_this_machine(self):
        """The entry says where it was made without being told."""
        assert read(GENERIC).host

    def test_datadog_speaks_to_its_first_site(self):
        """Without url and site it is datadoghq.com."""
        url = read(DATADOG).url

        assert "https://http-intake.logs.datadoghq.com:443" == url.origin

    @every_kind
    def test_none_means_not_given(self, kind):
        """An optional key of a dictConfig block may be there with None."""
        assert 5.0 == read(kind, shutdown_timeout_seconds=None).shutdown_timeout_seconds


class TestAccepting:
    @pytest.mark.parametrize(
        ("kind", "name", "given", "value"),
        [
            (GENERIC, "log_types", ["Relay", "monitor"], {"relay", "sentinel"}),
            (GENERIC, "log_types", "all", None),
            (GENERIC, "log_levels", "all", set(Severity)),
            (GENERIC, "log_levels", ["WARNING"], {Severity.WARN}),
            (GENERIC, "service", "payments", "payments"),
            (GENERIC, "host", "node-1", "node-1"),
            (GENERIC, "tags", ["team:core", " region:eu "], ("team:core", "region:eu")),
            (GENERIC, "tags", {"team": "core"}, ("team:core",)),
            (GENERIC, "static_fields", {"release": 7}, {"release": 7}),
            (GENERIC, "static_fields", {"tenant": "acme"}, {"tenant": "acme"}),
            (GENERIC, "max_queue_bytes", 1, 1),
            (GENERIC, "overflow", "block", Overflow.BLOCK),
            (GENERIC, "overflow", "drop_oldest", Overflow.DROP_OLDEST),
            (GENERIC, "block_timeout_seconds", 0, 0.0),
            (GENERIC, "flush_interval_seconds", 0, 0.0),
            (GENERIC, "retry_after_max_seconds", 0, 0.0),
            (GENERIC, "shutdown_timeout_seconds", 0, 0.0),
            (GENERIC, "hold_retry_seconds", MAX_SECONDS, float(MAX_SECONDS)),
            (GENERIC, "max_batch_entries", 1_000_000, 1_000_000),
            (GENERIC, "max_batch_bytes", 1_000_000_000, 1_000_000_000),
            (DATADOG, "max_batch_entries", 1_000, 1_000),
            (DATADOG, "max_batch_bytes", 5_000_000, 5_000_000),
            (SPLUNK, "max_batch_bytes", 838_860_800, 838_860_800),
            (GENERIC, "compression", "none", "none"),
            (GENERIC, "server_fingerprint", ":".join(["AB"] * 32), "ab" * 32),
            (GENERIC, "level", "warning", 30),
            (GENERIC, "level", "trace", 5),
            (GENERIC, "level", 15, 15),
        ],
    )
    def test_reads_values(self, kind, name, given, value):
        """What the user writes becomes what the code uses."""
        chosen = read(kind, **{name: given})

        assert value == getattr(chosen, name)
        assert type(value) is type(getattr(chosen, name)) or not isinstance(value, (int, float))

    @pytest.mark.parametrize(
        ("kind", "name", "given", "value"),
        [
            (SPLUNK, "index", " audit ", "audit"),
            (SPLUNK, "sourcetype", "defender:log", "defender:log"),
            (SPLUNK, "indexed_fields", [], ()),
            (DATADOG, "ddsource", "python", "python"),
            (GENERIC, "body", "ndjson", "ndjson"),
            (GENERIC, "headers", {"X-Tenant": "acme"}, {"X-Tenant": "acme"}),
        ],
    )
    def test_reads_the_destination_s_own(self, kind, name, given, value):
        """``vendor`` has them, ready for the destination."""
        assert value == read(kind, **{name: given}).vendor[name]

    def test_later_changes_of_what_was_given_have_no_effect(self):
        """A handler keeps what it was built with."""
        given, headers = {"a": 1}, {"X-A": "1"}
        chosen = read(GENERIC, static_fields=given, headers=headers)
        given["a"] = headers["X-A"] = "2"

        assert ({"a": 1}, {"X-A": "1"}) == (chosen.static_fields, chosen.vendor["headers"])

    @pytest.mark.parametrize(
        ("given", "value"), [("off", "off"), (False, "off"), (None, "off"), ("sha256", "sha256")]
    )
    def test_reads_how_to_chain(self, given, value):
        """YAML reads a bare off as false."""
        assert value == read(GENERIC, integrity=given).integrity

    def test_follows_references(self, monkeypatch, tmp_path):
        """``env:`` and ``file:`` work for the address, the key, the proxy and the headers."""
        monkeypatch.setenv("LOG_URL", "https://h.example:8443/in")
        monkeypatch.setenv("LOG_PROXY", "http://user:password@proxy.example:3128")
        monkeypatch.setenv("LOG_TENANT", "acme")
        (tmp_path / "key").write_text(KEY + "\n")
        chosen = read(
            GENERIC,
            url="env:LOG_URL",
            proxy_url="env:LOG_PROXY",
            api_key=f"file:{tmp_path / 'key'}",
            api_header_name="X-Key",
            headers={"X-Tenant": "env:LOG_TENANT"},
        )

        assert ("https://h.example:8443", "/in") == (chosen.url.origin, chosen.url.target)
        assert "http://proxy.example:3128" == chosen.proxy_url.origin
        assert KEY == chosen.api_key.reveal()
        assert {"X-Tenant": "acme"} == chosen.vendor["headers"]

    @pytest.mark.parametrize("given", [KEY, f"Splunk {KEY}", f"splunk  {KEY}"])
    def test_takes_a_splunk_token_with_or_without_its_prefix(self, given):
        """The header's value is the same."""
        assert f"Splunk {KEY}" == read(SPLUNK, api_key=given).api_key.reveal()

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
    def test_lets_plain_http_reach_this_machine(self, host):
        """There is no network in between."""
        assert "http" == read(GENERIC, url=f"http://{host}:8088/").url.scheme

    def test_lets_plain_http_go_further_when_told_to(self):
        """``allow_plaintext`` is the user's word for it."""
        assert (
            "http://logs.example:80"
            == read(GENERIC, url="http://logs.example", allow_plaintext=True).url.origin
        )

    def test_a_site_becomes_its_address(self):
        """Datadog's intake lies on a host of its own in each region."""
        assert "https://http-intake.logs.datadoghq.eu:443" == read(DATADOG, site="datadoghq.eu").url.origin

    def test_a_vocabulary_adds_words_for_log_types(self):
        """A user's own component can be selected."""
        chosen = read(GENERIC, vocabulary={"components": ["billing"]}, log_types=["billing"])

        assert {"billing"} == chosen.log_types


SECONDS = ", at most 1000000000"
IN_FLIGHT = "give a whole number of requests from 1 to 32, or 'auto' to let it adapt"
REFUSED = [
    (GENERIC, "url", 5, "url is of type int; give 'https://host:port/path' as text"),
    (GENERIC, "url", "logs.example", "url is not a URL with https:// and a host; write https://host:port/path"),
    (GENERIC, "url", "env:NOT_SET_1", "url refers to the environment variable 'NOT_SET_1', which is not set; set it, or name another"),
    (GENERIC, "url", "http://h.example/hook", "url is http://h.example:80, which would send key and trail unencrypted; use https://, or set allow_plaintext: true if the network in between is yours"),
    (GENERIC, "url", "http://127.0.0.1.example/hook", "url is http://127.0.0.1.example:80, which would send key and trail unencrypted; use https://, or set allow_plaintext: true if the network in between is yours"),
    (SPLUNK, "api_header_name", "Päss", "api_header_name is 'Päss'; a header name has letters, digits and hyphens only, such as 'X-Api-Key'"),
    (SPLUNK, "api_header_name", f"X-Key: {KEY}", "api_header_name is not a name; a header name has letters, digits and hyphens only, such as 'X-Api-Key'"),
    (SPLUNK, "api_header_name", "Content-Length", "api_header_name: the header 'Content-Length' cannot be set: it frames the request, and the sender sets it; leave it out"),
    (SPLUNK, "api_key", 5, "api_key is of type int; give 'env:NAME', 'file:PATH' or the key as text"),
    (SPLUNK, "api_key", "", "api_key is empty; give the key, or leave it out"),
    (SPLUNK, "api_key", "a b", "api_key: the HEC token has blanks inside; give the token alone or as 'Splunk <token>'"),
    (SPLUNK, "api_key", "env:NOT_SET_1", "api_key refers to the environment variable 'NOT_SET_1', which is not set; set it, or name another"),
    (SPLUNK, "api_key", "file:/no/such", "api_key refers to the file '/no/such', which cannot be read (FileNotFoundError); check the path and its permissions"),
    (GENERIC, "log_types", ["rely"], "log_types has 'rely' (did you mean 'relay'?), which the vocabulary does not know; choose from autotask, sentinel, relay, admin, account, or add the word to the vocabulary"),
    (GENERIC, "log_types", [], "log_types is empty, which selects nothing; name words, or leave the setting out"),
    (GENERIC, "log_levels", ["inof"], "log_levels has 'inof' (did you mean 'info'?); choose from trace, debug, info, warn, error, or all"),
    (GENERIC, "service", " ", "service is ' '; give one line of text, or leave it out"),
    (GENERIC, "environment", "a\nb", "environment is 'a\\nb'; give one line of text, or leave it out"),
    (GENERIC, "host", 5, "host is 5; give one line of text, or leave it out"),
    (GENERIC, "tags", "team:core", "tags is 'team:core'; give a list of 'key:value' or a mapping"),
    (GENERIC, "tags", ["a,b"], "tags has 'a,b'; each tag is 'key:value', one line without commas"),
    (GENERIC, "tags", [5], "tags has 5; each tag is 'key:value', one line without commas"),
    (GENERIC, "static_fields", ["a"], "static_fields is ['a']; give a mapping of names to values"),
    (GENERIC, "static_fields", {"seq": 1, "id": 2, "ok": 3}, "static_fields has 'id', 'seq', reserved for the entry itself; choose other names"),
    (GENERIC, "max_queue_bytes", 0, "max_queue_bytes is 0; give a whole number of bytes, 1 or more"),
    (GENERIC, "max_queue_bytes", True, "max_queue_bytes is True; give a whole number of bytes, 1 or more"),
    (GENERIC, "max_queue_bytes", 1.5, "max_queue_bytes is 1.5; give a whole number of bytes, 1 or more"),
    (GENERIC, "overflow", "drop_latest", "overflow is 'drop_latest'; did you mean 'drop_oldest'? choose from drop_newest, drop_oldest, block"),
    (GENERIC, "overflow", 5, "overflow is 5; choose from drop_newest, drop_oldest, block"),
    (DATADOG, "max_batch_entries", 1_001, "max_batch_entries is 1001, above this destination's limit of 1000; choose 1000 or less"),
    (DATADOG, "max_batch_bytes", 9_000_000, "max_batch_bytes is 9000000, above this destination's limit of 5000000; choose 5000000 or less"),
    (GENERIC, "block_timeout_seconds", -1, f"block_timeout_seconds is -1; give a number of seconds, 0 or more{SECONDS}"),
    (GENERIC, "flush_interval_seconds", "1 s", f"flush_interval_seconds is '1 s'; give a number of seconds, 0 or more{SECONDS}"),
    (GENERIC, "connect_timeout_seconds", 0, f"connect_timeout_seconds is 0; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "request_timeout_seconds", True, f"request_timeout_seconds is True; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "request_timeout_seconds", 1e12, f"request_timeout_seconds is 1000000000000.0; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "retry_initial_seconds", float("nan"), f"retry_initial_seconds is nan; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "retry_max_seconds", float("inf"), f"retry_max_seconds is inf; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "retry_after_max_seconds", -0.5, f"retry_after_max_seconds is -0.5; give a number of seconds, 0 or more{SECONDS}"),
    (GENERIC, "hold_retry_seconds", 0, f"hold_retry_seconds is 0; give a number of seconds, more than 0{SECONDS}"),
    (GENERIC, "shutdown_timeout_seconds", [5], f"shutdown_timeout_seconds is [5]; give a number of seconds, 0 or more{SECONDS}"),
    (GENERIC, "compression", "gzpi", "compression is 'gzpi'; did you mean 'gzip'? choose from gzip, none, zstd"),
    (SPLUNK, "compression", "zstd", "compression is 'zstd', which SplunkHandler's receiver is not known to take; choose 'gzip'"),
    (GENERIC, "max_in_flight", 0, f"max_in_flight is 0; {IN_FLIGHT}"),
    (GENERIC, "max_in_flight", 33, f"max_in_flight is 33; {IN_FLIGHT}"),
    (GENERIC, "max_in_flight", True, f"max_in_flight is True; {IN_FLIGHT}"),
    (GENERIC, "max_in_flight", "Auto", f"max_in_flight is 'Auto'; {IN_FLIGHT}"),
    (GENERIC, "max_in_flight", 2.0, f"max_in_flight is 2.0; {IN_FLIGHT}"),
    (GENERIC, "ca_file", "/no/such", "ca_file is '/no/such', which is not a file; check the path"),
    (GENERIC, "client_cert_file", "/", "client_cert_file is '/', which is not a file; check the path"),
    (GENERIC, "client_cert_file", "a\0b", "client_cert_file is 'a\\x00b', which is not a file; check the path"),
    (GENERIC, "server_fingerprint", "zz", "server_fingerprint is 'zz'; give the 64 hexadecimal digits of the certificate's SHA-256 (openssl x509 -noout -fingerprint -sha256)"),
    (GENERIC, "proxy_url", 5, "proxy_url is of type int; give 'http://host:port' as text"),
    (GENERIC, "proxy_url", "https://p.example", "proxy_url is an https:// proxy; only http:// proxies are spoken to (the tunnel inside is encrypted)"),
    (GENERIC, "allow_plaintext", "yes", "allow_plaintext is 'yes'; give true or false"),
    (GENERIC, "redact", "password", "redact is 'password'; write a list of field names, such as ['password']."),
    (GENERIC, "level", "LOUD", "level is 'LOUD'; give a level such as 'INFO' or its number"),
    (GENERIC, "level", True, "level is True; give a level such as 'INFO' or its number"),
    (GENERIC, "vocabulary", {"componets": ["x"]}, "vocabulary 'componets' (did you mean 'components'?) is no key of vocabulary"),
    (SPLUNK, "index", "a\nb", "index is 'a\\nb', with control characters in it; remove them"),
    (SPLUNK, "source", "", "source is '', blank; give a name or leave source out"),
    (SPLUNK, "indexed_fields", "level", "indexed_fields is 'level'; give a list of field names, [] for none"),
    (DATADOG, "ddsource", "", "ddsource is ''; give one line of text, or leave it out"),
    (GENERIC, "body", "ndjosn", "body is 'ndjosn'; did you mean 'ndjson'? choose from json_array, ndjson"),
    (GENERIC, "headers", ["X-A"], "headers is of type list; give a mapping of header names to values"),
    (GENERIC, "headers", {"X A": "1"}, "headers: the header name 'X A' is not one; use letters, digits and hyphens (X-Tenant)"),
    (GENERIC, "headers", {"X-A": KEY + "\n"}, "headers: the value of the header 'X-A' (not shown) is not visible ASCII text; remove control characters, blanks at its ends and letters beyond ASCII"),
    (GENERIC, "headers", {"X-A": "1", "x-a": "2"}, "headers: the header 'x-a' is there twice; leave one of them out"),
    (GENERIC, "headers", {"Host": "h"}, "headers: the header 'Host' cannot be set: it comes from url; leave it out"),
    (GENERIC, "colour", 1, "colour is not a setting of ApiKeyHandler; leave it out"),
    (GENERIC, "apikey", KEY, "apikey is not a setting of ApiKeyHandler; did you mean 'api_key'?"),
    (GENERIC, "index", "audit", "index is not a setting of ApiKeyHandler; leave it out"),
    (SPLUNK, "site", "datadoghq.eu", "site is not a setting of SplunkHandler; leave it out"),
    (DATADOG, "body", "ndjson", "body is not a setting of DatadogHandler; leave it out"),
]  # fmt: skip


class TestRefusing:
    @pytest.mark.parametrize(("kind", "name", "given", "problem"), REFUSED)
    def test_says_what_is_wrong_and_what_to_do(self, kind, name, given, problem):
        """One sentence with the setting, its value unless it may be secret, and the remedy."""
        assert [problem] == problems_of(kind, **{name: given})

    def test_a_wrong_site_is_told_with_the_nearest_one(self):
        """A typo in a region does not send the trail to nowhere."""
        (problem,) = problems_of(DATADOG, site="datadoghq.de")

        assert "site is 'datadoghq.de', which Datadog does not have; did you mean 'datadoghq.eu'?" in problem

    @pytest.mark.parametrize("name", sorted(settings.LATER))
    @every_kind
    def test_what_this_version_does_not_have(self, kind, name):
        """Refused rather than accepted and ignored."""
        assert [f"{name} is not available in this version; leave it out"] == problems_of(kind, **{name: "x"})

    @pytest.mark.parametrize("digits", [400, 5_000])
    def test_numbers_beyond_all_measure(self, digits):
        """They are a problem like any other, not an OverflowError."""
        (problem,) = problems_of(GENERIC, flush_interval_seconds=10**digits)

        assert problem.startswith("flush_interval_seconds ")

    def test_tells_all_problems_at_once(self):
        """Nobody wants to start a service five times to find five typos."""
        assert [
            "log_levels has 'loud'; choose from trace, debug, info, warn, error, or all",
            "overflow is 'drop'; choose from drop_newest, drop_oldest, block",
            "max_batch_entries is 0; give a whole number of entries, 1 or more",
            "index is 5, not text; give a string",
            "tag is not a setting of SplunkHandler; did you mean 'tags'?",
            "url is missing; give the receiver's address, or 'env:NAME' for one in the environment",
            "api_key is missing; give 'env:NAME' or 'file:PATH' (or the key itself)",
        ] == problems_of(
            SPLUNK,
            url=None,
            api_key=None,
            log_levels="loud",
            overflow="drop",
            max_batch_entries=0,
            index=5,
            tag="a:b",
        )

    def test_the_error_is_a_value_error_that_names_the_handler(self):
        """Its text is a list that a person can work through; it survives a trip between processes."""
        with pytest.raises(ValueError, match=r"^ApiKeyHandler: 2 problems in the settings:\n  - ") as caught:
            read(GENERIC, level="LOUD", colour=1)
        again = pickle.loads(pickle.dumps(caught.value))

        assert (ConfigurationError, "ApiKeyHandler", 2) == (type(again), again.subject, len(again.problems))
        assert str(caught.value) == str(again)


class TestTogether:
    @pytest.mark.parametrize(
        ("kind", "given", "problem"),
        [
            (DATADOG, {"site": "datadoghq.eu", "url": URL}, "site and url are both given; leave one of them out"),
            (GENERIC, {"url": None}, "url is missing; give the receiver's address, or 'env:NAME' for one in the environment"),
            (SPLUNK, {"api_key": None}, "api_key is missing; give 'env:NAME' or 'file:PATH' (or the key itself)"),
            (DATADOG, {"api_key": None}, "api_key is missing; give 'env:NAME' or 'file:PATH' (or the key itself)"),
            (GENERIC, {"api_key": KEY}, "api_key is given without api_header_name; name the header that carries the key"),
            (GENERIC, {"api_header_name": "X-Key"}, "api_header_name is given without api_key; give both or none"),
            (
                GENERIC,
                {"api_key": KEY, "api_header_name": "X-Key", "headers": {"x-key": "1"}},
                "api_header_name is 'X-Key', which headers has too; leave one of them out",
            ),
            (
                GENERIC,
                {"integrity": "hmac-sha256"},
                "integrity_key is missing; give 'env:NAME' or 'file:PATH' (or choose integrity: sha256)",
            ),
            (
                GENERIC,
                {"integrity_key": KEY},
                "integrity_key is given, but integrity is 'off'; choose hmac-sha256, or leave the key out",
            ),
            (
                GENERIC,
                {"integrity": "sha256", "integrity_key": KEY},
                "integrity_key is given, but integrity is 'sha256'; choose hmac-sha256, or leave the key out",
            ),
            (
                GENERIC,
                {"integrity": "md5", "integrity_key": KEY},
                "integrity is 'md5'; choose from off, sha256, hmac-sha256",
            ),
            (GENERIC, {"client_key_file": __file__}, "client_key_file is given without client_cert_file; give both"),
            (
                GENERIC,
                {"retry_initial_seconds": 10, "retry_max_seconds": 2},
                "retry_initial_seconds is 10, above retry_max_seconds (2); choose it smaller",
            ),
            (
                GENERIC,
                {"retry_initial_seconds": 90},
                "retry_initial_seconds is 90, above retry_max_seconds (60); choose it smaller",
            ),
        ],
    )  # fmt: skip
    def test_refuses_what_does_not_go_together(self, kind, given, problem):
        """Two settings that are each right can be wrong together."""
        assert [problem] == problems_of(kind, **given)

    def test_a_longest_wait_below_the_first_default_one_is_fine(self):
        """``retry_max_seconds`` alone may be small: the first wait is then that short, too."""
        assert 0.5 == read(GENERIC, retry_max_seconds=0.5).retry_max_seconds

    def test_a_certificate_may_bring_its_key_along(self):
        """One PEM file with both is usual."""
        assert __file__ == read(GENERIC, client_cert_file=__file__).client_cert_file

    def test_zstd_wants_its_library(self, monkeypatch):
        """Told at construction, with what to install."""
        for name in ("compression", "compression.zstd", "backports.zstd", "zstandard"):
            monkeypatch.setitem(sys.modules, name, None)

        assert [
            "compression is 'zstd', but no zstd library is installed; pip install zstandard"
        ] == problems_of(GENERIC, compression="zstd")


class TestSecrecy:
    @pytest.mark.parametrize(
        "url",
        [
            "https://h.example/hook/S3CRET?key=S3CRET bad",
            "https://h.example:port/S3CRET",
            "https://S3CRET@h.example/",
            "https://user:S3CRET@h.example/",
            "ftp://h.example/S3CRET",
            "h.example/S3CRET",
            "https://[S3CRET/",
            "https://h.example:0/S3CRET",
            "http://h.example/S3CRET?key=S3CRET",
        ],
    )
    def test_no_part_of_an_address_that_may_be_a_key_is_shown(self, url):
        """Path, query and user are left out of every message."""
        assert "S3CRET" not in "".join(problems_of(GENERIC, url=url))

    @pytest.mark.parametrize(
        "url",
        [
            "https://user:S3CRET@proxy.example",
            "http://user:S3CRET @proxy.example",
            "http://user:S3CRET@proxy.example:port",
            "socks5://user:S3CRET@proxy.example",
            "user:S3CRET@proxy.example",
        ],
    )
    def test_the_password_of_a_proxy_is_not_shown(self, url):
        """It may stand in the address, and nowhere else."""
        assert "S3CRET" not in "".join(problems_of(GENERIC, proxy_url=url))

    @pytest.mark.parametrize(
        "key", [KEY + "\n", f"{KEY}\r\nX: 1", f"{KEY}\0", f" {KEY}", f"{KEY}é", f"{KEY}€", "", KEY * 5_000]
    )
    @every_kind
    def test_a_key_that_no_header_can_carry_is_refused_unseen(self, kind, key):
        """The message tells what is wrong with it, and does not show it (``problems_of`` looks)."""
        given = {"api_key": key} | ({"api_header_name": "X-Key"} if kind is GENERIC else {})
        (problem,) = problems_of(kind, **given)

        assert problem.startswith("api_key ")

    def test_the_settings_print_without_keys(self):
        """Neither key, nor address, nor the values of headers."""
        chosen = read(
            GENERIC,
            url="https://h.example/hook/S3CRET?key=S3CRET",
            proxy_url="http://user:S3CRET@proxy.example:3128",
            api_key="S3CRET-0123456789",
            api_header_name="X-Key",
            headers={"X-Token": "S3CRET"},
        )

        assert "Url(https://h.example:443)" in repr(chosen)
        assert "S3CRET" not in f"{chosen!r}{chosen}"

    def test_a_reference_is_not_followed_into_a_message(self, monkeypatch):
        """What is wrong with the value of a variable is told without the value."""
        monkeypatch.setenv("LOG_KEY", KEY + "\n")

        assert [
            "api_key has characters that a header cannot carry (line breaks, control characters, letters beyond ASCII, or blanks at an end); give the key alone, on one line"
        ] == problems_of(DATADOG, api_key="env:LOG_KEY")
