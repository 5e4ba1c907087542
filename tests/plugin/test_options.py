"""Options: what each does, what it refuses, and which place wins."""

import pytest

CONTRACT = """
    @robust("bim", 0.1, min_acc=0.5)
    def test_contract(robustness):
        evaluation = robustness()
        print("seed", evaluation.seed)
"""


def _row(suite, result):
    (row,) = suite.measured(result).values()
    return row


def test_samples_draws_a_stratified_subset(suite):
    """--aerobust-samples takes that many, equally of equal classes, and the section says so."""
    suite.conftest("""
        labels_seen = []

        class Counting(Border):
            def forward(self, x):
                labels_seen.append((x[:, 0] > 0.5).long().tolist())
                return super().forward(x)

        @pytest.fixture
        def aerobust_model():
            return Counting()

        def pytest_unconfigure(config):
            (config.rootpath / "seen").write_text(repr(labels_seen[0]))
    """)
    suite.tests(CONTRACT)
    result = suite.run("--aerobust-samples=4", "--aerobust-no-cache")
    result.assert_outcomes(passed=1)
    assert _row(suite, result)["samples"] == 4
    assert (suite.path / "seen").read_text() == "[0, 0, 1, 1]"
    result.stdout.fnmatch_lines(["note: 4 of 10 samples drawn, stratified, seed 0"])


def test_more_samples_than_there_are_take_all(suite):
    """--aerobust-samples above the data's size takes all, without a note."""
    suite.tests(CONTRACT)
    result = suite.run("--aerobust-samples=1000")
    assert _row(suite, result)["samples"] == 10
    result.stdout.no_fnmatch_line("*samples drawn*")


def test_the_seed_decides_which_samples_are_drawn(suite):
    """One seed draws the same samples again; among several seeds some draw others."""
    suite.tests(CONTRACT)

    def accuracy(seed):
        row = _row(suite, suite.run("--aerobust-samples=4", f"--aerobust-seed={seed}"))
        return row["unfiltered_accuracy_low"]

    found = [accuracy(seed) for seed in range(6)]
    assert found == [accuracy(seed) for seed in range(6)]
    assert len(set(found)) > 1


def test_full_gives_numbers_instead_of_bounds(suite):
    """--aerobust-full attacks every sample, where a run may otherwise stop early."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.5, data="many")
        def test_contract():
            pass
    """)
    early, full = _row(suite, suite.run()), _row(suite, suite.run("--aerobust-full"))
    assert early["unfiltered_accuracy_low"] < 0.8 < early["unfiltered_accuracy_high"]
    assert full["unfiltered_accuracy_low"] == full["unfiltered_accuracy_high"] == 0.8
    assert early["verdict"] == full["verdict"] == "passed"


PLACES = {
    "command line": (("--aerobust-samples=4", "--aerobust-seed=1"), True, True, (4, 1)),
    "mark": ((), True, True, (6, 2)),
    "ini file": ((), False, True, (8, 3)),
    "default": ((), False, False, (10, 0)),
}


@pytest.mark.parametrize("winner", PLACES)
def test_costs_come_from_the_nearest_place(suite, winner):
    """Samples and seed: command line before mark before ini file before default."""
    options, marked, in_ini, expected = PLACES[winner]
    if in_ini:
        suite.write("pytest.ini", "[pytest]\naerobust_samples = 8\naerobust_seed = 3\n")
    costs = ", samples=6, seed=2" if marked else ""
    suite.tests(CONTRACT.replace("min_acc=0.5", f"min_acc=0.5{costs}"))
    result = suite.run("-s", *options)
    samples, seed = expected
    assert _row(suite, result)["samples"] == samples
    result.stdout.fnmatch_lines([f"*seed {seed}"])


def test_a_mark_may_state_one_cost_and_the_command_line_another(suite):
    """Each cost finds its own place: samples from the mark, the seed from the command line."""
    suite.tests(CONTRACT.replace("min_acc=0.5", "min_acc=0.5, samples=6, seed=2"))
    result = suite.run("-s", "--aerobust-seed=5")
    assert _row(suite, result)["samples"] == 6
    result.stdout.fnmatch_lines(["*seed 5"])


def test_floors_of_the_ini_file_serve_marks_without_any(suite):
    """`aerobust_min_acc` is the floor of a mark that states none, and it can break."""
    suite.write("pytest.ini", "[pytest]\naerobust_min_acc = 0.9\n")
    suite.tests("""
        @robust("bim", [0.02, 0.1])
        def test_contract():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    assert suite.failure(result).startswith("robust accuracy 0.800 < min_acc 0.900")


def test_a_floor_of_the_mark_wins_over_the_ini_file(suite):
    """A mark's own floor replaces that of the ini file."""
    suite.write("pytest.ini", "[pytest]\naerobust_min_acc = 0.9\n")
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.7)
        def test_contract():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert _row(suite, result)["min_acc"] == 0.7


