"""What secrets look like in running text, and how they are taken out of it.

``Redactor`` asks here about the texts of an entry, whatever their field is called: a bearer token in a message, a
password in the URL of an exception, a key in a nested value. Which field names tell of a secret is its own matter.

Two guarantees. Time is linear in the text: an expression begins at a fixed word, and what it repeats is bounded or
cannot contain that word. And ``may_hold_secret`` never says no to the JSON of a text that ``without_secrets``
would change: it asks for marks that JSON writes as they are, in steps that each cost more and are reached less.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import repeat
from typing import NamedTuple

__all__ = ["MARK_START", "is_bare_key", "may_hold_bare_key", "may_hold_secret", "without_secrets"]

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
            rf"""(?i:{_NAMES}){_LINK}(?:\\{{0,2}}(?P<quote>["']))?{_SCHEME_WORD}
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
_SEPARATORS = b" -"
_CARD_RUN = b"0" * 14
"""The shortest card number has 14 digits."""

_HEX_DIGITS = bytes(b"0x"[chr(code) not in "0123456789abcdefABCDEF"] for code in range(256))
_HEX_RUN = b"0" * 64
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
    if _CARD_RUN in text.encode().translate(_DIGITS, _SEPARATORS):
        shape = _CARD
        text = shape.pattern.sub(replace, text)
    return text


def is_bare_key(text: str) -> bool:
    """Say whether all of ``text`` could be a private key: 64 hexadecimal digits. Mostly it is a hash."""
    return len(text) in {64, 66} and _BARE_KEY.fullmatch(text) is not None


def may_hold_bare_key(line: bytes) -> bool:
    """Say whether 64 hexadecimal digits stand in a row anywhere in ``line``."""
    return _HEX_RUN in line.translate(_HEX_DIGITS)


# The pre-question. Of a line only the characters of _KEPT are looked at first. They are rare in what is mostly
# logged, so lines of one kind leave the same residue, and what to look for after a residue is remembered.

_KEPT = b"GHIJKLMNOPQSUVWXYZ_-@=/'\\,ghkxz"
_NOT_KEPT = bytes(code for code in range(256) if code not in _KEPT)

_COLON = re.compile(rb": ")
_LINKS = {
    b"=": re.compile(rb"="),
    b"'": re.compile(rb"'(?:\\t| )*:|:(?:\\t| )*(?:\\\\)*'"),
    b"\\": re.compile(rb"\\[\"t\\](?:\\[\"t\\]|[' ]){0,9}[:=]|:(?:\\t| )*\\"),
}
"""Where a name may end and its value begin, by the sign of it that a residue shows; ``_COLON`` is asked for apart."""

_LINKED = (
    *(
        b"password",
        b"passwd",
        b"passphrase",
        b"passcode",
        b"pwd",
        b"secret",
        b"token",
        b"credential",
        b"credentials",
    ),
    *(b"mnemonic", b"seed", b"phrase", b"cookie", b"key", b"priv", b"pk", b"sk", b"signer", b"wallet"),
    *(b"sessionid", b"session_id", b"session-id", b"session id", b"authorization"),
)
_LINKED_BYTES = 64

_SCHEME = re.compile(rb"(?i:earer|asic)(?: |\\t){1,4}[\w.~+/-]{8}")
_TELLING = {
    b"J": re.compile(rb"eyJ[\w-]{8}"),
    b"KI": re.compile(rb"AKIA[A-Z0-9]{16}"),
    b"SI": re.compile(rb"ASIA[A-Z0-9]{16}"),
    b"Iz": re.compile(rb"AIza[\w-]{30}"),
    b"gh_": re.compile(rb"gh[pousr]_[A-Za-z0-9]{20}|github_pat_"),
    b"g-": re.compile(rb"glpat-"),
    b"k__": re.compile(rb"k_(?:live|test)_"),
    b"k-": re.compile(rb"sk-[\w-]{20}|plunk[ \\]"),
    b"xx-": re.compile(rb"xox[abeoprs]-"),
    b"hkk//": re.compile(rb"hooks\.slack"),
    b"-----G": re.compile(rb"-----BEGIN"),
    b"@": re.compile(rb"//(?:[^\s/?#\"'<>\\]|\\[bu])+@"),
    **_LINKS,
}
"""What a residue that has this calls for: the shapes again, coarser, since an escape may stand before a word."""

_MAX_RESIDUES = 4096
_MAX_RESIDUE_BYTES = 200
_residues: dict[bytes, tuple[re.Pattern[bytes], ...]] = {}


def _schemes_table() -> bytes:
    """Make «earer» of «earer» and of «basic», and ``0`` of every digit."""
    classes = {b"EeBbIi": b"e", b"Aa": b"a", b"RrSsCc": b"r", b"0123456789": b"0"}
    table = bytearray(b"x" * 256)
    for letters, letter in classes.items():
        for code in letters:
            table[code] = letter[0]
    return bytes(table)


_SCHEMES = _schemes_table()


def may_hold_secret(line: bytes) -> bool:
    """Say whether the JSON ``line`` could have a text that ``without_secrets`` changes; False is certain."""
    residue = line.translate(None, _NOT_KEPT)
    patterns = _residues.get(residue)
    if patterns is None:
        patterns = _called_for(residue)
    run = line.translate(_SCHEMES, _SEPARATORS)
    # find() and search(), since «in» costs a bytes object twice as much.
    if run.find(_CARD_RUN) >= 0 and _may_hold_card(line):
        return True
    if run.find(b"earer") >= 0 and _SCHEME.search(line):
        return True
    if _COLON.search(line) and _may_tell(line, _COLON):
        return True
    return bool(patterns) and any(map(_may_find, patterns, repeat(line)))


def _called_for(residue: bytes) -> tuple[re.Pattern[bytes], ...]:
    found = {pattern: None for sign, pattern in _TELLING.items() if sign in residue}
    if b"@" not in residue.partition(b"//")[2]:
        found.pop(_TELLING[b"@"], None)
    patterns = tuple(found)
    if len(residue) <= _MAX_RESIDUE_BYTES:
        if len(_residues) >= _MAX_RESIDUES:
            _residues.clear()
        _residues[residue] = patterns
    return patterns


def _may_find(pattern: re.Pattern[bytes], line: bytes) -> bool:
    return _may_tell(line, pattern) if pattern in _LINKS.values() else pattern.search(line) is not None


def _may_tell(line: bytes, links: re.Pattern[bytes]) -> bool:
    """Say whether a telling name stands before one of ``links``."""
    for link in links.finditer(line):
        before = line[max(0, link.start() - _LINKED_BYTES) : link.start()].rstrip(b" '\"\\")
        while before.endswith(b"\\t"):
            before = before[:-2].rstrip(b" '\"\\")
        if before.lower().endswith(_LINKED):
            return True
    return False


def _may_hold_card(line: bytes) -> bool:
    if b"\\" in line:  # The letter or the digits of an escape may stand before those of the card.
        return True
    return any(map(_passes_luhn, _CARD.pattern.finditer(line.decode("latin-1"))))
