"""The environment's proxy: which address goes through which, and when none does."""

from __future__ import annotations

import pytest

from defender_logging import ApiKeyHandler, ConfigurationError
from defender_logging.proxies import environment_proxy, is_exempt
from defender_logging.secret import Url

TARGET = Url("https://logs.example.com:8443/x")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:2"}, "http://small:1"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTP_PROXY": "http://proxy:3128", "ALL_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "*", "NO_PROXY": "x"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other.com"}, "http://proxy:3128"),
    ],
)
def test_https_goes_through_the_proxy_of_the_environment(environment, expected):
    """HTTPS_PROXY alone is asked, lower case first; NO_PROXY takes hosts out."""
    proxy = environment_proxy(TARGET, environment)

    assert expected == (proxy and proxy.origin)


@pytest.mark.parametrize(
    "url", ["http://logs.example.com", "https://localhost:1", "https://127.0.0.1", "https://[::1]:1"]
)
def test_plain_http_and_this_machine_never_do(url):
    """A key in plain HTTP would show in the proxy; and no proxy can reach our own loopback."""
    assert (
        environment_proxy(Url(url), {"HTTPS_PROXY": "http://proxy:1", "http_proxy": "http://proxy:1"}) is None
    )


@pytest.mark.parametrize(
    ("no_proxy", "url", "expected"),
    [
        ("example.com", "https://example.com", True),
        ("example.com", "https://a.example.com", True),
        (".example.com", "https://a.example.com", True),
        ("*.example.com", "https://a.example.com", True),
        ("EXAMPLE.com", "https://a.Example.com", True),
        ("example.com", "https://badexample.com", False),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        (" a , example.com", "https://example.com", True),
        ("", "https://example.com", False),
        (",", "https://example.com", False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("2001:db8::/32", "https://[2001:db8::1]", True),
        ("2001:db8::1", "https://[2001:db8::1]:8088", True),
        ("[2001:db8::1]:8088", "https://[2001:db8::1]:8088", True),
        ("[2001:db8::1]:1", "https://[2001:db8::1]:8088", False),
        ("10.0.0.0/8", "https://example.com", False),
        ("*", "https://example.com", True),
        ("example.com:²,example.com", "https://example.com", True),
    ],
)
def test_no_proxy_names_hosts_domains_and_ranges(no_proxy, url, expected):
    """As curl and Go read it."""
    assert expected is is_exempt(Url(url), no_proxy)


@pytest.mark.parametrize("value", ["https://proxy:1", "socks5://proxy:1", "http://"])
def test_a_useless_proxy_is_told_at_construction(monkeypatch, value):
    """Going round it silently would break the house's rules; the sentence names the variable and the remedy."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(
        ConfigurationError, match=r"HTTPS_PROXY of the environment .* logs.example.com in NO_PROXY"
    ):
        ApiKeyHandler(url="https://logs.example.com/")
    ApiKeyHandler(url="https://logs.example.com/", proxy_url="http://proxy.example:3128").close()


def test_the_password_of_the_proxy_never_shows(monkeypatch):
    """Neither in the handler nor in the error."""
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2-hunter2@proxy.example:3128")
    handler = ApiKeyHandler(url="https://logs.example.com/")
    shown = f"{handler!r} {vars(handler)!r} {handler._settings!r}"
    handler.close()
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:hunter2-hunter2@proxy.example:3128")
    with pytest.raises(ConfigurationError) as caught:
        ApiKeyHandler(url="https://logs.example.com/")

    assert "http://proxy.example:3128" in shown
    assert "hunter2" not in shown + str(caught.value)


def test_a_plain_address_does_not_go_through_a_foreign_proxy():
    """It would read the key, though url is this machine; who means it says allow_plaintext."""
    given = {"url": "http://localhost:8088/", "proxy_url": "http://proxy.example:3128"}
    with pytest.raises(ConfigurationError, match=r"would reach the proxy unencrypted"):
        ApiKeyHandler(**given)

    ApiKeyHandler(**given, allow_plaintext=True).close()
    ApiKeyHandler(url="http://localhost:1/", proxy_url="http://127.0.0.1:3128").close()
