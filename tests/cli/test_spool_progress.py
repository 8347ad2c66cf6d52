"""The progress bar: drawn over itself on a terminal, and silent elsewhere."""

import io

from defender_logging.cli.spool_progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_draws_over_itself_and_clears_up():
    """Each step starts at the line's beginning, covers the one before, and is drawn once."""
    stream = Terminal()
    progress = Progress(stream)

    progress.show("a\x1b", 5, 1000)
    progress.show("a\x1b", 5, 1000)
    progress.show("a\x1b", 1000, 1000)
    progress.clear()
    progress.clear()

    first, full = f"a\\x1b [{'.' * 30}] 5 of 1,000", f"a\\x1b [{'#' * 30}] 1,000 of 1,000"
    assert f"\r{first}\r{full}\r{' ' * len(full)}\r" == stream.getvalue()


def test_writes_nothing_where_there_is_no_terminal():
    """A log file of a cron job gets no bar."""
    stream = io.StringIO()
    progress = Progress(stream)

    progress.show("a", 1, 2)
    progress.clear()

    assert "" == stream.getvalue()


def test_a_shorter_text_covers_a_longer_one():
    """No rest of the text before is left."""
    stream = Terminal()
    progress = Progress(stream)

    progress.show("long name", 1, 2)
    progress.show("x", 1, 2)

    first, second = stream.getvalue().split("\r")[1:]
    assert len(first) == len(second)
