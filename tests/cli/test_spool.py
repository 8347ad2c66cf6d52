"""The command spool: on what a process really left that was killed while its receiver was down."""

import json
import select
import subprocess
import sys
import zlib
from types import SimpleNamespace

import pytest

from defender_logging.testing import Answer, HecSettings, LocalReceiver

KEY = "hunter2-hunter2"
SEALED_BY_ANOTHER_RELEASE = b'{"format": 9, "crc32": "%08x", "body": {}}' % zlib.crc32(b"[9,{}]")
COUNT = 20
SERVICE = """
import json, logging, logging.config, sys
from defender_logging import lifecycle
lifecycle._housekeeper.watch = lambda pipeline: None  # It would take over the orphans that the tests are about.
logging.config.dictConfig(json.load(open(sys.argv[1])))
for number in range(int(sys.argv[2])):
    logging.getLogger("service").info("entry %d \\x1b[31m", number, extra={"component": "relay"})
if "--wait" in sys.argv:
    logging.getLogger().handlers[0].flush(10)
print("in memory only:", logging.getLogger().handlers[0]._pipeline.pending_in_memory_only, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def receiver():
    with LocalReceiver(hec=HecSettings(tokens=[KEY], indexes=["main"])) as running:
        running.refuse()
        yield running


@pytest.fixture
def spool_dir(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def splunk(receiver, spool_dir):
    """Settings of a Splunk handler with a spool."""

    def settings(**given):
        return {
            "class": "defender_logging.SplunkHandler",
            "url": receiver.hec_url,
            "api_key": KEY,
            "spool_dir": str(spool_dir),
            **given,
        }

    return settings


@pytest.fixture
def with_splunk(splunk, configuration):
    """Writes a configuration with one Splunk handler that has a spool."""

    def write(name="splunk", **given):
        return configuration({name: splunk(**given)})

    return write


@pytest.fixture
def service(tmp_path):
    """Starts a process that logs and then waits; it is dead at the end of the test."""
    running = []

    def start(handlers, count=COUNT, *options):
        path = tmp_path / f"service-{len(running)}.json"
        root = {"level": "INFO", "handlers": list(handlers)}
        path.write_text(json.dumps({"version": 1, "handlers": handlers, "root": root}), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, path, str(count), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert select.select([process.stdout], [], [], 20)[0], "the service says nothing"
        assert "in memory only: 0\n" == process.stdout.readline()
        return process

    yield start
    for process in running:
        end(process)


def end(process):
    process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()


@pytest.fixture
def orphan(service, splunk, configuration):
    """What a killed service left, and its configuration."""
    handlers = {"splunk": splunk()}
    end(service(handlers))
    return SimpleNamespace(config=configuration(handlers))


@pytest.fixture
def rejected(service, splunk, configuration, receiver):
    """A killed service whose receiver has refused everything for good."""
    receiver.listen()
    receiver.always(Answer(status=400, body={"text": "Invalid data format", "code": 6}))
    handlers = {"splunk": splunk()}
    end(service(handlers, 3, "--wait"))
    receiver.restore()
    return SimpleNamespace(config=configuration(handlers))


def listed(run, where):
    """The streams of the one spool there."""
    return json.loads(run("spool", "list", where, "--json").out)["spools"][0]["streams"]


def test_list_says_what_an_orphan_holds_and_whose_it_is(run, orphan, spool_dir, receiver):
    """Stream, owner, handler without its key, entries, bytes and the oldest entry; a directory tells as much."""
    (stream,) = listed(run, orphan.config)
    of_directory = {**stream, "configured_handler": None}

    assert ("orphan", "splunk", COUNT) == (stream["owner"], stream["configured_handler"], stream["entries"])
    assert ("SplunkHandler", "splunk") == (stream["handler"]["kind"], stream["handler"]["name"])
    assert stream["bytes"] > COUNT * 100
    assert "T" in stream["oldest_time"]
    assert [of_directory] == listed(run, spool_dir)
    result = run("spool", "list", orphan.config)
    assert 0 == result.code
    assert f"{stream['stream']}  orphan  {COUNT} entries" in result.out
    assert KEY not in result.out
    assert "takes it over" not in result.out


def test_list_needs_no_key(run, splunk, service, with_splunk, monkeypatch):
    """A spool is found although its handler cannot be made here, which is told."""
    monkeypatch.setenv("THE_KEY", KEY)
    handlers = {"splunk": splunk(api_key="env:THE_KEY")}
    end(service(handlers))
    monkeypatch.delenv("THE_KEY")

    result = run("spool", "list", with_splunk(api_key="env:THE_KEY"), "--json")

    content = json.loads(result.out)
    assert 1 == result.code
    assert "THE_KEY" in content["problems"][0]
    assert [splunk()["spool_dir"]] == [spool["spool_dir"] for spool in content["spools"]]
    assert [COUNT] == [stream["entries"] for stream in content["spools"][0]["streams"]]


def test_a_running_service_is_left_alone(run, splunk, service, configuration, receiver):
    """Its stream is shown as alive, and neither sent nor discarded, even if named."""
    handlers = {"splunk": splunk()}
    service(handlers)
    config = configuration(handlers)
    (before,) = listed(run, config)
    receiver.black_hole()
    receiver.listen()

    assert "alive" == before["owner"]
    assert "nothing to send" in run("spool", "send", config).out
    named = run("spool", "send", config, "--handler", "splunk", "--stream", before["stream"])
    assert (1, True) == (named.code, "a living process has the stream" in named.out)
    discarded = run("spool", "discard", config, before["stream"], "--yes")
    assert (1, True) == (discarded.code, "a living process has it" in discarded.out)
    assert [before] == listed(run, config)


def test_show_writes_one_readable_line_an_entry(run, orphan):
    """Entries come in order, with control characters escaped."""
    lines = run("spool", "show", orphan.config).out.splitlines()

    assert COUNT == len(lines)
    assert [f"entry {number} \\x1b[31m" for number in range(COUNT)] == [
        line[-len(f"entry {number} \\x1b[31m") :] for number, line in enumerate(lines)
    ]
    assert [] == [line for line in lines if "splunk" not in line or "relay" not in line]


def test_show_writes_json_for_scripts(run, orphan, spool_dir):
    """One object a line says stream, number and entry; a stream may be named."""
    (stream,) = listed(run, spool_dir)

    shown = [
        json.loads(line)
        for line in run("spool", "show", spool_dir, stream["stream"], "--json").out.splitlines()
    ]

    assert [(stream["stream"], seq) for seq in range(1, COUNT + 1)] == [
        (each["stream"], each["seq"]) for each in shown
    ]
    assert ["entry 0 \x1b[31m"] == [shown[0]["entry"]["event"]["message"]]


def test_export_writes_the_entries_as_they_would_be_sent(run, orphan, spool_dir, receiver):
    """The export holds the very entries that arrive when they are sent."""
    exported = [json.loads(line) for line in run("spool", "export", spool_dir).out.splitlines()]
    receiver.listen()
    run("spool", "send", orphan.config)

    assert [each["event"] for each in exported] == [entry.fields for entry in receiver.entries]
    assert COUNT == len(exported)


def test_send_delivers_orphans_and_clears_them_away(run, orphan, spool_dir, receiver):
    """Each entry arrives once, in order, and nothing is left of the stream."""
    (stream,) = listed(run, spool_dir)
    receiver.listen()

    result = run("spool", "send", orphan.config)

    assert (0, "") == (result.code, result.err)
    assert f"delivered {COUNT} of {COUNT} entries" in result.out
    assert [f"{stream['stream']}-{seq}" for seq in range(1, COUNT + 1)] == [
        entry["id"] for entry in receiver.entries
    ]
    assert [] == listed(run, spool_dir)
    assert "nothing to send" in run("spool", "send", orphan.config).out


@pytest.mark.parametrize("trouble", ["refused", "wrong key", "black hole"])
def test_what_cannot_be_sent_stays(run, orphan, spool_dir, receiver, trouble):
    """It gives up in time, says why, and the entries are an orphan's as before."""
    before = listed(run, spool_dir)
    if trouble == "wrong key":
        receiver.hec = HecSettings(tokens=["another-key"])
        receiver.listen()
    elif trouble == "black hole":
        receiver.black_hole()
        receiver.listen()

    result = run("spool", "send", orphan.config, "--timeout", "0.5")

    assert 1 == result.code
    assert f"delivered 0 of {COUNT} entries" in result.out
    assert f"{COUNT} not delivered, still in the spool: " in result.out
    assert KEY not in result.out
    assert ([], before) == (list(receiver.entries), listed(run, spool_dir))


