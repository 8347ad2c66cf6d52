"""The names of an entry's own fields, in the order of the wire.

The caller sets ``CALLER_NAMES``. All other names here, and those of the destination, are ours: a caller's
value of such a name is written as ``extra_<name>``.
"""

from __future__ import annotations

__all__ = ["CALLER_NAMES", "CIRCUMSTANCES", "PARTIES", "RESERVED_NAMES", "TEXTS", "WORDS"]

WORDS = ("component", "category", "outcome")
"""Words of the vocabulary."""

PARTIES = ("subject", "subject_type", "subject_id", "object", "object_type", "object_id")
CIRCUMSTANCES = ("reason", "user", "src_ip", "tenant")

TEXTS = ("message", "error_message", "error_stack", "stack_info")
"""What a record says in free text: ours to name, but hidden when ``redact`` lists one."""

CALLER_NAMES = frozenset((*WORDS, *PARTIES, *CIRCUMSTANCES))

RESERVED_NAMES = CALLER_NAMES | {
    *("time", "level", "user_id", "user_name", "user_email", "message", "logger", "levelname"),
    *("service", "environment", "host", "process", "thread"),
    *("error_type", "error_message", "error_stack", "stack_info", "tags"),
    *("vocabulary_errors", "truncated", "original_bytes", "trail", "prev", "hash"),
    *("schema", "id", "stream", "seq"),
}
"""Every name that section "The entry on the wire" of the documentation lists."""
