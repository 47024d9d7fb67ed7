"""Fixtures: the built program and a scripted provider behind it."""

import pytest

from gateway import BINARY, Gateway, provider
from simulated import PROVIDERS
from upstream import Upstream


def pytest_addoption(parser):
    parser.addoption("--write-matrix", action="store_true", help="write docs/MATRIX.md anew")


def pytest_configure():
    for it in (BINARY, PROVIDERS):
        if not it.is_file():
            pytest.exit(f"{it} is missing; build it first (scripts/test.sh does)", 3)


MEASURED = pytest.StashKey[list]()


@pytest.fixture
def report(pytestconfig):
    """Adds a line to the end of the test report."""
    return pytestconfig.stash.setdefault(MEASURED, []).append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(MEASURED, []):
        terminalreporter.write_line(f"measured: {line}")


def pytest_report_header():
    return f"binary: {BINARY}"


@pytest.fixture
def upstream():
    """A scripted provider."""
    it = Upstream()
    yield it
    it.close()


@pytest.fixture
def start():
    """Starts gateways that end with the test."""
    started = []

    def start(*args, **options):
        started.append(Gateway(*args, **options))
        return started[-1]

    yield start
    for it in started:
        it.close()


@pytest.fixture
def gateway(start, upstream):
    """A gateway in front of `upstream` alone, as provider `solo` with models `m` and `maker/m`."""
    return start(providers=[provider("solo", upstream.url(), "m", "maker/m")])


@pytest.fixture
def client(gateway):
    """The official client of `gateway`, without retries of its own."""
    with gateway.client() as it:
        yield it


@pytest.fixture(scope="module")
def demo():
    """A demo, shared by the tests of a module."""
    it = Gateway()
    yield it
    it.close()
