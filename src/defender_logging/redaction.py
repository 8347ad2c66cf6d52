"""What must not leave the house: values under telling names, and what looks like a secret in any text.

A field's name comes from a record's extras or from a mapping at any depth; the answer says whether ``plain``
writes the value or a mark. Spelling does not matter: ``x-api-key``, ``xApiKey`` and ``X API KEY`` are one name.
Afterwards ``FieldsBuilder`` has all the texts of an entry searched, before anything is encoded; what a secret
looks like is said in ``secret_shapes``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from defender_logging.secret import Secret
from defender_logging.secret_shapes import MARK_START, is_bare_key, without_secrets
from defender_logging.secret_signs import may_hold_bare_key, may_hold_secret
from defender_logging.strict_json import dumps

__all__ = ["BUILT_IN_NAMES", "REDACTED", "Redactor"]

REDACTED = f"{MARK_START}]"

DIGEST_CHARS = 16
"""Of the digest in a mark: equal values are found, and it is short enough to read."""

MIN_DIGEST_KEY_CHARS = 16
"""A shorter key can be guessed, and with it the values."""

BUILT_IN_NAMES: tuple[str, ...] = (
    *("password", "passwords", "passwd", "pwd", "passphrase", "passcode", "otp", "totp"),
    *("secret", "secrets", "credential", "credentials", "token", "bearer", "jwt"),
    *("access tokens", "auth tokens", "refresh tokens", "api tokens"),  # Bare "tokens" is mostly a count.
    *("api key", "api keys", "authorization", "auth header", "auth key", "access key", "secret key"),
    *("cookie", "cookies", "session id", "session key", "csrf", "xsrf"),
    *("private key", "private keys", "signing key", "encryption key", "master key", "shared key"),
    *("account key", "ssh key", "hmac key", "keystore", "xprv"),
    *("mnemonic", "mnemonics", "mnemonic phrase", "seed", "seed phrase", "seed words", "recovery phrase"),
    *("connection string", "conn str", "dsn", "database url", "db url", "redis url", "broker url"),
    *("card number", "credit card", "cvv", "cvc"),
)
"""A name is hidden when it equals one of these or ends with one as whole words: ``db_password``."""

_ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "token", "mnemonic", "authorization"),
    *("apikey", "accesskey", "secretkey", "privatekey", "sessionid"),
)
"""Those that no other word ends with: they tell also where a name has lost its case, ``useraccesstoken``."""

_SUSPICIOUS = frozenset({"key", "priv", "private", "pk", "sk", "signer", "wallet", "entropy"})
"""What stands under a name that ends so may be an id as well; it is hidden if it has the form of a private key."""

_MAX_WORD_CHARS = 13
"""No secret that has a form is a single word so short: a card number has 14 digits."""

_MODES = ("add", "only", "allow")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
"""A run of capitals (``API``), a word that may begin with one (``Key``), or letters without such a case."""

_MAX_NAME_CHARS = 200
"""Of a longer name only the end is judged, which is where the telling word stands."""

_MAX_REMEMBERED = 4096
"""Names are the program's own and few; this bounds those that are made of data."""


def _words(name: str) -> list[str]:
    """Split at separators, digits and changes of case: ``userAPIKey2`` is user, api, key."""
    return [word.lower() for word in _WORD.findall(name[-_MAX_NAME_CHARS:])]


def _joined(name: Any) -> str:
    if not isinstance(name, str) or not (joined := "".join(_words(name))):
        raise ValueError(f"redact names {name!r}; write a field's name, such as 'password'.")
    return joined


def _joined_all(names: Any) -> frozenset[str]:
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        remedy = "write a list of field names, such as ['password']."
        raise ValueError(f"redact is {names!r}; {remedy}")  # noqa: TRY004 - settings collect ValueErrors
    return frozenset(_joined(name) for name in names)


_BUILT_IN = _joined_all(BUILT_IN_NAMES)


def _digest_key(value: Any) -> Secret:
    def check(key: str) -> str:
        if len(key) < MIN_DIGEST_KEY_CHARS:
            raise ValueError(
                f"redact has a digest_key of {len(key)} characters; give {MIN_DIGEST_KEY_CHARS} or more, "
                "drawn at random"
            )
        return key

    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - settings collect ValueErrors
            f"redact has a digest_key of type {type(value).__name__}; write 'env:NAME' or 'file:PATH'."
        )
    try:
        return Secret(value, check)
    except ValueError as error:
        told = str(error)
        raise ValueError(told if told.startswith("redact") else f"redact: its digest_key {told}.") from None


