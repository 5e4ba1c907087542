"""The options of the command line and the keys of the ini file."""

import argparse

import pytest

# The floors that make sense for every contract; a gain needs a filter, target hits a target.
INI_FLOORS = ("min_acc", "max_drop", "min_clean_acc", "max_regression")

DEFAULT_BASELINE = "aerobust-baseline.json"

# Files about a whole run: the format, and what its option promises.
REPORTS = {
    "json": "write every contract's result into this file, as JSON of a versioned schema",
    "markdown": "write a summary for CI job pages into this file",
    "html": "write one self-contained page into this file (needs pytest-aerobust[html])",
}


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("aerobust", "robustness contracts (pytest-aerobust)")
    group.addoption(
        "--aerobust",
        action="store_true",
        default=None,
        help="check robustness contracts; without it their tests are skipped",
    )
    group.addoption(
        "--no-aerobust",
        action="store_false",
        dest="aerobust",
        help="skip robustness contracts although the ini file says aerobust = true",
    )
    group.addoption(
        "--aerobust-samples",
        type=int,
        metavar="N",
        help="attack N samples, drawn by seed and stratified by label (default: all)",
    )
    group.addoption(
        "--aerobust-seed",
        type=int,
        metavar="SEED",
        help="seed of random starts and draws (default: 0)",
    )
    group.addoption(
        "--aerobust-device",
        metavar="DEVICE",
        help="run on this device, such as cpu or cuda:0 (default: where the model is)",
    )
    group.addoption(
        "--aerobust-profile",
        metavar="NAME",
        help="what this run may cost: quick (200 samples, 3 budgets), full, or a profile of the "
        "ini key aerobust_profiles",
    )
    group.addoption(
        "--aerobust-full",
        action="store_true",
        help="attack every sample even when the verdict is already certain",
    )
    group.addoption(
        "--aerobust-no-cache",
        action="store_true",
        help="measure everything anew and keep nothing for later runs",
    )
    group.addoption(
        "--aerobust-max-regression",
        metavar="SHARE",
        help="most accuracy under attack that contracts may lose against the baseline, in [0, 1] "
        "(such as 0.02), where their mark does not say",
    )
    group.addoption(
        "--aerobust-update",
        nargs="?",
        const="all",
        metavar="new",
        help="write what this run measures into the baseline, for review and commit; =new only "
        "adds missing entries",
    )
    group.addoption(
        "--aerobust-prune",
        action="store_const",
        const="gone",
        help="remove entries of the baseline whose tests are gone",
    )
    group.addoption(
        "--aerobust-prune-all",
        action="store_const",
        const="all",
        dest="aerobust_prune",
        help="also remove those whose functions are still there, but without such a test",
    )
    group.addoption(
        "--aerobust-strict",
        action="store_true",
        help="fail contracts with max_regression that the baseline has no fitting entry for",
    )
    group.addoption(
        "--aerobust-examples",
        metavar="DIR",
        help="write the worst counterexamples of each failing contract into this folder",
    )
    group.addoption(
        "--aerobust-attacks",
        action="store_true",
        help="print the attacks that a contract can name, and exit",
    )
    for name, promise in REPORTS.items():
        group.addoption(f"--aerobust-{name}", metavar="FILE", help=promise)
    # What `python -m pytest_aerobust replay` runs.
    group.addoption("--aerobust-replay", metavar="PATH", help=argparse.SUPPRESS)
    parser.addini("aerobust", "check robustness contracts (bool)", type="bool", default=None)
    parser.addini("aerobust_samples", "as --aerobust-samples (int)", type="int", default=None)
    parser.addini("aerobust_seed", "as --aerobust-seed (int)", type="int", default=None)
    parser.addini("aerobust_device", "as --aerobust-device", type="string", default=None)
    parser.addini(
        "aerobust_examples",
        "as --aerobust-examples, relative to the ini file",
        type="string",
        default=None,
    )
    parser.addini(
        "aerobust_baseline",
        f"file of the baseline, relative to the ini file (default: {DEFAULT_BASELINE})",
        default=DEFAULT_BASELINE,
    )
    parser.addini(
        "aerobust_memory",
        "folder of adversarial examples of earlier runs, committed with the suite, relative to the "
        "ini file",
        type="string",
        default=None,
    )
    parser.addini("aerobust_profile", "as --aerobust-profile", type="string", default=None)
    parser.addini(
        "aerobust_profiles",
        "profiles, one a line: a name, a colon, and some of samples=, steps= and budgets=",
        type="linelist",
    )
    parser.addini("aerobust_threat", "threat where a mark states none", default=None)
    for name in INI_FLOORS:
        parser.addini(
            f"aerobust_{name}",
            f"{name} for marks that state no floor (float)",
            type="float",
            default=None,
        )
