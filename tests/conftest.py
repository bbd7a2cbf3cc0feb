"""What all tests need of the process that they run in."""

from __future__ import annotations

import signal

from hypothesis import settings


def pytest_configure() -> None:
    """Ctrl-C works in the tests even where they were started in the background.

    A shell without job control has its background jobs ignore SIGINT, and what they start
    inherits that: a test that interrupts something would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# These machines are shared: how long an example takes says nothing about the code.
settings.register_profile("farm", deadline=None)
settings.load_profile("farm")
