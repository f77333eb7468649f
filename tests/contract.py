"""Runs Twisted's own tests of its TCP and UNIX transports with each of them adopted by the hub.

    python tests/contract.py

They are for each reactor that the system has. Twisted's tests need PyHamcrest. Fails if any of them fails but those
that are named here, with the reason, and also if one of these does not fail.
"""

import os
import sys
import tempfile
from collections.abc import Iterator

from twisted.internet import tcp, unix
from twisted.logger import globalLogBeginner
from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader

from wsock.wire import adoption

SUITES = ("twisted.internet.test.test_tcp", "twisted.internet.test.test_unix")
#: The tests that fail, by their names in Twisted.
DIFFERENT = {
    "test_logPrefix": "in callbacks the prefix is the hub's",
    "test_resumeProducing": "the reactor's getReaders() has the hub, and not its transports",
}
#: How many transports were adopted.
adopted = 0


def adopt_at_once(kind: type) -> None:
    """Has transports of a kind adopted when they begin to be read."""
    begin = kind.startReading

    def start_reading(self: object) -> None:
        global adopted
        begin(self)
        if type(self) is kind:
            adopted += adoption.adopt(self)

    kind.startReading = start_reading


def failed(result: TestResult) -> Iterator[tuple[str, str]]:
    for test, failure in (*result.failures, *result.errors):
        yield test.id(), str(failure)


def main(folder: str) -> None:
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    for kind in (tcp.Server, tcp.Client, unix.Server, unix.Client):
        adopt_at_once(kind)
    different = set()
    wrong = []
    # They leave files in the folder that they run in.
    os.chdir(folder)
    for suite in SUITES:
        result = TestResult()
        TestLoader().loadByName(suite).run(result)
        print(f"{suite}: {result.successes} passed, {len(result.skips)} skipped")
        for name, failure in failed(result):
            if name.rpartition(".")[2] in DIFFERENT:
                different.add(name.rpartition(".")[2])
            else:
                wrong.append(f"{name}\n{failure}")
    print(f"{adopted} transports were adopted; different, as they should be: {', '.join(sorted(different))}")
    if wrong:
        sys.exit("\n\n".join(wrong))
    if different != set(DIFFERENT) or not adopted:
        sys.exit("fewer differ than are named")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