def test_what_was_delivered_before_the_end_is_not_sent_again(run, orphan, receiver, with_splunk):
    """When the receiver fails midway, the second call sends the rest only."""
    config = with_splunk(max_batch_entries=5)
    receiver.script(Answer(), Answer(), Answer(status=403, body="no"))
    receiver.listen()

    first = run("spool", "send", config)
    second = run("spool", "send", config)

    assert (1, 0) == (first.code, second.code)
    assert f"delivered 10 of {COUNT} entries" in first.out
    assert "delivered 10 of 10 entries" in second.out
    assert COUNT == len(receiver.entries) == len({entry["id"] for entry in receiver.entries})


def test_another_index_is_another_account(run, orphan, receiver, with_splunk):
    """An orphan is sent through another handler only if a person names both."""
    config = with_splunk("moved", index="main")
    receiver.listen()
    (stream,) = listed(run, config)

    assert None is stream["configured_handler"]
    assert f"--handler NAME --stream {stream['stream']}" in run("spool", "list", config).out
    assert "nothing to send" in run("spool", "send", config).out
    assert 2 == run("spool", "send", config, "--stream", stream["stream"]).code
    assert [] == list(receiver.entries)
    result = run("spool", "send", config, "--handler", "moved", "--stream", stream["stream"])
    assert (0, COUNT) == (result.code, len(receiver.entries))
    assert [] == listed(run, config)


