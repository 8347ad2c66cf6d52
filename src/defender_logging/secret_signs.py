"""Whether an encoded line could have a secret in it: the quick question before ``secret_shapes`` searches its texts.

``Redactor`` asks for each entry, and nearly always hears no, for half a microsecond. Of a line only the characters of
``_KEPT`` are looked at first. They are rare in what is mostly logged, so lines of one kind leave the same
residue, and what to look for after a residue is remembered. Digits and the word «bearer» are asked for apart.

Guaranteed: never no for the JSON of a text that ``without_secrets`` would change. All signs are of characters that
JSON writes as they are. And time is linear in the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from defender_logging.secret_shapes import CARD_RUN, has_card

__all__ = ["may_hold_bare_key", "may_hold_secret"]

_HEX_DIGITS = bytes(b"0x"[chr(code) not in "0123456789abcdefABCDEF"] for code in range(256))
_HEX_RUN = b"0" * 64

_KEPT = b"GHIJKLMNOPQSUVWXYZ_-@=:/'\\,ghkxz"
_NOT_KEPT = bytes(code for code in range(256) if code not in _KEPT)

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


def _may_tell(links: re.Pattern[bytes], line: bytes) -> bool:
    """Say whether a telling name stands before one of ``links``."""
    for link in links.finditer(line):
        before = line[max(0, link.start() - _LINKED_BYTES) : link.start()].rstrip(b" '\"\\")
        while before.endswith(b"\\t"):
            before = before[:-2].rstrip(b" '\"\\")
        if before.lower().endswith(_LINKED):
            return True
    return False


_SCHEME = re.compile(rb"(?i:earer|asic)(?: |\\t){1,4}[\w.~+/-]{8}")
_Question = Callable[[bytes], object]

_TELLING: dict[bytes, _Question] = {
    b"J": re.compile(rb"eyJ[\w-]{8}").search,
    b"KI": re.compile(rb"AKIA[A-Z0-9]{16}").search,
    b"SI": re.compile(rb"ASIA[A-Z0-9]{16}").search,
    b"Iz": re.compile(rb"AIza[\w-]{30}").search,
    b"gh_": re.compile(rb"gh[pousr]_[A-Za-z0-9]{20}|github_pat_").search,
    b"g-": re.compile(rb"glpat-").search,
    b"k__": re.compile(rb"k_(?:live|test)_").search,
    b"k-": re.compile(rb"sk-[\w-]{20}|plunk[ \\]").search,
    b"xx-": re.compile(rb"xox[abeoprs]-").search,
    b"hkk": re.compile(rb"hooks\.slack").search,
    b"-----G": re.compile(rb"-----BEGIN").search,
    b"@": re.compile(rb"//(?:[^\s/?#\"'<>\\]|\\[bu])+@").search,
    # Where a name may end and its value begin.
    b":": partial(_may_tell, re.compile(rb": ")),
    b"=": partial(_may_tell, re.compile(rb"=")),
    b"'": partial(_may_tell, re.compile(rb"'(?:\\t| )*:|:(?:\\t| )*(?:\\\\)*'")),
    b"\\": partial(_may_tell, re.compile(rb"\\[\"t\\](?:\\[\"t\\]|[' ]){0,9}[:=]|:(?:\\t| )*\\")),
}
"""What a residue that has this calls for: the shapes again, coarser, since an escape may stand before a word."""

_MAX_RESIDUES = 4096
_MAX_RESIDUE_BYTES = 200
_residues: dict[bytes, tuple[_Question, ...]] = {}


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
    questions = _residues.get(residue)
    if questions is None:
        questions = _called_for(residue)
    run = line.translate(_SCHEMES, b" -")
    # find() and search(), since «in» costs a bytes object twice as much.
    if run.find(CARD_RUN) >= 0 and _may_hold_card(line):
        return True
    if run.find(b"earer") >= 0 and _SCHEME.search(line):
        return True
    for question in questions:  # noqa: SIM110 - any() costs as much as all of the above
        if question(line):
            return True
    return False


def _called_for(residue: bytes) -> tuple[_Question, ...]:
    called = {sign: question for sign, question in _TELLING.items() if sign in residue}
    if b"@" not in residue.partition(b"//")[2]:
        called.pop(b"@", None)
    questions = tuple(called.values())
    if len(residue) <= _MAX_RESIDUE_BYTES:
        if len(_residues) >= _MAX_RESIDUES:
            _residues.clear()
        _residues[residue] = questions
    return questions


def _may_hold_card(line: bytes) -> bool:
    if b"\\" in line:  # The letter or the digits of an escape may stand before those of the card.
        return True
    return has_card(line.decode("latin-1"))


def may_hold_bare_key(line: bytes) -> bool:
    """Say whether 64 hexadecimal digits stand in a row anywhere in ``line``."""
    return _HEX_RUN in line.translate(_HEX_DIGITS)
