"""A receiver whose TLS is not as it should be: nothing is sent, the handler is held, and goes on once it is mended."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings

import pytest

from defender_logging import ApiKeyHandler
from defender_logging.testing import Certificate, LocalReceiver

trustme = pytest.importorskip("trustme", reason="certificates are made by trustme (extra tls)")

WAIT_SECONDS = 30
SECRET_TEXT = "only-for-the-right-receiver"
KEY = "s3cr3t-k3y-0123456789"


class Faults:
    """One CA, the certificate of a good server, and those of the bad ones."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.good = self.issue("good")

    def issue(self, name, authority=None, names=("localhost", "127.0.0.1"), **given):
        folder = self.folder / name
        folder.mkdir()
        issuer = authority or self.authority
        leaf = issuer.issue_cert(*names, **given)
        leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
        return Certificate(str(folder / "cert.pem"), str(folder / "key.pem"), self.ca_file)

    def self_signed(self):
        """What ``openssl req -x509`` makes, and Splunk out of the box: nobody else vouches for it."""
        folder = self.folder / "self_signed"
        folder.mkdir()
        made = trustme.CA()
        made.cert_pem.write_to_path(str(folder / "cert.pem"))
        made.private_key_pem.write_to_path(str(folder / "key.pem"))
        return Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))

    def server(self, fault):
        """Return the ``tls`` argument of a receiver with the fault."""
        yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
        if fault == "missing client certificate":
            asking = self.issue("asking")
            return Certificate(
                asking.certificate_file, asking.key_file, self.ca_file, client_ca_file=self.ca_file
            )
        return {
            "expired": lambda: self.issue("expired", not_after=yesterday),
            "wrong name": lambda: self.issue("wrong_name", names=("other.example",)),
            "self-signed": self.self_signed,
            "unknown CA": lambda: self.issue("unknown", authority=trustme.CA()),
        }[fault]()


FAULTS = {
    "expired": "expired",
    "wrong name": "not trusted",
    "self-signed": "self",
    "unknown CA": "issuer",
    "missing client certificate": "client_cert_file",
}
"""What is wrong, and what last_error says of it."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def logger():
    made = logging.getLogger("tests.tls")
    made.propagate = False
    made.setLevel(logging.INFO)
    yield made
    for handler in list(made.handlers):
        made.removeHandler(handler)
        handler.close()


def handler_for(url, **given):
    return ApiKeyHandler(
        url=url,
        api_header_name="X-Key",
        api_key=KEY,
        flush_interval_seconds=0,
        hold_retry_seconds=0.1,
        retry_initial_seconds=0.05,
        retry_max_seconds=0.1,
        shutdown_timeout_seconds=0.2,
        **given,
    )


def until(condition):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come"
        threading.Event().wait(0.02)


def held(handler, words):
    """Wait until the handler is held for the reason, and return what it says."""
    try:
        until(lambda: handler.stats().state == "held" and words in handler.stats().last_error)
    except AssertionError:
        raise AssertionError(handler.stats()) from None
    return handler.stats().last_error


@pytest.mark.parametrize("fault", list(FAULTS))
def test_is_held_and_heals(faults, logger, fault, tmp_path):
    """Not one request arrives, last_error says why, and the mended receiver gets all, without a restart."""
    faults.folder = tmp_path
    bad = LocalReceiver(tls=faults.server(fault)).start()
    handler = handler_for(bad.url, ca_file=faults.ca_file)
    logger.addHandler(handler)
    logger.info(SECRET_TEXT)
    try:
        held(handler, FAULTS[fault])
        assert [] == bad.requests
        assert 1 == handler.stats().pending
    finally:
        bad.stop()
    with LocalReceiver(tls=faults.good, port=bad.port) as mended:
        assert handler.flush(WAIT_SECONDS)

        assert [SECRET_TEXT] == [entry["message"] for entry in mended.entries]
        assert 1 == handler.stats().delivered


@pytest.mark.parametrize("fault", ["expired", "wrong name", "self-signed", "unknown CA"])
def test_the_error_says_how_to_pin_and_the_pin_works(faults, logger, fault, tmp_path):
    """The fingerprint in last_error is the server's own; as server_fingerprint it makes the receiver usable."""
    faults.folder = tmp_path
    certificate = faults.server(fault)
    with LocalReceiver(tls=certificate) as receiver:
        doubting = handler_for(receiver.url, ca_file=faults.ca_file)
        logger.addHandler(doubting)
        logger.info("not yet")
        assert certificate.fingerprint in held(doubting, "server_fingerprint")
        assert [] == receiver.requests
        logger.removeHandler(doubting)
        doubting.close()

        pinning = handler_for(receiver.url, server_fingerprint=certificate.fingerprint)
        logger.addHandler(pinning)
        logger.info(SECRET_TEXT)
        assert pinning.flush(WAIT_SECONDS)
        assert SECRET_TEXT in [entry["message"] for entry in receiver.entries]


