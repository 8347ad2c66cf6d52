"""The keys of a configuration are known, however they are given, so that they can be masked."""

import pytest

from defender_logging.cli.secrets_known import secrets_in


@pytest.mark.parametrize(
    ("block", "secret"),
    [
        ({"api_key": "literal-key"}, "literal-key"),
        ({"api_key": "Splunk token-1"}, "token-1"),
        ({"api_key": "env:SECRET"}, "from-env"),
        ({"headers": {"Authorization": "Bearer abcdefghijklm"}}, "abcdefghijklm"),
        ({"url": "https://x.example/a?key=query-key"}, "key=query-key"),
        ({"url": "https://x.example/services/T0000000000000000/x"}, "T0000000000000000"),
        ({"proxy_url": "http://me:pass%20word@proxy.example"}, "pass word"),
    ],
)
def test_knows_each_place_of_a_key(monkeypatch, block, secret):
    """Keys, headers, queries, long parts of a path and a proxy's password."""
    monkeypatch.setenv("SECRET", "from-env")

    assert secret in set(secrets_in({"a": block}))


@pytest.mark.parametrize("block", [None, {}, {"api_key": 5}, {"api_key": "env:UNSET"}, {"url": "http://[x"}])
def test_gets_by_without_keys(block):
    """What is missing or wrong is told elsewhere."""
    assert [] == [secret for secret in secrets_in({"a": block}) if len(secret) >= 4]
