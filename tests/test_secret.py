"""Keys and addresses do their work without ever being shown."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import logging
import os
import pickle
import pprint
import threading
import traceback

import pytest

from defender_logging._pipeline.transport import Peer
from defender_logging.secret import Secret, SecretText, Url, is_open_to_all, resolve_reference

KEY = "s3cr3t-k3y-0123456789"
ADDRESS = f"https://user:{KEY}@h.example:8443/hook/{KEY}?token={KEY}"
SHOWN = {"Secret": "Secret(***)", "Url": "Url(https://h.example:8443)"}


def secret():
    return Secret(KEY)


def url():
    return Url(ADDRESS, may_have_user=True)


either = pytest.mark.parametrize("make", [secret, url])


def frames_of(error):
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def log(level, *args, **kwargs):
    stream = io.StringIO()
    logger = logging.Logger("made here")
    logger.addHandler(logging.StreamHandler(stream))
    logger.log(level, *args, **kwargs)
    return stream.getvalue()


class TestNothingShowsIt:
    @either
    def test_repr_and_str(self, make):
        """Neither a print nor a debugger shows it; what it is stays clear."""
        held = make()

        assert SHOWN[type(held).__name__] == repr(held)
        assert KEY not in f"{held}{held!s}{held!r}{held!a}{held:}" + format(held)

    @either
    def test_containers_and_pretty_printers(self, make):
        """They ask for the repr."""
        held = make()

        assert KEY not in pprint.pformat({"api_key": [held, (held,)]}) + str([held]) + json.dumps(
            held, default=str
        )

    @either
    def test_attributes_cannot_be_listed(self, make):
        """There is no ``__dict__`` to print."""
        held = make()

        assert not hasattr(held, "__dict__")
        with pytest.raises(TypeError):
            vars(held)

    @either
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_cannot_be_pickled(self, make, protocol):
        """The refusal says why, without showing it; a list around it changes nothing."""
        with pytest.raises(TypeError, match="cannot be pickled: it would carry the key with it") as caught:
            pickle.dumps([make()], protocol)
        assert KEY not in str(caught.value)

    @either
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda held: copy.deepcopy([held])[0]])
    def test_copies_are_the_same_object(self, make, duplicate):
        """One holder, so that a refreshed key is known to all."""
        held = make()

        assert held is duplicate(held)

    def test_a_dataclass_that_holds_both(self):
        """The transport's own description can be printed."""
        peer = Peer(url=url(), key_header="X-Key", key=secret(), proxy_url=url())

        assert KEY not in f"{peer}{peer!r}"
        assert "url=Url(https://h.example:8443)" in repr(peer)

    @either
    def test_log_records(self, make):
        """As an argument, as the message, and with a traceback."""
        held = make()
        try:
            raise ValueError(held)
        except ValueError as error:
            text = log(40, "failed with %s and %r", held, held, exc_info=error) + log(20, held)

        assert KEY not in text
        assert SHOWN[type(held).__name__].partition("(")[0] in text

    @either
    def test_tracebacks_with_local_variables(self, make):
        """Error trackers record the locals of every frame."""

        def send(held):
            raise RuntimeError(f"cannot send with {held}")

        with pytest.raises(RuntimeError) as caught:
            send(make())
        assert KEY not in frames_of(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            f"https://{KEY}@h.example/",
            f"https://h.example/{KEY} x",
            f"https://h.example:x/{KEY}",
            f"ftp://h.example/{KEY}",
            f"https://[{KEY}/",
            f"{KEY}",
        ],
    )
    def test_refusals_of_an_address(self, text):
        """The message names neither user, path nor query, and no cause of it does."""
        with pytest.raises(ValueError) as caught:
            Url(text)
        assert KEY not in "".join(traceback.format_exception(caught.value))

    def test_refusals_of_a_key(self, monkeypatch):
        """What a check finds wrong is told by the check; the value behind a reference stays out of it."""

        def refuse(value):
            raise ValueError("has blanks in it; remove them")

        monkeypatch.setenv("LOG_KEY", KEY)
        with pytest.raises(ValueError) as caught:
            Secret("env:LOG_KEY", refuse)
        assert "has blanks in it; remove them" == str(caught.value)
        assert KEY not in "".join(traceback.format_exception(caught.value))

    def test_an_empty_key_looks_like_any_other(self):
        """Not even the length is told."""
        assert "Secret(***)" == repr(Secret("")) == repr(Secret("k" * 500))


