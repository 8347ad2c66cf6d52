"""The documentation says what the code does: examples run, settings and defaults agree, links lead somewhere."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import defender_logging
from defender_logging import ConfigurationError, Stats, cli, settings
from defender_logging._pipeline.integrity import Seal, core_digest, core_text
from defender_logging.destinations.datadog import SITES
from defender_logging.field_names import RESERVED_NAMES
from defender_logging.testing import LocalReceiver

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
NOT_SET = "\N{EN DASH}"

KINDS = {"Splunk": settings.SPLUNK, "Datadog": settings.DATADOG, "generic": settings.GENERIC}
KEYWORDS = {
    "Splunk": settings.SplunkKeywords,
    "Datadog": settings.DatadogKeywords,
    "generic": settings.ApiKeyKeywords,
}
IN_WORDS = {
    "url": "required",
    "api_key": f"required; generic {NOT_SET}",
    "log_types": "all",
    "vocabulary": "the built-in words",
    "redact": "built-in list",
    "host": "the machine's name",
    "site": "`datadoghq.com`",
}
"""Defaults that are no plain value."""


class Block(NamedTuple):
    """One fenced block of a page."""

    info: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, with the words after the opening fence."""
    return [
        Block(*found)
        for found in re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text("utf-8"), re.MULTILINE)
    ]


def python_story(page: Path) -> str:
    """The blocks of a page that are to be run, one after the other."""
    return "\n".join(block.text for block in blocks(page) if block.info == "python")


@pytest.fixture
def receiver():
    """The other end, at which the examples send."""
    with LocalReceiver() as running:
        yield running


def environment_for(receiver):
    """The variables that the examples refer to."""
    return {
        "SPLUNK_URL": receiver.url,
        "SPLUNK_TOKEN": receiver.token,
        "DD_API_KEY": receiver.api_key,
        "ARCHIVE_URL": receiver.generic_url,
        "ARCHIVE_KEY": "a-key",
    }


