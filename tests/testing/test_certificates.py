"""HTTPS with throw-away certificates, seen by real clients."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from defender_logging.testing import Answer, Certificate, LocalReceiver, make_certificate

pytest.importorskip("trustme")


def post(receiver, context, host="127.0.0.1"):
    connection = http.client.HTTPSConnection(host, receiver.port, timeout=20, context=context)
    try:
        connection.request("POST", "/", "{}")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def received_from(connection):
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_that_trusts_the_ca_is_served(host):
    """The certificate holds for this machine's names, and its fingerprint is that of the leaf."""
    with LocalReceiver(tls=True) as receiver:
        assert post(receiver, ssl.create_default_context(cafile=receiver.ca_file), host) == 200
        leaf = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", receiver.port)))
        assert hashlib.sha256(leaf).hexdigest() == receiver.fingerprint
        assert receiver.url.startswith("https://127.0.0.1:")


def test_others_are_not_served_and_do_no_harm():
    """A client that does not trust the CA, and one that speaks no TLS, fail alone."""
    with LocalReceiver(tls=True) as receiver:
        with pytest.raises(ssl.SSLCertVerificationError):
            post(receiver, ssl.create_default_context())
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as plain:
            plain.sendall(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
            assert not received_from(plain).startswith(b"HTTP")
        assert post(receiver, ssl.create_default_context(cafile=receiver.ca_file)) == 200


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"not_after": datetime(2020, 1, 2, tzinfo=timezone.utc)}, 10),
        ({"names": ("elsewhere.example",)}, 64),
    ],
)
def test_bad_certificates_on_purpose(tmp_path, options, code):
    """An expired certificate and one of another name are refused for that (X509_V_ERR codes 10 and 64)."""
    certificate = make_certificate(tmp_path, **options)
    with LocalReceiver(tls=certificate) as receiver:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            post(receiver, ssl.create_default_context(cafile=receiver.ca_file))

        assert code == caught.value.verify_code


def test_client_certificates_can_be_required(tmp_path):
    """With a client CA only clients with a certificate of it are served."""
    server, client = tmp_path / "server", tmp_path / "client"
    server.mkdir()
    client.mkdir()
    own, theirs = make_certificate(server), make_certificate(client)
    demanding = Certificate(own.certificate_file, own.key_file, own.ca_file, client_ca_file=theirs.ca_file)
    with LocalReceiver(tls=demanding) as receiver:
        context = ssl.create_default_context(cafile=receiver.ca_file)
        with pytest.raises(OSError):  # TLS 1.3 tells the client only with the first answer
            post(receiver, context)
        context.load_cert_chain(theirs.certificate_file, theirs.key_file)
        assert post(receiver, context) == 200


@pytest.mark.parametrize("cut_at", ["after_headers", "after_body", "in_answer_body"])
def test_cuts_over_tls(cut_at):
    """Scripted cuts work on an encrypted connection."""
    with LocalReceiver(tls=True) as receiver:
        context = ssl.create_default_context(cafile=receiver.ca_file)
        receiver.script(Answer(cut_at=cut_at))
        with pytest.raises((OSError, http.client.HTTPException)):
            post(receiver, context)

        assert post(receiver, context) == 200
        assert receiver.unused_answers == 0


def test_a_cut_before_the_request_comes_before_the_handshake():
    """A client that is cut off at once never sees the certificate."""
    with LocalReceiver(tls=True) as receiver:
        receiver.script(Answer(cut_at="before_request", cut_with="close"))
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as plain:
            assert received_from(plain) == b""

        assert post(receiver, ssl.create_default_context(cafile=receiver.ca_file)) == 200
        assert receiver.unused_answers == 0


def test_stop_ends_idle_tls_connections_and_removes_the_files():
    """Neither a thread nor a key file is left behind."""
    receiver = LocalReceiver(tls=True).start()
    ca_file = Path(receiver.ca_file)
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", receiver.port, timeout=20, context=context)
    connection.request("POST", "/", "{}")
    connection.getresponse().read()
    receiver.stop()
    connection.close()

    assert not ca_file.parent.exists()
    with pytest.raises(RuntimeError, match="tls=True"):
        _ = receiver.fingerprint


def test_a_self_signed_certificate_is_its_own_ca(tmp_path):
    """Without a CA file clients are pointed to the certificate itself."""
    own = make_certificate(tmp_path)
    with LocalReceiver(tls=Certificate(own.certificate_file, own.key_file)) as receiver:
        assert own.certificate_file == receiver.ca_file


def test_a_missing_package_names_the_remedy(monkeypatch, tmp_path):
    """Without trustme the error says what to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(ModuleNotFoundError, match=r'pip install "defender-logging\[tls\]"'):
        make_certificate(tmp_path)