def test_a_stream_does_not_go_to_a_handler_of_another_kind(run, orphan, spool_dir, receiver, configuration):
    """Its entries have Splunk's form, which no other receiver reads."""
    (stream,) = listed(run, spool_dir)
    own = {
        "class": "defender_logging.ApiKeyHandler",
        "url": receiver.generic_url,
        "spool_dir": str(spool_dir),
    }

    result = run(
        "spool", "send", configuration({"own": own}), "--handler", "own", "--stream", stream["stream"]
    )

    assert (2, True) == (result.code, "written for a SplunkHandler" in result.err)


def test_dead_letters_are_shown_sent_and_gone(run, rejected, spool_dir, receiver):
    """They are listed, shown with the answer, exported, sent only on request, and then cleared away."""
    (stream,) = listed(run, spool_dir)
    shown = run("spool", "show", spool_dir, "--dead-letters").out.splitlines()
    exported = run("spool", "export", spool_dir, "--dead-letters").out.splitlines()

    assert (0, 3) == (stream["entries"], stream["dead_letters"])
    assert (3, []) == (len(shown), [line for line in shown if "HEC code 6" not in line])
    assert "" == run("spool", "show", spool_dir).out
    assert "nothing to send" in run("spool", "send", rejected.config).out
    result = run("spool", "send", rejected.config, "--dead-letters")
    assert (0, True) == (result.code, "delivered 3 of 3 entries" in result.out)
    assert [json.loads(line)["event"]["id"] for line in exported] == [
        entry["id"] for entry in receiver.entries
    ]
    assert [] == listed(run, spool_dir)


def test_a_dead_letter_that_is_refused_again_stays(run, rejected, spool_dir, receiver):
    """It is still there once, and the command says so."""
    receiver.always(Answer(status=400, body={"text": "Invalid data format", "code": 6}))

    result = run("spool", "send", rejected.config, "--dead-letters")

    assert 1 == result.code
    assert "3 refused for good, kept as dead letters" in result.out
    assert [3] == [stream["dead_letters"] for stream in listed(run, spool_dir)]


def test_dead_letters_of_a_running_service_can_be_sent(run, splunk, service, with_splunk, receiver):
    """They are struck out beside their owner, which goes on."""
    receiver.listen()
    receiver.always(Answer(status=400, body={"text": "Invalid data format", "code": 6}))
    service({"splunk": splunk()}, 3, "--wait")
    receiver.restore()
    config = with_splunk()
    (stream,) = listed(run, config)

    result = run(
        "spool", "send", config, "--dead-letters", "--handler", "splunk", "--stream", stream["stream"]
    )

    assert (0, 3) == (result.code, len(receiver.entries))
    assert [("alive", 0)] == [(stream["owner"], stream["dead_letters"]) for stream in listed(run, config)]


