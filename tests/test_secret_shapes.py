"""What secrets look like: each shape is taken out, its neighbours stay, the pre-question never misses one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defender_logging.redaction import Redactor
from defender_logging.secret_shapes import without_secrets
from defender_logging.secret_signs import may_hold_secret
from defender_logging.strict_json import dumps, dumps_stdlib

HEX = "0123456789abcdef" * 4
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
PHRASE = " ".join(["abandon"] * 11 + ["about"])
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"

# Text and secret; the secret must go, all the rest must stay. Vendors' keys are put together so that no scanner
# of source code takes them for real ones.
SECRETS = [
    ("Authorization: Bearer abc.def-123456 sent", "abc.def-123456"),
    ("got bearer 1234567890abcdef.", "1234567890abcdef."),
    ("BEARER abcdefgh1", "abcdefgh1"),
    ("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("basic dXNlcjpwYXNzd29yZA== x", "dXNlcjpwYXNzd29yZA=="),
    ("Splunk 12345678-90ab-cdef-1234-567890abcdef", "12345678-90ab-cdef-1234-567890abcdef"),
    (f"key:\n{PEM}\nend", PEM),
    (PEM.replace("RSA ", ""), PEM.replace("RSA ", "")),
    ("cut -----BEGIN EC PRIVATE KEY-----\nMHcC", "-----BEGIN EC PRIVATE KEY-----\nMHcC"),
    ("postgres://app:p@ss@db:5432/x", "app:p@ss"),
    ("redis://:hunter2@cache/0", ":hunter2"),
    ("https://" + "x1" * 12 + "@git.example.com/", "x1" * 12),
    ("https://hooks.slack.com/services/" + "T0000/B000/XXXX", "T0000/B000/XXXX"),
    ("id " + "AKIA" + "IOSFODNN7EXAMPLE", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("x=" + "ASIA" + "IOSFODNN7EXAMPLE;", "ASIA" + "IOSFODNN7EXAMPLE"),
    ("used " + "ghp_" + "a" * 36, "ghp_" + "a" * 36),
    ("github_pat_" + "b1" * 20, "github_pat_" + "b1" * 20),
    ("glpat-" + "c" * 20, "glpat-" + "c" * 20),
    ("xoxb-" + "123456789012-abcdef", "xoxb-" + "123456789012-abcdef"),
    ("sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc"),
    ("sk-" + "ant-api03-abcdefghijklmnop", "sk-" + "ant-api03-abcdefghijklmnop"),
    ("AIza" + "SyA-1234567890abcdefghijklmnopqrstu", "AIza" + "SyA-1234567890abcdefghijklmnopqrstu"),
    (f"token {JWT} ok", JWT),
    (f"\n{JWT}\n", JWT),
    ("password=hunter2&x=1", "hunter2"),
    ("the password: hunter2, sir", "hunter2"),
    ("{'password': 'correct horse', 'a': 1}", "correct horse"),
    ('{"api_key":"xyz","a":1}', "xyz"),
    ("{b'password': b'hunter2', 'a': 1}", "hunter2"),
    ("password=b'hunter2'", "hunter2"),
    ('{\\"client_secret\\": \\"xyz\\"}', "xyz"),
    ("https://h/p?api-key=abc&x=1", "abc"),
    ("secret => 'x'", "x"),
    ("DefaultEndpoints=https;AccountKey=abc==;Suffix", "abc=="),
    ("Set-Cookie: sid=abc; Path=/", "sid=abc; Path=/"),
    (f"private key: 0x{HEX}", f"0x{HEX}"),
    (f"signer={HEX}.", HEX),
    (f"mnemonic: {PHRASE}", PHRASE),
    ("card 4111 1111 1111 1111.", "4111 1111 1111 1111"),
    ("card=5500-0000-0000-0004", "5500-0000-0000-0004"),
    ("\x854111111111111111", "4111111111111111"),
    ("pan\n378282246310005\n", "378282246310005"),
    ("30569309025904", "30569309025904"),
]

HARMLESS = [
    *("Basic authentication failed", "bearer token is missing", "basic databases", "invalid token: expired."),
    *("password=None", "token: null", "secret=***", "password=[redacted]", "Bearer [redacted]"),
    *("ssh://git@host/x", "mail alice@example.com, see https://x.y/", "https://x.y/?to=a@b.c", "a://b c@d"),
    *(f"tx 0x{HEX}", f"public_key={HEX}", f"pubkey: {HEX}", f"sha256 {HEX}", f"hash={HEX}"),
    *(
        "4111 1111 1111 1112",
        "wei 4123456789012345678",
        "1764127254123456",
        "41111111-1111-1111-111111111111",
    ),
    *("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "eyJ", "eyJhbGciOi", "xoxb-1", "sk-1"),
    *("token_count: 5000", "passwordless: yes1", "seeds 12", "550e8400-e29b-41d4-a716-446655440000", ""),
    *("scheduled for 2026-11-26 03:20:54", "0x8626f6940E2eb28930eFb4CeF49B2d1F2C9C1199", "relay-task-1"),
]

BOMBS = [
    *("a", "1", " ", "-", "\\", "'", '"', "=", ":", "/", "@", "1 ", "1-", "4111 ", "411111111111111 "),
    *(
        "eyJ",
        "eyJa.",
        "eyJaaaaaaaa.",
        "eyJaaaaaaaaaaa-",
        "://",
        "://a:",
        "http://a@",
        "bearer ",
        "bearer aaaaaaaa ",
    ),
    *(
        "password",
        "password=",
        "password='",
        "password \\'",
        "token: ",
        "passwordpassword =",
        "cookie:",
        "cookie: a",
    ),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN A PRIVATE KEY", "-----END PRIVATE KEY-----"),
    *(
        "AKIA",
        "AKIAAAAAAAAAAAAAAAA",
        "ghp_",
        "xoxb-",
        "sk-",
        "sk-a",
        "AIza",
        "gh",
        "_",
        "key=0x",
        "key=" + HEX[:-1],
    ),
    *(
        "seed: ",
        "seed: abandon ",
        "abandon ",
        "phrase=abandon abandon ",
        "splunk 12345678-",
        "sk_live_",
        "Basic\t",
    ),
    *("hooks.slack.com/services/T", HEX, "\x85", "é", "authorization: bearer ", "token=bearer token=", "\n"),
]


def mark(_secret):
    return "[redacted]"


def line_of(text):
    return dumps({"message": text})


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_takes_a_secret_out_and_leaves_the_rest(text, secret):
    """What stands before and after tells where the secret was."""
    assert text.replace(secret, "[redacted]") == without_secrets(text, mark)
    assert may_hold_secret(line_of(text))


@pytest.mark.parametrize("text", HARMLESS)
def test_leaves_what_is_no_secret(text):
    """The same text comes back."""
    assert text == without_secrets(text, mark)


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_text_without_secrets_has_none(text, secret):
    """A mark is never taken for a secret, so a digest is never one of a digest."""
    clean = without_secrets(text, lambda _: "[redacted:0]")

    assert secret not in clean
    assert clean == without_secrets(clean, lambda _: "again")


@pytest.mark.parametrize("bomb", BOMBS)
def test_time_is_linear(bomb):
    """Eight times the text costs about eight times; a quadratic search would cost sixty-four times."""

    def seconds(text):
        began = time.thread_time()
        without_secrets(text, mark)
        may_hold_secret(text.encode())
        return time.thread_time() - began

    small, large = (bomb * (size // len(bomb)) for size in (5_000, 40_000))
    least = min(seconds(small) for _ in range(3))

    assert min(seconds(large) for _ in range(3)) < 30 * max(least, 0.0005)


PIECES = [text for text, _ in SECRETS] + HARMLESS + BOMBS


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6).map("".join))
@settings(max_examples=200, deadline=None)
def test_the_pre_question_never_misses_a_secret(text):
    """It reads JSON, where control characters, quotes and line breaks are spelled out."""
    text = text.encode(errors="replace").decode()
    is_changed = without_secrets(text, mark) != text

    assert not is_changed or may_hold_secret(line_of(text))
    assert not is_changed or may_hold_secret(dumps_stdlib({"a": [{"b": text}], "c": "d"}))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_pre_question_finds_a_secret_anywhere(data):
    """Between any other characters, as far as it is still one."""
    text, _ = data.draw(st.sampled_from(SECRETS))
    around = st.text(max_size=20).map(lambda some: some.encode(errors="replace").decode())
    text = data.draw(around) + text + data.draw(around)

    assert text == without_secrets(text, mark) or may_hold_secret(line_of(text))


def test_common_lines_end_at_the_cheap_questions():
    """Mail addresses, amounts, hashes, ids and times do not send a line the long way."""
    for text in (
        "alice@example.com",
        HEX,
        "550e8400-e29b-41d4-a716-446655440000",
        "5.25 ETH",
        "see https://x.y/z",
    ):
        assert not Redactor().question(line_of(text))


def test_what_it_remembers_is_bounded():
    """Residues made of data do not pile up."""
    from defender_logging.secret_signs import _residues

    for number in range(5_000):
        may_hold_secret(f"{number:b}".replace("0", "Q").replace("1", "X").encode())

    assert len(_residues) <= 4096
