"""The paper's setting as fixtures, and the page that is written from what the contracts measured.

``pytest examples/paper --aerobust`` trains and attacks on MNIST; ``--paper=digits`` on
scikit-learn's bundled digits, in two minutes. Checkpoints are kept: a second run trains nothing.
"""

from pathlib import Path

import pytest
from cells import cell_of
from trained import CLASSIFIERS, FILTERS, PROFILES, Trained


def pytest_addoption(parser):
    group = parser.getgroup("paper", "the source paper, reproduced")
    group.addoption(
        "--paper", choices=sorted(PROFILES), default="mnist", help="data set (default: mnist)"
    )
    group.addoption(
        "--paper-page", metavar="FILE", help="where the page goes (default: paper-<data set>.html)"
    )


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # under xdist, the controller writes the page
        config.pluginmanager.register(Results(config), "paper-results")


class Results:
    """Gathers what the contracts measured, whichever process measured it."""

    def __init__(self, config):
        self._config, self._cells = config, []

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "aerobust"):
            self._cells.append(cell_of(report))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self):
        if self._cells:
            # Here, because a run that only collects needs none of it.
            from page import write_page

            name = self._config.option.paper
            path = Path(self._config.option.paper_page or f"paper-{name}.html").resolve()
            write_page(path, Trained(PROFILES[name]), self._cells)
            terminal = self._config.pluginmanager.getplugin("terminalreporter")
            terminal.write_line(f"\nthe page: {path}")


@pytest.fixture(scope="session")
def trained(request):
    """Filters and classifiers, trained on first use with their progress on the terminal."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    profile = PROFILES[request.config.option.paper]
    return Trained(profile, capture.global_and_fixture_disabled)


@pytest.fixture(scope="session")
def aerobust_data(trained):
    """Test images and labels."""
    return trained.data.test_arrays()


@pytest.fixture(scope="session", params=CLASSIFIERS)
def kind(request):
    """Which of the paper's two families of classifiers."""
    return request.param


@pytest.fixture(scope="session", params=FILTERS)
def variant(request):
    """Which of the paper's four autoencoders."""
    return request.param


@pytest.fixture(scope="session")
def aerobust_filter(trained, variant):
    """The autoencoder, trained as in the paper."""
    return trained.filter(variant)


@pytest.fixture(scope="session")
def aerobust_model(trained, kind, aerobust_filter):
    """The classifier that is deployed: trained on what the filter puts out."""
    return trained.classifier(kind, aerobust_filter)


@pytest.fixture(scope="session")
def aerobust_unfiltered_model(trained, kind):
    """The classifier of the bare side: trained on the images themselves."""
    return trained.classifier(kind, None)


@pytest.fixture(scope="session")
def bare(aerobust_unfiltered_model):
    """The same, under a name that a contract can give as its model."""
    return aerobust_unfiltered_model


@pytest.fixture(autouse=True)
def _told(request, record_property):
    """Says in the results which classifier and which filter a contract was about."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    for name in ("kind", "variant"):
        if name in parameters:
            record_property(name, parameters[name])
