"""The cache: an unchanged contract is answered at once, and a changed one never."""

import json

import pytest

from pytest_aerobust.history.cache import measurements

MODEL = """
    import json
    from pathlib import Path

    TOLD = json.loads(Path(__file__).with_name("told.json").read_text())


    class Shifted(Border):
        def forward(self, x):
            return super().forward(x) * TOLD.get("factor", 1)


    @pytest.fixture(scope="session")
    def aerobust_model():
        model = Border(shift=TOLD.get("shift", 0.0), scale=TOLD.get("scale", 1.0))
        if "class" in TOLD:
            model.__class__ = Shifted
        return model


    @pytest.fixture(scope="session")
    def aerobust_data():
        inputs, labels = samples(TOLD.get("copies", 4))
        order = torch.randperm(len(labels)) if "shuffle" in TOLD else torch.arange(len(labels))
        return inputs[order], labels[order]
"""


@pytest.fixture
def told(suite):
    """A suite whose model and data follow a file that the cache does not know of."""
    suite.conftest(MODEL)

    def tell(**changes):
        suite.write("told.json", json.dumps(changes))

    tell()
    suite.tests("""
        @robust("bim", eps=0.2, min_acc=0.5)
        def test_it():
            pass
    """)
    return tell


def cached(suite, *options):
    """Whether each contract came from the cache, and the first lines of all failures."""
    result = suite.run(*options)
    return ["cached" in row for row in suite.measured(result).values()], result


def numbers(result, suite):
    return {
        name: {key: value for key, value in row.items() if key not in ("cached", "seconds")}
        for name, row in suite.measured(result).items()
    }


def test_an_unchanged_contract_is_answered(suite, told):
    """The second run measures nothing, says so, and tells the same numbers."""
    first, before = cached(suite)
    again, after = cached(suite)
    assert (first, again) == ([False], [True])
    assert numbers(before, suite) == numbers(after, suite)
    after.stdout.fnmatch_lines(["test_it*passed*cached"])


@pytest.mark.parametrize(
    "change",
    [
        {"shift": 0.01},
        {"scale": 2.0},
        {"class": 1},
        {"copies": 5},
    ],
)
def test_another_model_or_other_data_are_measured(suite, told, change):
    """A weight, an attribute, the class, a sample more: nothing old is believed
    (BAD INPUTS 1.10).
    """
    cached(suite)
    told(**change)
    assert cached(suite)[0] == [False]
    assert cached(suite)[0] == [True]


def test_what_only_answers_tell_is_seen(suite, told):
    """A number that the code reads from elsewhere changes the answers, and so the result is new
    (BAD INPUTS 1.10).
    """
    told(**{"class": 1})
    cached(suite)
    told(**{"class": 1, "factor": 3})
    assert cached(suite)[0] == [False]


@pytest.mark.parametrize(
    ("mark", "known"),
    [
        ('"bim", eps=0.2, min_acc=0.55', True),
        ('"bim", eps=0.2, min_acc=0.9', True),
        ('"bim", eps=0.2, max_drop=0.5', True),
        ('"bim", eps=0.21, min_acc=0.5', False),
        ('"bim", eps=0.2, steps=9, min_acc=0.5', False),
        ('"bim", eps=0.2, min_acc=0.5, seed=1', False),
        ('"bim", eps=0.2, min_acc=0.5, bounds=(-1, 1)', False),
        ('"bim", eps=0.2, min_acc=0.5, mean=0.0', False),
        ('"bim", eps=0.2, min_acc=0.5, waive={"noise": "why not"}', False),
        ('"bim", eps=0.2, min_acc=0.5, samples=20', False),
        ('"fgsm", eps=0.2, min_acc=0.5', False),
    ],
)
def test_floors_are_no_part_of_a_measurement(suite, told, mark, known):
    """Another floor is held against what is kept; whatever the numbers depend on is measured."""
    cached(suite)
    suite.tests(f"""
        @robust({mark})
        def test_it():
            pass
    """)
    assert cached(suite)[0] == [known]


def test_an_interval_answers_only_what_it_decides(suite):
    """A run that stopped early knows that 0.95 is broken, too, and not whether 0.3 holds."""
    test = """
        @robust("bim", eps=0.2, min_acc={}, data="many")
        def test_it():
            pass
    """
    suite.tests(test.format(0.9))
    suite.run().assert_outcomes(failed=1)
    suite.tests(test.format(0.95))
    known, result = cached(suite)
    assert known == [True]
    result.assert_outcomes(failed=1)
    suite.tests(test.format(0.3))
    known, result = cached(suite)
    assert known == [False]
    result.assert_outcomes(passed=1)
    suite.tests(test.format(0.95))
    assert cached(suite)[0] == [True]
    assert cached(suite, "--aerobust-full")[0] == [False]


def test_a_failure_guards_no_pass(suite):
    """Who fell in a failing contract is kept; the evidence that a pass needs is then gathered."""
    test = """
        @robust("bim", eps=0.2, min_acc={}, model="saturated")
        def test_it(robustness):
            robustness()
    """
    suite.tests(test.format(1.0).replace("saturated", "aerobust_model"))
    suite.run().assert_outcomes(failed=1)
    suite.tests(test.format(0.5).replace("saturated", "aerobust_model"))
    known, result = cached(suite)
    assert known == [False]
    result.assert_outcomes(passed=1)