class TestReferences:
    def test_an_environment_variable(self, monkeypatch):
        """``env:NAME`` is its value; the reference may be printed."""
        monkeypatch.setenv("LOG_KEY", KEY)
        held = Secret("env:LOG_KEY")

        assert (KEY, "Secret(env:LOG_KEY)", True) == (held.reveal(), repr(held), held.is_reference)

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_file(self, tmp_path, end):
        """``file:PATH`` is its text, without one newline at the end, as editors leave it."""
        path = tmp_path / "key"
        path.write_bytes((KEY + end).encode())
        held = Secret(f"file:{path}")

        assert (KEY, f"Secret(file:{path})", True) == (held.reveal(), repr(held), held.is_reference)

    def test_only_one_newline_is_left_out(self, tmp_path):
        """What else stands in the file is the key, and its check will say so."""
        path = tmp_path / "key"
        path.write_bytes(b"k\n\n")

        assert "k\n" == resolve_reference(f"file:{path}")

    def test_anything_else_is_itself(self):
        """A literal key is not a reference."""
        held = Secret(KEY)

        assert (KEY, False) == (held.reveal(), held.is_reference)
        assert "environment:x" == resolve_reference("environment:x")

    @pytest.mark.parametrize(
        ("reference", "what"),
        [
            (
                "env:NOT_SET_1",
                "the environment variable 'NOT_SET_1', which is not set; set it, or name another",
            ),
            ("env:", "the environment variable '', which is not set; set it, or name another"),
            ("env:\ud900", "the environment variable '\\ud900', which is not set; set it, or name another"),
            ("file:/no/such", "the file '/no/such', which cannot be read (FileNotFoundError)"),
            ("file:/", "the file '/', which cannot be read (IsADirectoryError)"),
            ("file:a\0b", "the file 'a\\x00b', which cannot be read (ValueError)"),
        ],
    )
    def test_that_lead_nowhere(self, reference, what):
        """Told with the reference and the remedy, once, without a chain of causes."""
        with pytest.raises(ValueError) as caught:
            Secret(reference)
        remedy = "; check the path and its permissions" if reference.startswith("file:") else ""
        assert f"refers to {what}{remedy}" == str(caught.value)
        assert caught.value.__suppress_context__

    def test_a_file_that_is_no_text(self, tmp_path):
        """Its bytes stay out of the message."""
        path = tmp_path / "key"
        path.write_bytes(KEY.encode() + b"\xff")
        with pytest.raises(ValueError, match=r"cannot be read \(UnicodeDecodeError\)") as caught:
            Secret(f"file:{path}")
        assert KEY not in str(caught.value)
        assert caught.value.__suppress_context__


class TestRefreshing:
    def test_finds_a_rotated_key(self, tmp_path):
        """True once for each change."""
        path = tmp_path / "key"
        path.write_text("old-0123456789")
        held = Secret(f"file:{path}", str.upper)
        assert not held.refresh()
        path.write_text("new-0123456789")

        assert held.refresh()
        assert not held.refresh()
        assert "NEW-0123456789" == held.reveal()

    def test_keeps_the_key_when_the_reference_fails(self, tmp_path):
        """A file that is being replaced, or holds nonsense for a moment, changes nothing."""
        path = tmp_path / "key"
        path.write_text(KEY)

        def check(value):
            if "\n" in value:
                raise ValueError("has a line break")
            return value

        held = Secret(f"file:{path}", check)
        path.write_text("two\nlines")
        assert not held.refresh()
        path.unlink()
        assert not held.refresh()

        assert KEY == held.reveal()

    def test_a_literal_key_never_changes(self):
        """There is nothing to read again."""
        assert not Secret(KEY).refresh()

    def test_the_new_key_is_masked_as_well(self, monkeypatch):
        """An answer that quotes it comes after the change."""
        monkeypatch.setenv("LOG_KEY", "old-0123456789")
        held = Secret("env:LOG_KEY")
        monkeypatch.setenv("LOG_KEY", KEY)
        held.refresh()

        assert "bad key ***" == held.mask(f"bad key {KEY}")

    def test_readers_never_see_half_a_change(self, monkeypatch):
        """While one thread refreshes, others have the old key or the new one."""
        monkeypatch.setenv("LOG_KEY", "a" * 50)
        held = Secret("env:LOG_KEY")
        seen = set()
        is_done = threading.Event()

        def look():
            while not is_done.is_set():
                seen.add(held.reveal())

        thread = threading.Thread(target=look)
        thread.start()
        for letter in "ba" * 500:
            monkeypatch.setenv("LOG_KEY", letter * 50)
            held.refresh()
        is_done.set()
        thread.join(10)

        assert seen <= {"a" * 50, "b" * 50}