@dataclass(frozen=True, slots=True)
class Redactor:
    """The names to hide, or with ``is_allow_list`` the only ones to show. Immutable; threads may share it.

    Attributes:
        names: in lower case, words joined.
        is_allow_list: hide every name that is not in ``names``. An allowed name is taken whole: ``id`` does
            not show ``session_id``. Rules the caller's extras at every depth, never the entry's own fields.
        searches_texts: take out of every text what looks like a secret.
        digest_key: put a digest of the value into its mark, keyed with this.
        others: what these hide is hidden too.
    """

    names: frozenset[str] = _BUILT_IN
    is_allow_list: bool = False
    searches_texts: bool = True
    digest_key: Secret | None = None
    others: tuple[Redactor, ...] = ()
    _answers: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_setting(cls, value: object) -> Redactor:
        """Read the setting ``redact``.

        Args:
            value: None: the built-in names, and every text is searched; a list: these names as well;
                ``{"only": [...]}``: these names alone, and no text is searched; ``{"allow": [...]}``: only these
                names are shown, and every text is searched. Any mapping may have ``digest_key`` as well;
                ``{"add": [...]}`` is the list in the form of a mapping.

        Raises:
            ValueError: for anything else, with the remedy.
        """
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            return cls(_BUILT_IN | _joined_all(value))
        modes = [key for key in value if key != "digest_key"]
        if not value or len(modes) > 1 or not set(modes) <= set(_MODES):
            raise ValueError(
                f"redact has the keys {list(value)!r}; "
                "write a list of names, {'only': [...]} or {'allow': [...]}."
            )
        made = cls._from_mode(modes[0], _joined_all(value[modes[0]])) if modes else cls()
        has_key = value.get("digest_key") is not None
        return replace(made, digest_key=_digest_key(value["digest_key"])) if has_key else made

    @classmethod
    def _from_mode(cls, mode: str, names: frozenset[str]) -> Redactor:
        if mode == "add":
            return cls(_BUILT_IN | names)
        return cls(names, is_allow_list=mode == "allow", searches_texts=mode == "allow")

    def also(self, other: Redactor) -> Redactor:
        """Return a redactor that hides what either of the two hides."""
        if other == self:
            return self
        return replace(
            self,
            searches_texts=self.searches_texts or other.searches_texts,
            digest_key=self.digest_key or other.digest_key,
            others=(*self.others, other),
            _answers={},
        )

    def hides(self, name: str) -> bool:
        """Say whether the value of the field ``name`` is to be replaced by ``REDACTED``."""
        answer = self._answers.get(name)
        if answer is None:
            answer = self._judge(name) or any(other.hides(name) for other in self.others)
            if len(name) <= _MAX_NAME_CHARS:
                if len(self._answers) >= _MAX_REMEMBERED:
                    self._answers.clear()
                self._answers[name] = answer
        return answer

    def hides_own(self, name: str) -> bool:
        """Say whether a field of the entry's own that the caller sets is hidden: an allow list spares those."""
        is_named = not self.is_allow_list and self._judge(name)
        return is_named or any(other.hides_own(name) for other in self.others)

    def mark(self, value: object) -> str:
        """Return what is written in the place of ``value``; equal texts and numbers have equal digests."""
        if self.digest_key is None or not isinstance(value, (str, bytes, int, float)):
            return REDACTED
        known = value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
        digest = hmac.new(self.digest_key.reveal().encode(), known, hashlib.sha256).hexdigest()
        return f"{MARK_START}:{digest[:DIGEST_CHARS]}]"

    def suspects(self, name: str) -> bool:
        """Say whether 64 hexadecimal digits under ``name`` are a private key, not a hash."""
        words = _words(name)
        return bool(words) and words[-1] in _SUSPICIOUS and not {"public", "pub"} & set(words)

    @property
    def question(self) -> Callable[[bytes], bool] | None:
        """What tells whether a line of JSON may have a text with a secret in it; None: no line is searched.

        A function to keep, for whoever asks about every record; its no is certain and cheap.
        """
        return may_hold_secret if self.searches_texts else None

    def searched(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return plain values without what looks like a secret, in texts and names at any depth.

        The same object if there is none, which is nearly always.
        """
        if not self.searches_texts:
            return values
        line = dumps(values)
        if may_hold_secret(line):
            values = self._search(values, self._cleaned)
        if may_hold_bare_key(line):
            values = self._search(values, lambda text: text)
        return values

    def _cleaned(self, text: str) -> str:
        if len(text) <= _MAX_WORD_CHARS and text.isalnum():  # As most of an entry's texts are.
            return text
        return without_secrets(text, self.mark) if may_hold_secret(dumps(text)) else text

    def _search(self, value: Any, cleaned: Callable[[str], str], name: str = "") -> Any:
        """Return ``value`` with its texts and names cleaned, and without keys under suspicious names."""
        if isinstance(value, str):
            return self.mark(value) if is_bare_key(value) and self.suspects(name) else cleaned(value)
        if isinstance(value, list):
            return [self._search(item, cleaned, name) for item in value]
        if not isinstance(value, dict):
            return value
        found: dict[str, Any] = {}
        repeats: dict[str, int] = {}
        for key, item in value.items():
            written = cleaned(key)
            marked = written
            while written in found:  # Two names may have become the same mark.
                repeats[marked] = repeats.get(marked, 1) + 1
                written = f"{marked}_{repeats[marked]}"
            found[written] = self._search(item, cleaned, key)
        return found

    def _judge(self, name: str) -> bool:
        words = _words(name)
        if self.is_allow_list:
            return len(name) > _MAX_NAME_CHARS or "".join(words) not in self.names
        if any("".join(words[start:]) in self.names for start in range(len(words))):
            return True
        return bool(words) and any(words[-1].endswith(ending) for ending in _ENDINGS if ending in self.names)
