"""A console for relayers, as small as it can be: people sign in, pause and update relayers, send transactions.

It shows three ways to write an audit trail, all of them plain ``logging``:

- ``logger.info(..., extra={...})`` needs nothing but the standard library,
- ``DefenderAdapter`` and ``get_logger`` take the fields as keywords and know each category's level and outcome,
- ``audit_context`` puts fields on every record of one request, whoever logs it.

Run it with ``uvicorn service:app --log-config logging.yaml``. It is an ASGI application without a framework; in
yours the same calls stand in the request handlers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from defender_logging import audit_context, flush_all, get_logger

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("relayer_console")
relay_log = get_logger("relayer_console.relay", component="relay")

EXIT_SECONDS = 5.0
PASSWORDS = {"alice": "correct horse", "bob": "battery staple"}
RELAYERS = {f"relayer-{number}": {"is_paused": False, "gas_limit": 21_000} for number in (1, 7)}
sessions: dict[str, str] = {}


def sign_in(body: dict[str, Any]) -> tuple[int, Any]:
    """Open a session. The trail says who tried, in a plain call of the standard library."""
    user = str(body.get("user"))
    if user not in PASSWORDS or PASSWORDS[user] != body.get("password"):
        logger.warning(
            "sign-in of %s failed",
            user,
            extra={
                "component": "account",
                "category": "invalid sign in",
                "subject": user,
                "outcome": "failure",
                "reason": "wrong password" if user in PASSWORDS else "unknown user",
            },
        )
        return 401, {"error": "wrong user or password"}
    session = secrets.token_urlsafe(16)
    sessions[session] = user
    fields = {"component": "account", "category": "signed in", "subject": user, "outcome": "success"}
    logger.info("%s signed in", user, extra=fields)
    return 201, {"session": session}


def sign_out(session: str, user: str) -> tuple[int, Any]:
    """Close a session. ``audit`` adds the level and outcome that are usual for the category."""
    del sessions[session]
    get_logger("relayer_console").audit("signed out", f"{user} signed out", component="account", subject=user)
    return 200, {}


def change_relayer(relayer: str, change: dict[str, Any], user: str) -> tuple[int, Any]:
    """Pause or update a relayer. The bound adapter knows the component, and here the object too."""
    log = relay_log.bind(subject=user, object={"type": "relayer", "id": relayer})
    before = dict(RELAYERS[relayer])
    RELAYERS[relayer].update({name: value for name, value in change.items() if name in before})
    if change.get("is_paused"):
        log.audit("paused", f"{relayer} is paused")
    else:
        log.audit("updated", f"{relayer} is updated", before=before, after=RELAYERS[relayer])
    return 200, RELAYERS[relayer]


def send_transaction(relayer: str, body: dict[str, Any], user: str) -> tuple[int, Any]:
    """Send a transaction, or refuse to. Amounts beyond 2^53 keep all their digits."""
    transaction = f"0x{secrets.token_hex(32)}"
    relay_log.debug("checking %s", relayer, category="executed", subject=user, object=relayer)
    if RELAYERS[relayer]["is_paused"]:
        log = relay_log.bind(category="sent", outcome="failure")
        log.error("%s sends nothing", relayer, subject=user, object=relayer, reason="the relayer is paused")
        return 409, {"error": f"{relayer} is paused"}
    extra = {"value_wei": body.get("value_wei"), "to": body.get("to")}
    relay_log.info("transaction sent", category="sent", subject=relayer, object=transaction, extra=extra)
    return 202, {"transaction": transaction}


def stats() -> tuple[int, Any]:
    """The account of every forwarding handler: good for a health check, and for an alarm on ``dropped``."""
    handlers = [handler for handler in logging.getLogger().handlers if hasattr(handler, "stats")]
    snapshots = {handler.name: handler.stats() for handler in handlers}
    names = ("accepted", "delivered", "rejected", "dropped", "pending", "filtered", "state")
    return 200, {name: {key: getattr(snapshot, key) for key in names} for name, snapshot in snapshots.items()}


def read_json(body: bytes) -> dict[str, Any]:
    """The body as a mapping; an empty one where it is none."""
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def answer(method: str, path: str, session: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Find out what a request wants; returns the status and the JSON to answer with."""
    if (method, path) == ("GET", "/stats"):
        return stats()
    if (method, path) == ("POST", "/sessions"):
        return sign_in(body)
    if session not in sessions:
        return 401, {"error": "sign in first"}
    user = sessions[session]
    with audit_context(user=user):
        if (method, path) == ("DELETE", "/sessions"):
            return sign_out(session, user)
        return use_relayer(method, path, body, user)


def use_relayer(method: str, path: str, body: dict[str, Any], user: str) -> tuple[int, Any]:
    """Do what is asked of a relayer: ``PATCH /relayers/NAME`` or ``POST /relayers/NAME/transactions``."""
    _, kind, relayer, *action = f"{path}//".split("/")
    if kind != "relayers" or relayer not in RELAYERS:
        return 404, {"error": "no such thing"}
    if method == "PATCH":
        return change_relayer(relayer, body, user)
    if method == "POST" and action[0] == "transactions":
        return send_transaction(relayer, body, user)
    return 405, {"error": "use PATCH, or POST to its transactions"}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application: life and requests."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "http":
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        client = scope.get("client") or ("unknown",)
        with audit_context(src_ip=client[0]):
            session = headers.get("x-session", "")
            status, content = answer(scope["method"], scope["path"], session, read_json(body))
        content_type = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": status, "headers": [content_type]})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})


async def live(receive: Receive, send: Send) -> None:
    """Start and stop with the server.

    A process that ends by itself delivers what waits without being asked. But uvicorn, told to stop by a signal,
    ends by that signal, and Python's exit hooks do not run; so the rest is sent here.
    """
    while True:
        event = await receive()
        if event["type"] == "lifespan.shutdown":
            await asyncio.to_thread(flush_all, EXIT_SECONDS)
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