def test_void_evidence_stays_void(suite):
    """What was inconclusive is so from the cache, too, with the same words."""
    suite.tests("""
        @robust("bim", eps=0.2, min_acc=0.5, model="saturated")
        def test_it():
            pass
    """)
    before = suite.failure(suite.run())
    known, result = cached(suite)
    assert known == [True]
    assert suite.failure(result) == before
    assert "VOID" in before


def test_a_loader_that_shuffles_hits(suite, told):
    """Samples are known by content, and outcomes find their sample of today."""
    told(shuffle=1)
    suite.tests("""
        @robust("bim", eps=0.2, min_acc=0.5)
        def test_it(robustness, aerobust_data):
            evaluation = robustness()
            distances = (aerobust_data[0] - 0.5).abs().amax(dim=1)
            stands = [letter == "s" for letter in evaluation.unfiltered.outcomes]
            assert stands == (distances > 0.2).tolist()
    """)
    assert cached(suite)[0] == [False]
    assert cached(suite)[0] == [True]


@pytest.mark.parametrize(
    "mark",
    [
        '"fgsm", eps=epsilons(0.1, 0.2), min_acc=0.9',
        '"fgsm", eps=epsilons(0.1, 0.2), min_acc={0.15: 0.7, 0.2: 0.5}',
        '"bim", eps=0.1, vary={"steps": st.integers(5, 9)}, min_acc=0.9',
    ],
)
def test_whatever_varies(suite, mark):
    """The smallest failing budget, the draws and the words come back as they were."""
    suite.tests(f"""
        from hypothesis import strategies as st

        @robust({mark})
        def test_it():
            pass
    """)
    first, before = cached(suite, "-rP")
    again, after = cached(suite, "-rP")
    assert (first, again) == ([False], [True])
    assert numbers(before, suite) == numbers(after, suite)


def test_curves_are_measured_also_after_a_hit(suite, told):
    """What is kept has no curve; who asks for one gets it."""
    suite.tests("""
        @robust("bim", eps=0.2, min_acc=0.5)
        def test_it(robustness):
            assert robustness.curve([0.1, 0.2]).unfiltered.accuracy == (0.8, 0.6)
    """)
    for _ in range(2):
        suite.run().assert_outcomes(passed=1)


def test_workers_share_it(suite, told):
    """Under xdist one folder serves all, and a run in one process, too."""
    suite.tests("""
        @robust("bim", eps=[0.1, 0.2, 0.3], min_acc=0.3)
        def test_it():
            pass
    """)
    assert cached(suite, "-n2")[0] == [False] * 3
    assert cached(suite)[0] == [True] * 3


@pytest.mark.parametrize(
    ("options", "hit"),
    [
        (("--aerobust-no-cache",), False),
        (("--cache-clear",), False),
        (("-p", "no:cacheprovider"), False),
        (("--aerobust-examples=found",), True),
        (("--lf",), True),
    ],
)
def test_options(suite, told, options, hit):
    """Each way to do without the cache does so, and breaks nothing."""
    cached(suite)
    known, result = cached(suite, *options)
    assert known == [hit]
    result.assert_outcomes(passed=1)


FAILING = [
    pytest.param("eps=0.2, min_acc=0.7", id="one budget"),
    pytest.param("eps=epsilons(0.1, 0.2, 0.05), min_acc=0.7", id="budgets"),
    pytest.param("eps=0.2, min_acc=0.7, vary={'steps': st.integers(5, 8)}", id="draws"),
]


@pytest.mark.parametrize("asked", FAILING)
def test_the_worst_examples_of_a_failure_are_kept_where_they_are_wanted(suite, asked):
    """Who wants them first gets new ones; from then on the files are the same, byte by byte."""
    suite.tests(f"""
        from hypothesis import strategies as st

        from pytest_aerobust import epsilons

        @robust("bim", {asked})
        def test_it():
            pass
    """)
    cached(suite)
    known, written = [], []
    for folder in ("first", "second"):
        known += cached(suite, f"--aerobust-examples={folder}")[0]
        written.append([path.read_bytes() for path in (suite.path / folder).iterdir()])
    assert known == [False, True]
    assert len(written[0]) == 2
    assert sorted(written[0]) == sorted(written[1])


def test_no_cache_keeps_nothing(suite, told):
    """Neither does a run without it leave anything."""
    cached(suite, "--aerobust-no-cache")
    assert cached(suite)[0] == [False]


def test_a_damaged_entry_is_measured_again(suite, told):
    """It is never believed, and the next run finds a whole one."""
    cached(suite)
    (path,) = (suite.path / ".pytest_cache" / "d" / "aerobust").glob("*.json")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert cached(suite)[0] == [False]
    assert cached(suite)[0] == [True]


def test_a_folder_that_can_not_be_written(suite, told):
    """The run says so once, and proves its contracts all the same."""
    folder = suite.path / ".pytest_cache" / "d"
    folder.mkdir(parents=True)
    (folder / "aerobust").write_text("in the way")
    known, result = cached(suite)
    assert known == [False]
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["note: the cache *aerobust can't be written: *"])