def run(story, receiver):
    """Run Python text in a process of its own, with warnings as errors."""
    environment = {**os.environ, **environment_for(receiver)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", story],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_example_of_the_readme_delivers(receiver):
    """README's ten lines, as they are, bring one entry to Splunk."""
    example = next(block.text for block in blocks(ROOT / "README.md") if block.info == "python")

    done = run(example, receiver)

    assert (0, "") == (done.returncode, done.stderr)
    assert 10 == len(example.splitlines())
    assert [("alice", "relayer-7")] == [(entry["subject"], entry["object"]) for entry in receiver.entries]


def test_the_readme_has_the_two_commands():
    """The first sh block of README ends in the demo, the second runs the tests; .ci/run takes them from there."""
    demo, tests = [block.text.strip() for block in blocks(ROOT / "README.md") if block.info == "sh"]

    assert demo.endswith("/defender-logging demo")
    assert tests.endswith("/python -m pytest -n 2")
    assert "python3 -m venv .venv" == demo.split(" && ")[0] == tests.split(" && ")[0]


@pytest.mark.parametrize("page", [page for page in DOCS if python_story(page)], ids=lambda page: page.name)
def test_python_examples_run(page, receiver):
    """The python blocks of a page run in their order, without a warning and with nothing on stderr but the trail."""
    done = run(python_story(page), receiver)

    assert 0 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile(page):
    """Those for packages that the tests do not have at least compile."""
    for block in blocks(page):
        if block.info.startswith("python"):
            compile(block.text, page.name, "exec")


def our_handlers(value):
    """Every mapping anywhere in a YAML value that names one of our handlers."""
    if isinstance(value, dict):
        if str(value.get("class", "")).startswith("defender_logging."):
            yield value
        for item in value.values():
            yield from our_handlers(item)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_yaml_examples_are_good_handlers(page, receiver, monkeypatch):
    """Every handler block in YAML is accepted as it stands, but for files that this machine does not have."""
    for name, value in environment_for(receiver).items():
        monkeypatch.setenv(name, value)
    for block in blocks(page):
        if block.info != "yaml":
            continue
        for handler in our_handlers(yaml.safe_load(block.text)):
            problems = problems_of(
                getattr(defender_logging, handler.pop("class").rpartition(".")[2]), handler
            )
            assert [] == [problem for problem in problems if "which cannot be read" not in problem]


def problems_of(kind, given) -> tuple[str, ...]:
    """What a handler class says of its settings."""
    try:
        kind(**given).close()
    except ConfigurationError as error:
        return error.problems
    return ()


def documented_settings() -> dict[str, str]:
    """The settings in the tables of the configuration page, with their default as it is written there."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| .+ \|$", (ROOT / "docs/configuration.md").read_text("utf-8"), re.MULTILINE
    )
    return dict(rows)


def spelled(value) -> str:
    """A default as the configuration page writes it."""
    if value is None or value == () or (isinstance(value, Mapping) and not value):
        return NOT_SET
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"{value:,.0f}" if value == int(value) else f"{value:,}"
    if isinstance(value, str):
        return f"`{getattr(value, 'value', value)}`"
    order = ["trace", "debug", "info", "warn", "error"]
    words = [str(getattr(item, "value", item)) for item in value]
    return ", ".join(sorted(words, key=order.index) if set(words) <= set(order) else words)


def defaults_in_code() -> dict[str, str]:
    """Every setting that a handler takes, with its default as the configuration page should write it."""
    read = {}
    for title, kind in KINDS.items():
        needed = {} if kind is settings.DATADOG else {"url": "https://example.com"}
        needed |= {"api_key": "a-key"} if kind.needs_key else {}
        chosen = settings.read_settings(kind, needed)
        values = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)} | dict(
            chosen.vendor
        )
        values |= {"max_in_flight": 1, "allow_plaintext": False}
        for name in KEYWORDS[title].__annotations__ | settings.CommonKeywords.__annotations__:
            read.setdefault(name, {})[title] = IN_WORDS.get(name) or spelled(values[name])
    together = {}
    for name, by_title in read.items():
        same = len(set(by_title.values())) == 1
        together[name] = (
            next(iter(by_title.values())) if same else "; ".join(f"{t} {d}" for t, d in by_title.items())
        )
    return together


def test_every_setting_is_documented():
    """The configuration page has every setting that a handler takes, and no other."""
    assert set(defaults_in_code()) == set(documented_settings())


@pytest.mark.parametrize("name", sorted(documented_settings()))
def test_documented_defaults_are_right(name):
    """The default of each setting is the one in the code."""
    assert defaults_in_code().get(name) == documented_settings()[name]


def test_settings_of_later_versions_are_named():
    """The configuration page names exactly the settings that are refused as not available yet."""
    section = (ROOT / "docs/configuration.md").read_text("utf-8").split("## Not in this version")[1]

    assert set(settings.LATER) == set(re.findall(r"`(\w+)`", section))


def test_every_count_is_documented():
    """The page about delivery explains every field of ``Stats``."""
    text = (ROOT / "docs/delivery.md").read_text("utf-8")

    assert [] == [field.name for field in dataclasses.fields(Stats) if f"`{field.name}`" not in text]


def statements(page: Path) -> list[str]:
    """The paragraphs, list items and table rows of a page, without headings, heads of tables and fenced blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^#.*$|^\|.*\n\|[-|]+$", "", text, flags=re.MULTILINE)
    return [each.strip() for each in re.split(r"\n\n+|\n(?=[|-])", text) if each.strip()]


TEST_NAMES = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("statement", statements(ROOT / "docs/delivery.md"), ids=lambda text: text[:40])
def test_every_statement_about_delivery_names_its_tests(statement):
    """Each says in a comment behind it which tests show it, and these exist."""
    comments = re.findall(r"<!-- (.*?) -->", statement)
    names = [name for comment in comments for name in comment.split(", ")]

    assert names, statement
    assert [] == [name for name in names if name not in TEST_NAMES]


def test_every_datadog_site_is_documented():
    """The page about Datadog lists every site that the setting takes."""
    text = (ROOT / "docs/datadog.md").read_text("utf-8")

    assert [] == [site for site in SITES.values() if f"`{site}`" not in text]


def test_every_public_name_is_documented():
    """Each name that users import appears in README or a page of the documentation."""
    text = "".join(page.read_text("utf-8") for page in PAGES)

    assert [] == [name for name in defender_logging.__all__ if name != "__version__" and name not in text]


def command_words(parser):
    """Every command and long option of a command line, those of its commands included."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices
            for command in action.choices.values():
                yield from command_words(command)


def test_every_command_is_documented():
    """The page about the command line has every command and every option."""
    text = (ROOT / "docs/command-line.md").read_text("utf-8")

    assert [] == [word for word in sorted(set(command_words(cli._parser()))) if f"`{word}" not in text]


def test_the_form_of_the_hash_is_documented():
    """The example on the page about integrity is right, line by line, and the list of covered fields is whole."""
    page = ROOT / "docs/integrity.md"
    (entry,) = [json.loads(block.text) for block in blocks(page) if block.info == "json"]
    core, digests = [block.text.rstrip("\n") for block in blocks(page) if block.info == "text"]
    parts = entry["prev"].encode(), core_digest(entry), entry["id"].encode()
    listed = re.search(
        r"^1\. Take .*, `hashed` itself, and these: ((?:.*\n)+?)2\. ", page.read_text("utf-8"), re.MULTILINE
    )
    names = set(re.findall(r"`(\w+)`", listed[1])) - {"hashed"}

    assert core == core_text(entry)
    assert digests.split() == [parts[1].decode(), Seal().link(*parts).decode()]
    assert entry["hash"] == Seal("test-key").link(*parts).decode()
    assert RESERVED_NAMES - {"prev", "hash", "id", "stream", "seq"} == names


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every link to a file of this project finds it, and its heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_from_the_readme():
    """Whoever reads README finds every page."""
    text = (ROOT / "README.md").read_text("utf-8")

    assert [] == [page.name for page in DOCS if f"(docs/{page.name})" not in text]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / ".ci/run", ROOT / "pyproject.toml"], ids=lambda page: page.name
)
def test_no_machine_is_named(page):
    """No path or host of the machine that this was written on."""
    text = page.read_text("utf-8")

    assert [] == re.findall(r"(?:^|[\s\"'`(=])/(?:work|tmp|home|root|Users|opt)/\S*", text)
    assert [] == re.findall(r"https?://\S*(?:pypi|index|mirror|proxy)\S*", text)
