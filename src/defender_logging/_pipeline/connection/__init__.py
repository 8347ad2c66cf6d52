"""The only package that opens outgoing sockets: connections to the peer, and one exchange over them.

The transport asks ``open_connection`` for one, and the connection to ``exchange`` a request for a response.
"""

from defender_logging._pipeline.connection.exchange import Connection, ExchangeError
from defender_logging._pipeline.connection.failures import refusal
from defender_logging._pipeline.connection.opening import late_refusal, open_connection
from defender_logging._pipeline.connection.peer import Peer

__all__ = ["Connection", "ExchangeError", "Peer", "late_refusal", "open_connection", "refusal"]