def test_another_certificate_than_the_pinned_one_is_held(faults, logger):
    """Also one that the CA vouches for; the error names the fingerprint that was shown."""
    with LocalReceiver(tls=faults.good) as receiver:
        handler = handler_for(receiver.url, ca_file=faults.ca_file, server_fingerprint="ab" * 32)
        logger.addHandler(handler)
        logger.info(SECRET_TEXT)

        assert faults.good.fingerprint in held(handler, "server_fingerprint pins")
        assert [] == receiver.requests


def test_nothing_is_written_to_an_untrusted_peer(faults, logger, tmp_path):
    """Two handshakes, the second to see the certificate, and not one byte of application data in either."""
    faults.folder = tmp_path
    context = faults.server("unknown CA").server_context()
    listener = socket.create_server(("127.0.0.1", 0))
    data, handshakes = [], []

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(WAIT_SECONDS)
                try:
                    with context.wrap_socket(client, server_side=True) as secure:
                        handshakes.append("whole")
                        data.append(secure.recv(100))
                except (ssl.SSLError, OSError):
                    handshakes.append("broken")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        handler = handler_for(f"https://127.0.0.1:{listener.getsockname()[1]}", ca_file=faults.ca_file)
        logger.addHandler(handler)
        logger.info(SECRET_TEXT)
        held(handler, "not trusted")
        until(lambda: "whole" in handshakes)
    finally:
        logger.removeHandler(handler)
        handler.close()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_SECONDS)

    assert not thread.is_alive()
    assert b"" == b"".join(data)


def test_tls_1_1_is_refused(logger, faults):
    """A server that speaks nothing newer gets nothing."""
    context = faults.good.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    listener = socket.create_server(("127.0.0.1", 0))
    outcomes = []

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(WAIT_SECONDS)
                try:
                    with context.wrap_socket(client, server_side=True) as secure:
                        outcomes.append(secure.recv(100))
                except (ssl.SSLError, OSError) as error:
                    outcomes.append(type(error).__name__)

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    handler = handler_for(f"https://127.0.0.1:{port}", ca_file=faults.ca_file)
    logger.addHandler(handler)
    logger.info(SECRET_TEXT)
    try:
        held(handler, "TLS 1.2 or newer is needed")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WAIT_SECONDS)
    assert all(isinstance(outcome, str) for outcome in outcomes)
    with LocalReceiver(tls=faults.good, port=port) as mended:
        assert handler.flush(WAIT_SECONDS)
        assert [SECRET_TEXT] == [entry["message"] for entry in mended.entries]


OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("unknown CA", [], "not trusted"),
        ("self-signed", ["-tls1_2"], "not trusted"),
        ("good", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "TLS 1.2 or newer"),
        ("good", ["-tls1_2", "-Verify", "1", "-verify_return_error"], "client_cert_file"),
        ("good", ["-tls1_3", "-Verify", "1", "-verify_return_error"], "client_cert_file"),
    ],
    ids=["unknown CA", "self-signed", "TLS 1.1", "client certificate 1.2", "client certificate 1.3"],
)
def test_openssl_as_the_server_sees_nothing(  # noqa: PLR0917 - fixtures and a table's columns
    faults, logger, fault, options, words, tmp_path
):
    """Another TLS library's server prints all that it is sent; neither key nor entry is there."""
    faults.folder = tmp_path
    certificate = faults.good if fault == "good" else faults.server(fault)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = ["-cert", certificate.certificate_file, "-key", certificate.key_file, "-CAfile", faults.ca_file]
    server = subprocess.Popen(
        [OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", *files, *options],
        stdin=subprocess.PIPE,  # It ends when this does.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        handler = handler_for(f"https://127.0.0.1:{port}", ca_file=faults.ca_file)
        logger.addHandler(handler)
        logger.info(SECRET_TEXT)
        held(handler, words)
        assert 1 == handler.stats().pending
    finally:
        server.kill()
        output, _ = server.communicate(timeout=WAIT_SECONDS)
    assert SECRET_TEXT.encode() not in output
    assert KEY.encode() not in output
    assert b"POST" not in output


NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
NGINX_CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    ssl_client_certificate {ca}; ssl_verify_client {verify};
    location / {{ return 200; }}
  }}
}}
"""


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize(
    ("fault", "verify", "scheme", "words"),
    [
        ("unknown CA", "off", "https", "not trusted"),
        ("expired", "off", "https", "not trusted"),
        ("good", "on", "https", "client_cert_file"),
        ("good", "off", "http", "https in url"),
    ],
)
def test_nginx_as_the_server_takes_nothing(  # noqa: PLR0917 - fixtures and a table's columns
    faults, logger, fault, verify, scheme, words, tmp_path
):
    """It answers 400 to a missing client certificate and to plain HTTP: held, and all is there when it is mended."""
    faults.folder = tmp_path
    certificate = faults.good if fault == "good" else faults.server(fault)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            folder=tmp_path,
            port=port,
            cert=certificate.certificate_file,
            key=certificate.key_file,
            ca=faults.ca_file,
            verify=verify,
        )
    )
    given = {"ca_file": faults.ca_file} if scheme == "https" else {}
    with subprocess.Popen(
        [NGINX, "-p", str(tmp_path), "-c", str(conf), "-e", str(tmp_path / "early.log")]
    ) as server:
        try:
            handler = handler_for(f"{scheme}://127.0.0.1:{port}/x", **given)
            logger.addHandler(handler)
            logger.info(SECRET_TEXT)
            held(handler, words)
            stats = handler.stats()
            assert (1, 0, 0) == (stats.pending, stats.rejected, stats.delivered)
        finally:
            server.kill()
    with LocalReceiver(tls=faults.good if scheme == "https" else False, port=port) as mended:
        assert handler.flush(WAIT_SECONDS)
        assert [SECRET_TEXT] == [entry["message"] for entry in mended.entries]


def test_a_client_certificate_is_shown_to_the_peer_that_asks(faults, logger, tmp_path):
    """With client_cert_file the same receiver takes the entries."""
    faults.folder = tmp_path
    mine = faults.issue("mine", names=("client.example",))
    with LocalReceiver(tls=faults.server("missing client certificate")) as receiver:
        handler = handler_for(
            receiver.url,
            ca_file=faults.ca_file,
            client_cert_file=mine.certificate_file,
            client_key_file=mine.key_file,
        )
        logger.addHandler(handler)
        logger.info(SECRET_TEXT)

        assert handler.flush(WAIT_SECONDS)
        assert [SECRET_TEXT] == [entry["message"] for entry in receiver.entries]


def test_speaks_tls_over_ipv6(faults, logger, tmp_path):
    """The address in brackets is the name that the certificate must have."""
    faults.folder = tmp_path
    try:
        receiver = LocalReceiver(host="::1", tls=faults.issue("six", names=("::1",))).start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with receiver:
        handler = handler_for(receiver.url, ca_file=faults.ca_file)
        logger.addHandler(handler)
        logger.info(SECRET_TEXT)

        assert handler.flush(WAIT_SECONDS)
        assert "[::1]" in receiver.requests[0].header("Host")
        assert [SECRET_TEXT] == [entry["message"] for entry in receiver.entries]