def test_a_floor_of_the_ini_file_adds_to_another_of_the_mark(suite):
    """A mark with another floor keeps the ini file's demand: mark before ini, floor by floor."""
    suite.write("pytest.ini", "[pytest]\naerobust_min_acc = 0.9\n")
    suite.tests("""
        @robust("bim", 0.1, max_drop=0.5)
        def test_contract():
            pass
    """)
    suite.run().assert_outcomes(failed=1)


def test_the_threat_of_the_ini_file(suite):
    """`aerobust_threat` serves marks without a threat, as far as it fits the attack."""
    suite.write("pytest.ini", "[pytest]\naerobust_threat = white-box\n")
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.5)
        @robust("bim", 0.04, min_acc=0.5, threat="gray-box", filter="identity")
        @robust("LinfAdditiveUniformNoiseAttack", 0.02, min_acc=0.5)
        def test_contract():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=3)
    assert sorted(row["threat"] for row in suite.measured(result).values()) == [
        "black-box",
        "gray-box",
        "white-box",
    ]


def test_gray_box_in_the_ini_file_serves_the_filtered_contracts(suite):
    """`aerobust_threat = gray-box` applies to contracts with a filter, and hurts none without."""
    suite.write("pytest.ini", "[pytest]\naerobust_threat = gray-box\n")
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.5, filter="identity")
        @robust("bim", 0.02, min_acc=0.5, filter=None)
        @robust("bim", 0.02, min_acc=0.5)
        def test_contract():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=3)
    threats = sorted(row["threat"] for row in suite.measured(result).values())
    assert threats == ["gray-box", "white-box", "white-box"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--aerobust-samples=0", "samples=0: expected a whole number of at least 1"),
        ("--aerobust-samples=-3", "samples=-3: expected a whole number of at least 1"),
        ("--aerobust-samples=few", "argument --aerobust-samples: invalid int value: 'few'"),
        ("--aerobust-seed=-1", "seed=-1: expected a whole number of at least 0"),
        ("--aerobust-seed=x", "argument --aerobust-seed: invalid int value: 'x'"),
    ],
)
def test_an_option_that_cant_be_meant_is_a_usage_error(suite, option, words):
    """A wrong value on the command line stops the run at once, and names the option's value."""
    suite.tests(CONTRACT)
    result = suite.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("aerobust_samples = 0", "samples=0: expected a whole number of at least 1"),
        ("aerobust_min_acc = 90", "min_acc=90 is outside [[]0, 1[]]; did you mean 0.9?"),
        ("aerobust_threat = whitebox", "threat='whitebox' is unknown: did you mean white-box*"),
    ],
)
def test_an_ini_value_that_cant_be_meant_is_a_usage_error(suite, line, words):
    """A wrong value in the ini file stops the run, with what was expected."""
    suite.write("pytest.ini", f"[pytest]\n{line}\n")
    suite.tests(CONTRACT)
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*aerobust options: {words}*"])


@pytest.mark.parametrize(
    "line", ["aerobust_samples = few", "aerobust_seed = 1.5", "aerobust_min_acc = high"]
)
def test_an_ini_value_of_another_type_is_a_usage_error(suite, line):
    """Words where a number belongs are a usage error that names the key, not an internal one."""
    suite.write("pytest.ini", f"[pytest]\n{line}\n")
    suite.tests(CONTRACT)
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert line.split()[0] in result.stderr.str() + result.stdout.str()
    assert "INTERNALERROR" not in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_named(suite, device):
    """A device that can't be used fails the contract with the name and the way out."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.5)
        def test_contract():
            pass
    """)
    result = suite.run(f"--aerobust-device={device}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "passed" not in result.parseoutcomes()
    result.stdout.fnmatch_lines(
        [
            f"*device='{device}' is not usable here:*Leave the device out*",
            f"* test_suite.py::test_contract* - *device='{device}' is not usable here*",
        ]
    )


def test_the_device_of_the_command_line_is_used(suite):
    """--aerobust-device moves model and data, and the model comes back."""
    suite.conftest("""
        @pytest.fixture
        def aerobust_model():
            model = Border()
            yield model
            assert model.scale.device.type == "cpu"
    """)
    suite.tests(CONTRACT)
    suite.run("--aerobust-device=cpu").assert_outcomes(passed=1)


def test_the_device_of_the_command_line_wins(suite):
    """--aerobust-device replaces `aerobust_device` of the ini file."""
    suite.write("pytest.ini", "[pytest]\naerobust_device = nonsense\n")
    suite.tests(CONTRACT)
    assert "device='nonsense' is not usable" in suite.failure(suite.run())
    suite.run("--aerobust-device=cpu").assert_outcomes(passed=1)


def test_help_shows_the_options(suite):
    """`--help` lists every option and every ini key with a sentence."""
    text = suite.plain_run("--help").stdout.str()
    for option in ("--aerobust", "--no-aerobust", "--aerobust-samples=N", "--aerobust-seed=SEED"):
        assert option in text
    for option in ("--aerobust-device=DEVICE", "--aerobust-full", "aerobust_min_acc (float)"):
        assert option in text