def test_discard_deletes_the_streams_named(run, orphan, spool_dir):
    """Nothing is left of it; without --yes and a terminal it does not begin."""
    (stream,) = listed(run, spool_dir)

    refused = run("spool", "discard", spool_dir, stream["stream"])
    assert (2, True) == (refused.code, "give --yes" in refused.err)
    assert [stream] == listed(run, spool_dir)
    assert 0 == run("spool", "discard", spool_dir, stream["stream"], "--yes").code
    assert [] == listed(run, spool_dir)


@pytest.mark.parametrize(
    ("answer", "code_and_left"), [("y\n", (0, 0)), ("n\n", (1, 1)), ("\n", (1, 1)), ("", (1, 1))]
)
def test_discard_asks_on_a_terminal(run, orphan, monkeypatch, answer, code_and_left):
    """Only a yes deletes."""
    (stream,) = listed(run, orphan.config)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: answer))

    result = run("spool", "discard", orphan.config, stream["stream"])

    assert code_and_left == (result.code, len(listed(run, orphan.config)))
    assert f"Discard {COUNT} entries and no dead letters of 1 stream for good?" in result.out


def test_discard_dead_letters_leaves_entries(run, orphan, rejected, spool_dir):
    """Only the letters go, and a stream that is empty then."""
    assert 0 == run("spool", "discard", spool_dir, "--dead-letters", "--yes").code
    assert [(COUNT, 0)] == [(stream["entries"], stream["dead_letters"]) for stream in listed(run, spool_dir)]
    assert "nothing to discard" in run("spool", "discard", spool_dir, "--dead-letters", "--yes").out


def test_what_another_release_wrote_is_told_and_kept(run, orphan, spool_dir):
    """An unknown format is a finding, and is neither sent nor discarded."""
    (stream,) = listed(run, spool_dir)
    (spool_dir / stream["stream"] / "meta.json").write_bytes(SEALED_BY_ANOTHER_RELEASE)
    content = {path.name: path.read_bytes() for path in (spool_dir / stream["stream"]).iterdir()}

    results = [
        run("spool", *arguments)
        for arguments in (
            ("list", spool_dir),
            ("show", spool_dir),
            ("send", orphan.config),
            ("discard", spool_dir, stream["stream"], "--yes"),
        )
    ]

    assert [1] * 4 == [result.code for result in results]
    assert [] == [result for result in results if "format 9" not in result.out + result.err]
    assert content == {path.name: path.read_bytes() for path in (spool_dir / stream["stream"]).iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "nowhere"), "there is no file"),
        (("list", "."), "is not a spool"),
        (("list", "plain.json"), "has a spool_dir"),
        (("send", "plain.json"), "no spool_dir"),
        (("send", "plain.json", "--handler", "spluk"), "did you mean"),
        (("send", "."), "is a folder"),
        (("show", "empty", "STREAM"), "has no stream"),
        (("discard", "empty"), "name the streams"),
    ],
)
def test_what_it_cannot_begin_with(run, tmp_path, configuration, arguments, words):
    """A usage error is one sentence on stderr, and code 2."""
    (tmp_path / "empty").mkdir()
    block = {"class": "defender_logging.ApiKeyHandler", "url": "http://127.0.0.1:1"}
    configuration({"splunk": block}).rename(tmp_path / "plain.json")

    result = run("spool", *arguments)

    assert (2, "") == (result.code, result.out)
    assert words in result.err


def test_an_empty_spool_is_good(run, with_splunk, spool_dir):
    """Where nothing was ever written, nothing is made, and nothing is wrong."""
    config = with_splunk()

    assert [0, 0, 0, 0] == [run("spool", verb, config).code for verb in ("list", "show", "export", "send")]
    assert not spool_dir.exists()


def test_check_tells_about_the_spool(run, orphan, spool_dir):
    """Where it is, its bound, what is in it, and what a restart does."""
    out = run("check", orphan.config).out

    assert f"in {str(spool_dir)!r}, up to 1073.7 MB over all its streams (now " in out
    assert "the next start of a handler with this address" in out
