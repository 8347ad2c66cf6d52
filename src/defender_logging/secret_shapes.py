"""What secrets look like in running text, and how they are taken out of it.

``Redactor`` asks here about the texts of an entry, whatever their field is called: a bearer token in a message, a
password in the URL of an exception, a key in a nested value. Which field names tell of a secret is its own matter.

Guaranteed: time is linear in the text, since an expression begins at a fixed word, and what it repeats is bounded or
cannot contain that word. A shape that is added here has its sign in ``secret_signs``, which is asked first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["CARD_RUN", "MARK_START", "has_card", "is_bare_key", "without_secrets"]

_MIN_LONG_CHARS = 20
"""No word of a sentence is longer."""

MARK_START = "[redacted"
"""How every mark begins, so that none is taken for a secret again."""

_MIN_TOLD_CHARS = 4

_NO_SECRETS = frozenset({"none", "null", "nil", "true", "false", "undefined", "missing", "empty"})

_NAMES = r"""passw(?:or)?d|passphrase|passcode|pwd|secret|token|credentials?|mnemonic|seed|session[_ -]?id|authorization
    |(?:api|access|account|private|priv|secret|shared|signing|encryption|master|auth|session|ssh|hmac)[_ -]?key"""

_KEY_NAMES = r"(?<!public[_\ -])(?<!public)(?<!pub)key|priv|pk|sk|signer|wallet"
"""64 hexadecimal digits are mostly a hash; after one of these they are a private key."""

_LINK = r"""(?: \\{0,2}["'][ \t]{0,4}[:=]>?[ \t]{0,4} | [ \t]{0,4}(?:(?P<is>=)>?[ \t]{0,4} | :[ \t]{1,4})
    | [ \t]{0,4}:(?=\\{0,2}["']) )"""
"""What joins name and value: ``=``, ``: ``, ``": "``, ``' => '``. A colon alone joins other things too."""

_SCHEME_WORD = r"(?:(?i:bearer|basic|splunk|token|apikey)[ \t]{1,4})?"


class _Shape(NamedTuple):
    """One kind of secret.

    Attributes:
        signs: one of these is in every text that has such a secret.
        pattern: finds it; the group ``secret``, or all of the match, is taken out.
        is_secret: has the last word on a match.
    """

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    is_secret: Callable[[re.Match[str]], bool] = lambda _: True


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.VERBOSE)


def _is_no_word(text: str) -> bool:
    """Tell a value from the next word of a sentence: «token: expired», «Basic authentication»."""
    word = text.rstrip(".!?:")
    return not (word.isalpha() and (word.islower() or word.istitle() or word.isupper()))


def _is_token(match: re.Match[str]) -> bool:
    return len(match["secret"]) >= _MIN_LONG_CHARS or _is_no_word(match["secret"])


def _is_told(match: re.Match[str]) -> bool:
    value = match["secret"]
    if value.lower() in _NO_SECRETS or not value.strip("*. "):
        return False
    return bool(match["is"] or match["quote"]) or (len(value) >= _MIN_TOLD_CHARS and _is_no_word(value))


def _is_login(match: re.Match[str]) -> bool:
    """Say whether a URL's user part is secret: ``user:password`` or a token, not ``git`` of ``ssh://git@host``."""
    return ":" in match["secret"] or len(match["secret"]) >= _MIN_LONG_CHARS


def _passes_luhn(match: re.Match[str]) -> bool:
    digits = [int(character) for character in match[0] if character not in " -"]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_SHAPES = (
    _Shape(
        ("-----BEGIN",),
        _compiled(
            r"""-----BEGIN\ [A-Z0-9 ]{0,40}PRIVATE\ KEY[A-Z ]{0,10}-----
            (?s:.*?) (?: -----END\ [A-Z0-9 ]{0,40}PRIVATE\ KEY[A-Z ]{0,10}----- | \Z)"""
        ),
    ),
    _Shape(("@",), _compiled(r"""://(?P<secret>[^\s/?\#"'<>\\]+)@"""), _is_login),
    _Shape(
        ("hooks.slack.com/services/T",), _compiled(r"hooks\.slack\.com/services/(?P<secret>T[\w/-]{8,255})")
    ),
    _Shape(("eyJ",), _compiled(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,3}")),
    _Shape(
        ("earer", "EARER", "asic", "ASIC"),
        _compiled(r"(?:[Bb]earer|BEARER|[Bb]asic|BASIC)[ \t]{1,4}(?P<secret>[\w.~+/-]{8,}={0,2})"),
        _is_token,
    ),
    _Shape(
        ("plunk",),
        _compiled(r"[Ss]plunk[ \t]{1,4}(?P<secret>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"),
    ),
    _Shape(
        ("AKIA", "ASIA", "AIza", "gh", "github_pat_", "xox", "k_", "sk-", "glpat-"),
        _compiled(
            r"""(?<![A-Za-z0-9])(?:
              A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])            # AWS
            | AIza[\w-]{30,60}                              # Google
            | gh[pousr]_[A-Za-z0-9]{20,255} | github_pat_\w{20,255}
            | glpat-[\w-]{16,255}                           # GitLab
            | xox[abeoprs]-[\w-]{10,255}                   # Slack
            | [srp]k_(?:live|test)_[A-Za-z0-9]{10,255}      # Stripe
            | sk-[\w-]{20,255} )                            # OpenAI, Anthropic"""
        ),
    ),
    _Shape(
        ("=", ":"),
        _compiled(
            rf"""(?i:{_KEY_NAMES}){_LINK}\\{{0,2}}["']?(?P<secret>(?:0x)?[0-9A-Fa-f]{{64}})(?![0-9A-Fa-f])"""
        ),
    ),
    _Shape(
        ("=", ":"),  # Its blanks set a seed phrase apart from other values.
        _compiled(
            rf"""(?i:mnemonic|seed|phrase){_LINK}\\{{0,2}}["']?(?P<secret>(?:[a-z]{{3,8}}[ ]){{11,23}}[a-z]{{3,8}})"""
        ),
    ),
    _Shape(
        ("=", ":"),
        _compiled(rf"""(?i:cookie){_LINK}\\{{0,2}}["']?(?P<secret>[\w.-]{{1,100}}=[^\r\n"'\\]*)"""),
    ),
    _Shape(
        ("=", ":"),
        _compiled(
            rf"""(?i:{_NAMES}){_LINK}(?:[bBrRuU]{{0,2}}\\{{0,2}}(?P<quote>["']))?{_SCHEME_WORD}
            (?P<secret>(?(quote)[^"'\\\r\n]+|[^\s,;&"'<>()\[\]{{}}\\]+))"""
        ),
        _is_told,
    ),
)

_CARD = _Shape(
    (),
    _compiled(  # By the issuers' prefixes: any 16 digits pass the checksum one time in ten.
        r"""[2-6](?<![\w.][2-6])(?:
          (?:(?<=4)\d{3}|(?<=5)[1-5]\d\d|(?<=2)[2-7]\d\d|(?<=3)5\d\d|(?<=6)(?:011|4[4-9]\d|[25]\d\d))
          (?P<a>[ -]?)\d{4}(?P=a)\d{4}(?P=a)\d{4}
        | (?<=3)[47]\d\d (?P<b>[ -]?)\d{6}(?P=b)\d{5}
        | (?<=3)(?:0[0-5]|[68]\d)\d (?P<c>[ -]?)\d{6}(?P=c)\d{4} )(?!\w|[.-]\d)"""
    ),
    _passes_luhn,
)

_DIGITS = bytes(b"0x"[chr(code) not in "0123456789"] for code in range(256))
CARD_RUN = b"0" * 14
"""The shortest card number has 14 digits."""

_BARE_KEY = re.compile("(?:0[xX])?[0-9a-fA-F]{64}")


def without_secrets(text: str, mark: Callable[[str], str]) -> str:
    """Return ``text`` with ``mark(secret)`` in the place of each secret."""

    def replace(match: re.Match[str]) -> str:
        start, end = match.span("secret" if "secret" in shape.pattern.groupindex else 0)
        if not shape.is_secret(match) or match.string.startswith(MARK_START, start):
            return match[0]
        before, after = match.string[match.start() : start], match.string[end : match.end()]
        return before + mark(match.string[start:end]) + after

    for shape in _SHAPES:
        if any(sign in text for sign in shape.signs):
            text = shape.pattern.sub(replace, text)
    if CARD_RUN in text.encode().translate(_DIGITS, b" -"):
        shape = _CARD
        text = shape.pattern.sub(replace, text)
    return text


def has_card(text: str) -> bool:
    """Say whether ``text`` has the number of a card in it."""
    return any(map(_CARD.is_secret, _CARD.pattern.finditer(text)))


def is_bare_key(text: str) -> bool:
    """Say whether all of ``text`` could be a private key: 64 hexadecimal digits. Mostly it is a hash."""
    return len(text) in {64, 66} and _BARE_KEY.fullmatch(text) is not None
