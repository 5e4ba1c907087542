"""The pytest plugin: its hooks and fixtures, as pytest finds them by the entry point.

Nothing here or in what it imports needs torch or Foolbox: they come with the first contract that
runs.
"""

from pytest_aerobust.plugin.fixtures import (
    _aerobust_case,
    aerobust_bounds,
    aerobust_data,
    aerobust_filter,
    aerobust_model,
    aerobust_mutable,
    aerobust_unfiltered_model,
    robustness,
)
from pytest_aerobust.plugin.hooks import (
    pytest_addoption,
    pytest_cmdline_main,
    pytest_collection_finish,
    pytest_configure,
    pytest_load_initial_conftests,
    pytest_make_collect_report,
    pytest_pyfunc_call,
    pytest_report_header,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)
from pytest_aerobust.plugin.items import (
    pytest_collection_modifyitems,
    pytest_generate_tests,
    pytest_runtest_call,
)

__all__ = [
    "_aerobust_case",
    "aerobust_bounds",
    "aerobust_data",
    "aerobust_filter",
    "aerobust_model",
    "aerobust_mutable",
    "aerobust_unfiltered_model",
    "pytest_addoption",
    "pytest_cmdline_main",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_load_initial_conftests",
    "pytest_make_collect_report",
    "pytest_pyfunc_call",
    "pytest_report_header",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "robustness",
]