def test_what_can_not_be_known_is_not_kept(suite):
    """A forest holds more than Python shows: measured each time, and the log says why."""
    suite.conftest("""
        @pytest.fixture(scope="session")
        def aerobust_model():
            from sklearn.ensemble import RandomForestClassifier
            inputs, labels = samples(4)
            return RandomForestClassifier(5, random_state=0).fit(inputs, labels)
    """)
    suite.tests("""
        @robust("boundary", eps=0.5, min_acc=0.0, steps=5, samples=20)
        def test_it():
            pass
    """)
    for _ in range(2):
        known, result = cached(suite, "-o", "log_level=INFO", "-rA")
        assert known == [False]
    assert "measured without the cache, because the subject holds a sklearn" in result.stdout.str()


def test_what_is_too_large_to_follow(suite, monkeypatch):
    """The cache stands aside in bounded time, once for all its contracts, and the run says so.

    Those of a model beside it are kept, also of one that is called as it is.
    """
    monkeypatch.setattr(measurements, "_SECONDS", 0.3)
    suite.conftest("""
        TABLE = [(number,) for number in range(1_000_000)]

        class Looked(Border):
            def forward(self, x):
                return super().forward(x + 0 * len(TABLE))

        @pytest.fixture(scope="session")
        def aerobust_model():
            return nn.Sequential(Looked())

        @pytest.fixture(scope="session")
        def small():
            return nn.Sequential(Border())
    """)
    suite.tests("""
        @robust("bim", eps=[0.1, 0.2, 0.3], min_acc=0.3)
        def test_it():
            pass

        @robust("bim", eps=0.1, min_acc=0.3, model="small")
        def test_small():
            pass
    """)
    for again in (False, True):
        known, result = cached(suite)
        assert known == [False] * 3 + [again]
        result.stdout.fnmatch_lines(["note: measured without the cache: the code *0.3 s*"])


@pytest.mark.parametrize(
    "fixture",
    [
        pytest.param("aerobust_filter", id="filter"),
        pytest.param("aerobust_model", id="model"),
    ],
)
def test_a_closure_with_an_empty_cell(suite, fixture):
    """A name that nobody has bound is no reason to break down, in a filter or under a model."""
    suite.conftest(f"""
        def made():
            def same(x):
                return x if True else never
            if False:
                never = 1
            return same

        class Wrapped(Border):
            def __init__(self):
                super().__init__()
                self.same = made()

            def forward(self, x):
                return super().forward(self.same(x))

        @pytest.fixture(scope="session")
        def {fixture}():
            return made() if "{fixture}" == "aerobust_filter" else Wrapped()
    """)
    suite.tests("""
        @robust("bim", eps=0.2, min_acc=0.5)
        def test_it():
            pass
    """)
    assert cached(suite)[0] == [False]
    assert cached(suite)[0] == [True]


def test_an_attack_that_can_not_be_followed(suite):
    """An instance that holds what no digest can tell is measured each time, and breaks nothing."""
    suite.tests("""
        from foolbox.attacks import LinfPGD

        class Own(LinfPGD):
            pass

        attack = Own(steps=10, rel_stepsize=0.25, random_start=False)
        attack.numbers = iter(range(3))

        @robust(attack, eps=0.2, min_acc=0.5)
        def test_it():
            pass
    """)
    for _ in range(2):
        known, result = cached(suite)
        assert known == [False]
        result.assert_outcomes(passed=1)


def test_another_processor_is_no_other_model(tmp_path, own_process, small_conftest):
    """What rounds otherwise, another instruction set or another number of threads, is a hit."""
    more = """
class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        numbers = torch.Generator().manual_seed(0)
        widths = (64, 128, 128, 2)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        for layer in self.layers:
            layer.weight.data = torch.rand(layer.weight.shape, generator=numbers) * 0.2 - 0.1
            layer.bias.data.zero_()

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x) * 100


@pytest.fixture(scope="session")
def aerobust_model():
    return Deep()


@pytest.fixture(scope="session")
def aerobust_data(aerobust_model):
    inputs = torch.rand(200, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    logits = aerobust_model(inputs).detach()
    clear = (logits[:, 0] - logits[:, 1]).abs() > 1
    return inputs[clear], logits[clear].argmax(dim=1)
"""
    (tmp_path / "conftest.py").write_text(small_conftest + more)
    (tmp_path / "test_it.py").write_text(
        "from pytest_aerobust import robust\n"
        '@robust("bim", eps=0.005, min_acc=0.1, bounds=(-1, 1))\n'
        "def test_it(): pass\n"
    )
    first = own_process(tmp_path, "--aerobust", ATEN_CPU_CAPABILITY="default")
    assert "cached" not in first.stdout
    assert "1 passed" in first.stdout
    for env in ({}, {"ATEN_CPU_CAPABILITY": "avx2"}, {"OMP_NUM_THREADS": "2"}):
        assert "cached" in own_process(tmp_path, "--aerobust", **env).stdout
