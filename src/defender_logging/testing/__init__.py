"""Fakes that behave like the real ones, for tests of services that log through ``defender_logging``.

``LocalReceiver`` is Splunk HEC, Datadog and a generic endpoint on a port of this machine; ``TcpProxy`` is a bad
line to it; ``FakeClock`` is time that a test moves by hand; ``FakeTransport`` answers without any socket.
Nothing here is imported by the package itself, except by its command line.
"""

from __future__ import annotations

from defender_logging.testing.certificates import Certificate, make_certificate
from defender_logging.testing.clock import FakeClock
from defender_logging.testing.datadog import DatadogSettings
from defender_logging.testing.exchange import ReceivedEntry, ReceivedRequest
from defender_logging.testing.generic import GenericSettings
from defender_logging.testing.hec import HecSettings
from defender_logging.testing.hec_codes import HEC_CODES, hec_answer
from defender_logging.testing.receiver import LocalReceiver
from defender_logging.testing.relay import Link
from defender_logging.testing.scripting import Answer
from defender_logging.testing.tcp_proxy import TcpProxy
from defender_logging.testing.transport import FakeTransport

__all__ = [
    "HEC_CODES",
    "Answer",
    "Certificate",
    "DatadogSettings",
    "FakeClock",
    "FakeTransport",
    "GenericSettings",
    "HecSettings",
    "Link",
    "LocalReceiver",
    "ReceivedEntry",
    "ReceivedRequest",
    "TcpProxy",
    "hec_answer",
    "make_certificate",
]
