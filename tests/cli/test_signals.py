"""SIGTERM unwinds a command, and only while it runs."""

import os
import signal
import sys
import threading

import pytest

from defender_logging.cli.signals import unwinding_on_sigterm


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_unwinds_and_leaves_the_old_way_behind():
    """Inside it raises SystemExit with the code that shells expect; afterwards the old handler is back."""
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit, match="143"), unwinding_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)  # Python runs the handler before this returns.

    assert before == signal.getsignal(signal.SIGTERM)


def test_does_nothing_in_another_thread():
    """Python sets signal handlers in the main thread only; elsewhere the block just runs."""
    ran = []

    def work():
        with unwinding_on_sigterm():
            ran.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)

    assert [signal.getsignal(signal.SIGTERM)] == ran
