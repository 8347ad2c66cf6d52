"""How users call the package; only the type checker runs this file."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from defender_logging.adapter import DefenderAdapter, get_logger
from defender_logging.context import ContextFilter, audit_context, current_fields
from defender_logging.selection import SelectionFilter
from defender_logging.severity import TRACE, Severity, register_trace
from defender_logging.vocabulary import Category, CategoryDefaults, Component, Vocabulary

register_trace()
number: int = TRACE
severity: Severity = Severity.from_levelno(logging.WARNING)
same: Severity = Severity.parse("warning")
levelno: int = severity.levelno
text: str = severity

vocabulary: Vocabulary = Vocabulary.default().extend(
    components=["billing"],
    categories={"refunded": {"level": Severity.WARN, "outcome": "success"}, "quoted": None},
)
from_file: Vocabulary = Vocabulary.from_config({"components": ["billing"], "categories": ["refunded"]})
components: tuple[str, ...] = vocabulary.components
categories: Mapping[str, CategoryDefaults] = vocabulary.categories
found: str | None = vocabulary.find_component(Component.RELAY) or vocabulary.find_category("signed_in")
told: str = vocabulary.describe_unknown_component("rely") + vocabulary.describe_unknown_category(5)

log: DefenderAdapter = get_logger(__name__, component="relay", tenant="acme")
log.info("paused %s", "relayer-7", category=Category.PAUSED, subject="alice", object="relayer-7")
log.warning("failed", outcome="failure", reason="nonce", src_ip="2001:db8::1", user={"id": 7}, exc_info=True)
log.trace("gas price %d", 7, stacklevel=2)
log.audit(Category.DELETED, "relayer removed", subject="alice", object={"type": "relayer", "id": 7}, size=3)
bound: DefenderAdapter = log.bind(user="alice", extra={"request": 7})
over: DefenderAdapter = DefenderAdapter(logging.LoggerAdapter(logging.getLogger(), {"a": 1}), strict=True)
plain: logging.Logger | logging.LoggerAdapter[logging.Logger] = logging.getLogger()
also: DefenderAdapter = DefenderAdapter(plain, vocabulary=vocabulary, component=Component.ADMIN)

with audit_context(user="alice", src_ip="192.0.2.1"):
    fields: Mapping[str, object] = current_fields()


async def handle() -> None:
    """Blocks are used with a plain ``with`` in async code."""
    with audit_context(user="alice"):
        log.info("hello")


handler: logging.Handler = logging.StreamHandler()
handler.addFilter(ContextFilter())
handler.addFilter(SelectionFilter(log_types=["relay", Component.ACCOUNT], log_levels="all"))
handler.addFilter(SelectionFilter("billing", [Severity.ERROR, "warn"], vocabulary))
handler.addFilter(SelectionFilter(vocabulary={"components": ["billing"]}))
