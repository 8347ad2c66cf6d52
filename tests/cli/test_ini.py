"""A fileConfig text becomes the mapping that dictConfig takes."""

import pytest

from defender_logging.cli.ini import translate

GOOD = """
[loggers]
keys = root, service
[handlers]
keys = console, splunk, buffer
[formatters]
keys = plain
[formatter_plain]
format = %(levelname)s %(message)s
[logger_root]
level = INFO
handlers = console, buffer
[logger_service]
qualname = my.service
level = DEBUG
handlers =
propagate = 0
[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = plain
[handler_splunk]
class = defender_logging.SplunkHandler
level = WARNING
kwargs = {"url": "https://x.example", "api_key": "env:TOKEN"}
[handler_buffer]
class = handlers.MemoryHandler
args = (10,)
target = splunk
"""


def test_translates_all_sections():
    """Formatters, handlers with their keywords, loggers under their qualnames, and root."""
    config, findings = translate(GOOD)

    assert () == findings
    assert {"plain": {"format": "%(levelname)s %(message)s"}} == config["formatters"]
    assert {"class": "logging.StreamHandler", "formatter": "plain"} == config["handlers"]["console"]
    assert {
        "class": "defender_logging.SplunkHandler",
        "level": "WARNING",
        "url": "https://x.example",
        "api_key": "env:TOKEN",
    } == config["handlers"]["splunk"]
    assert {"class": "logging.handlers.MemoryHandler", "target": "splunk"} == config["handlers"]["buffer"]
    assert {"level": "INFO", "handlers": ["console", "buffer"]} == config["root"]
    assert {"my.service": {"handlers": [], "level": "DEBUG", "propagate": False}} == config["loggers"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[loggers]\nkeys = root, service", "", r"needs a section [loggers]"),
        ("keys = root, service", "keys = service", "'root'"),
        ("[formatters]\nkeys = plain", "", r"needs a section [formatters]"),
        ("keys = console, splunk, buffer", "keys = console, splnk, buffer", r"no section [handler_splnk]"),
        ("class = StreamHandler\n", "", "has no class"),
        ("qualname = my.service\n", "", "has no qualname"),
        ("handlers = console, buffer\n", "", "has no handlers"),
        ("kwargs = {", "args = ('https://x.example',)\nkwargs = {", "args has values"),
        ("kwargs = {", "kwargs = {{", "kwargs is no Python expression"),
        ("level = WARNING", "level = 50%", "write %%"),
    ],
)
def test_finds_what_file_config_would_stumble_over(old, new, words):
    """Each slip is one finding that says what to do."""
    _, findings = translate(GOOD.replace(old, new))

    assert [words] == [words for finding in findings if words in finding.sentence]


def test_quotes_no_expression():
    """Arguments that do not work may hold a key."""
    _, findings = translate(GOOD.replace('"env:TOKEN"}', '"hunter2" + 1}'))

    assert 1 == len(findings)
    assert "hunter2" not in repr(findings)