class TestMasking:
    @pytest.mark.parametrize(
        ("key", "text", "masked"),
        [
            (KEY, f"token {KEY} and {KEY} are bad", "token *** and *** are bad"),
            (f"Splunk {KEY}", f"token {KEY} is bad", "token *** is bad"),
            (f"Splunk {KEY}", f"header Splunk {KEY} is bad", "header *** is bad"),
            ("abcdef", "abcdef", "***"),
            ("abcde", "abcde are letters", "abcde are letters"),
            ("a", "an answer", "an answer"),
            ("", "an answer", "an answer"),
            (KEY, "", ""),
        ],
    )
    def test_hides_what_a_receiver_quotes(self, key, text, masked):
        """Wherever it stands, with or without its scheme; words too short to be keys are left alone."""
        hidden = Secret(key).mask(text)

        assert masked == hidden.replace("Splunk ***", "***")

    @pytest.mark.parametrize(
        "quoted", ['ab/c+d"e&f=', r"ab\/c+d\"e&f=", r"ab/c+d\"e&f=", "ab/c+d&quot;e&amp;f="]
    )
    def test_hides_every_spelling_of_a_key(self, quoted):
        """As JSON, HTML and URLs write it."""
        assert "bad: ***" == Secret('ab/c+d"e&f=').mask(f"bad: {quoted}")
        assert "bad: ***" == Secret("ab/c+d=").mask("bad: ab%2Fc%2Bd%3D")

    @pytest.mark.parametrize(
        ("target", "text", "masked"),
        [
            ("/receiver/v1/http/ZaVnC4dhaV3secret", "no ZaVnC4dhaV3secret here", "no *** here"),
            ("/?token=QQ%2Fsecret&type=py", "no QQ/secret of py", "no *** of py"),
            ("/?token=QQ%2Fsecret&type=py", "no QQ%2Fsecret of py", "no *** of py"),
            ("/services/collector/event", "no collector here", "no collector here"),
        ],
    )
    def test_hides_the_secret_parts_of_an_address(self, target, text, masked):
        """A receiver whose address is the key quotes only that part of it."""
        assert masked == Url(f"https://h{target}").mask(text)


class TestIdentity:
    def test_tells_literal_keys_apart(self):
        """Two accounts never share an identity."""
        assert Secret(KEY).identity != Secret(KEY + "x").identity

    def test_is_the_same_for_the_same_key(self):
        """A handler built again from the same configuration is known again, within this process."""
        assert Secret(KEY).identity == Secret(KEY).identity

    def test_is_the_key_s_as_it_is_sent(self):
        """With or without the prefix it is one Splunk token."""
        add_prefix = lambda key: "Splunk " + key.removeprefix("Splunk ")

        assert Secret(KEY, add_prefix).identity == Secret(f"Splunk {KEY}", add_prefix).identity

    def test_never_is_the_key(self):
        """Nor a plain digest of it, which could be looked up in a table."""
        identity = Secret(KEY).identity
        plain_digests = {
            hashlib.new(name, KEY.encode()).hexdigest() for name in ("sha256", "sha512", "blake2b")
        }

        assert KEY not in identity
        assert identity not in plain_digests

    def test_of_a_reference_is_the_reference(self, monkeypatch):
        """It outlives a rotation of the key."""
        monkeypatch.setenv("LOG_KEY", KEY)
        held = Secret("env:LOG_KEY")
        before = held.identity
        monkeypatch.setenv("LOG_KEY", "another")
        held.refresh()

        assert "env:LOG_KEY" == before == held.identity


