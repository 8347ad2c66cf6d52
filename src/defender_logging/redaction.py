"""Names whose values must not leave the house.

A field's name comes from a record's extras or from a mapping at any depth; the answer says whether ``plain``
writes the value or ``[redacted]``. Spelling does not matter: ``x-api-key``, ``xApiKey`` and ``X API KEY`` are
one name. Only names are judged here, never what a value looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BUILT_IN_NAMES", "REDACTED", "Redactor"]

REDACTED = "[redacted]"

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
)
"""A name is hidden when it equals one of these or ends with one as whole words: ``db_password``."""

_ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "token", "mnemonic", "authorization"),
    *("apikey", "accesskey", "secretkey", "privatekey", "sessionid"),
)
"""Those that no other word ends with: they tell also where a name has lost its case, ``useraccesstoken``."""

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


@dataclass(frozen=True, slots=True)
class Redactor:
    """The names to hide, or with ``is_allow_list`` the only ones to show. Immutable; threads may share it.

    Attributes:
        names: in lower case, words joined.
        is_allow_list: hide every name that is not in ``names``. An allowed name is taken whole: ``id`` does
            not show ``session_id``. Rules the caller's extras at every depth, never the entry's own fields.
        others: what these hide is hidden too.
    """

    names: frozenset[str] = _BUILT_IN
    is_allow_list: bool = False
    others: tuple[Redactor, ...] = ()
    _answers: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_setting(cls, value: object) -> Redactor:
        """Read the setting ``redact``.

        Args:
            value: None: the built-in names; a list: these as well; ``{"only": [...]}``: these in their place;
                ``{"allow": [...]}``: only these are shown.

        Raises:
            ValueError: for anything else, with the remedy.
        """
        if value is None:
            return cls()
        if not isinstance(value, Mapping):
            return cls(_BUILT_IN | _joined_all(value))
        if len(value) != 1 or not (set(value) & {"only", "allow"}):
            raise ValueError(
                f"redact has the keys {list(value)!r}; "
                "write a list of names, {'only': [...]} or {'allow': [...]}."
            )
        ((mode, names),) = value.items()
        return cls(_joined_all(names), is_allow_list=mode == "allow")

    def also(self, other: Redactor) -> Redactor:
        """Return a redactor that hides what either of the two hides."""
        if other == self:
            return self
        return Redactor(self.names, self.is_allow_list, (*self.others, other))

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

    def _judge(self, name: str) -> bool:
        words = _words(name)
        if self.is_allow_list:
            return len(name) > _MAX_NAME_CHARS or "".join(words) not in self.names
        if any("".join(words[start:]) in self.names for start in range(len(words))):
            return True
        return bool(words) and any(words[-1].endswith(ending) for ending in _ENDINGS if ending in self.names)
