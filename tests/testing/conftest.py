"""Hand-written requests to a local receiver, one connection for each test."""

from __future__ import annotations

import http.client
import json

import pytest

from defender_logging.testing import LocalReceiver

CHANNEL = "11111111-2222-3333-4444-555555555555"


class Client:
    """Posts what a test wrote by hand; a connection that broke is opened anew."""

    def __init__(self, receiver):
        self.connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=20)

    def send(self, path, body=b"", headers=None, method="POST"):
        if isinstance(body, str):
            body = body.encode()
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self.connection.close()
            raise

    def hec(self, body, path="/services/collector/event", token="tok", channel=CHANNEL, **headers):
        sent = {"Authorization": f"Splunk {token}", "X-Splunk-Request-Channel": channel, **headers}
        status, answer = self.send(path, body, sent)
        return status, json.loads(answer)


@pytest.fixture
def receiver():
    with LocalReceiver() as running:
        yield running


@pytest.fixture
def connect():
    clients = []

    def make(receiver):
        clients.append(Client(receiver))
        return clients[-1]

    yield make
    for client in clients:
        client.connection.close()


@pytest.fixture
def client(receiver, connect):
    return connect(receiver)