class TestUrl:
    @pytest.mark.parametrize(
        ("text", "origin", "target"),
        [
            ("https://h.example", "https://h.example:443", "/"),
            ("http://h.example", "http://h.example:80", "/"),
            ("HTTPS://H.Example:8088/A/b", "https://h.example:8088", "/A/b"),
            ("https://h.example/a/?b=c&d", "https://h.example:443", "/a/?b=c&d"),
            ("https://h.example?b=c", "https://h.example:443", "/?b=c"),
            ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443", "/a"),
            ("https://h.example/a#b", "https://h.example:443", "/a"),
            ("https://h.example/%20", "https://h.example:443", "/%20"),
        ],
    )
    def test_is_taken_apart(self, text, origin, target):
        """Scheme, host and port may be printed; path and query go into the request as they are."""
        parsed = Url(text)

        assert (origin, target) == (parsed.origin, parsed.target)
        assert origin == str(parsed)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "is not a URL with https:// and a host"),
            ("h.example", "is not a URL with https:// and a host"),
            ("h.example:8088/a", "is not a URL with https:// and a host"),
            ("ftp://h.example", "is not a URL with https:// and a host"),
            ("https://", "is not a URL with https:// and a host"),
            ("https:///a", "is not a URL with https:// and a host"),
            ("https://:443/a", "is not a URL with https:// and a host"),
            ("https://h.example:0/", "is not a URL with https:// and a host"),
            ("https://h.example:65536/", "is not a URL;"),
            ("https://h.example:https/", "is not a URL;"),
            ("https://[::1/", "is not a URL;"),
            ("https://h.example/a b", "has characters that a URL cannot have; percent-encode them"),
            ("https://h.example/a\r\nHost: b", "has characters that a URL cannot have; percent-encode them"),
            ("https://h.example/a\0", "has characters that a URL cannot have; percent-encode them"),
            ("https://h.example/é", "has characters that a URL cannot have; percent-encode them"),
            (" https://h.example/", "has characters that a URL cannot have; percent-encode them"),
            ("https://u@h.example/", "carries a user or password; use api_header_name and api_key instead"),
            ("https://:p@h.example/", "carries a user or password; use api_header_name and api_key instead"),
        ],
    )
    def test_is_refused(self, text, why):
        """Each with what to write instead."""
        with pytest.raises(ValueError) as caught:
            Url(text)
        assert str(caught.value).startswith(why)

    @pytest.mark.parametrize(
        ("host", "is_loopback"),
        [
            ("localhost", True),
            ("LOCALHOST", True),
            ("127.0.0.1", True),
            ("127.255.0.1", True),
            ("[::1]", True),
            ("[0:0:0:0:0:0:0:1]", True),
            ("127.0.0.1.example.com", False),
            ("localhost.example.com", False),
            ("10.0.0.1", False),
            ("0.0.0.0", False),
            ("[::2]", False),
            ("127", False),
        ],
    )
    def test_knows_this_machine(self, host, is_loopback):
        """A name that only looks like an address of this machine is another machine's."""
        assert is_loopback is Url(f"http://{host}/").is_loopback

    @pytest.mark.parametrize(
        ("user", "value"),
        [
            ("", None),
            ("user:password@", "Basic dXNlcjpwYXNzd29yZA=="),
            ("user@", "Basic dXNlcg=="),
            ("us%40er:p%3Ass%20w@", "Basic dXNAZXI6cDpzcyB3"),
        ],
    )
    def test_makes_a_proxy_s_authorization(self, user, value):
        """Of the user and password before the host, percent-decoded."""
        assert value == Url(f"http://{user}proxy.example:3128", may_have_user=True).basic_authorization()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(("mode", "expected"), [(0o644, True), (0o604, True), (0o640, False), (0o600, False)])
def test_a_file_that_all_may_read_is_seen(tmp_path, mode, expected):
    """Group members are the administrator's choice."""
    path = tmp_path / "key"
    path.write_text("k")
    path.chmod(mode)

    assert expected is is_open_to_all(str(path))


def test_a_file_that_is_not_there_is_not_open(tmp_path):
    """Others complain of that."""
    assert not is_open_to_all(str(tmp_path / "none"))
    assert not is_open_to_all("a\0b")


def test_a_secret_text_shows_nothing_inside_anything_printed():
    """Code reads it as any text; a debugger, an error tracker or a dataclass prints three stars."""
    text = SecretText("hunter2")

    assert "hunter2" == text
    assert b"hunter2" == text.encode()
    assert "hunter2" not in f"{text!r} {[text]} {({'a': text},)}"
    assert "'***'" == repr(text)


def test_a_secret_text_is_not_pickled():
    """A copy in this process is itself."""
    text = SecretText("hunter2")

    assert text is copy.deepcopy([text])[0]
    assert text is copy.copy(text)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(text)
