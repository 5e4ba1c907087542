"""The terminal section: one aligned row a contract, what needs a person first."""

import pytest

MIXED = """
    known = pytest.mark.xfail(raises=FloorBroken, strict=True)

    @robust("bim", 0.02, min_acc=0.9)
    @robust("bim", 0.3, min_acc=0.9, marks=known)
    @robust("bim", 0.1, min_acc=0.9, model="saturated")
    @robust("pgd", 0.1, norm="l2", max_drop=0.05, min_acc=0.9, filter="identity")
    @robust("fgsm", 0.1, min_acc=0.9)
    def test_mixed():
        pass
"""


def _section(result):
    """Header and rows of the section, without colours and notes."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if "= robustness contracts =" in line)
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith(("note: ", "=")):
            break
        rows.append(line)
    return [row for row in rows if row]


def test_a_row_for_each_contract_failures_first(suite):
    """Failed, then inconclusive, then expected, then passed contracts, each in one row."""
    suite.tests(MIXED)
    result = suite.run()
    result.assert_outcomes(passed=2, failed=2, xfailed=1)
    header, *rows = _section(result)
    columns = "test attack budget threat clean unfiltered filtered floor verdict seconds"
    assert " ".join(header.split()) == columns
    at = header.index("verdict")
    assert [row[at:].split("  ")[0] for row in rows] == [
        "failed",
        "inconclusive",
        "failed (xfail)",
        "passed",
        "passed",
    ]


def test_the_columns_are_aligned(suite):
    """Every cell stands under its heading: words to the left, numbers to the right."""
    suite.tests(MIXED)
    header, *rows = _section(suite.run())
    for column in ("attack", "budget", "threat", "floor", "verdict"):
        at = header.index(column)
        assert all(row[at - 2 : at] == "  " for row in rows)
        assert all(row[at] != " " for row in rows)
    for column in ("clean", "unfiltered", "filtered", "seconds"):
        # "filtered" is also the end of "unfiltered".
        end = header.rindex(column) + len(column)
        assert all(row[end - 1] not in " " for row in rows)
        assert all(row[end : end + 2].strip() == "" for row in rows)


def test_a_row_tells_the_measurement(suite):
    """A row holds attack, budget with its norm, threat, accuracies, floors and verdict."""
    suite.tests("""
        @robust("pgd", 0.2, norm="l2", max_drop=0.05, min_acc=0.9, filter="identity")
        def test_row():
            pass

        @robust("fgsm", 0.2, min_acc=0.5)
        def test_bare():
            pass
    """)
    result = suite.run()
    result.stdout.fnmatch_lines(
        [
            # L2: the four numbers of a sample at distance 0.05 reach the border at 2 * 0.05.
            "test_row[[]pgd-l2-eps0.2-identity]  pgd *L2 0.2 *white-box *1.000 *0.800 *0.800 *"
            "min_acc 0.9, max_drop 0.05 *failed *",
            "test_bare[[]fgsm-eps0.2] *fgsm *Linf 0.2 *white-box *1.000 *0.600 * - *min_acc 0.5 *",
        ]
    )


@pytest.mark.parametrize("eps", [0.02, 0.1], ids=["all hold", "one broken"])
def test_the_header_follows_the_title(suite, eps):
    """No blank line tears the section apart, whether or not failures were printed above it."""
    suite.tests(f"""
        @robust("bim", {eps}, min_acc=0.9)
        def test_it():
            pass
    """)
    lines = suite.run().outlines
    title = next(i for i, line in enumerate(lines) if "= robustness contracts =" in line)
    assert lines[title + 1].startswith("test ")


def test_an_open_accuracy_is_shown_as_its_bounds(suite):
    """An arm that stopped early shows the smallest and largest value it can still have."""
    suite.tests("""
        @robust("bim", 0.3, min_acc=0.9, data="many")
        def test_early():
            pass
    """)
    suite.run().stdout.fnmatch_lines(["test_early*  0.000..0.870  *"])


def test_ids_carry_their_file_where_there_are_several(suite):
    """Rows of one file show the test alone; of several, the file as well."""
    contract = """
        @robust("bim", 0.02, min_acc=0.9)
        def test_it():
            pass
    """
    suite.tests(contract, "test_a.py")
    assert _section(suite.run())[1].startswith("test_it[bim-eps0.02]")
    suite.tests(contract, "test_b.py")
    names = {row.split()[0] for row in _section(suite.run())[1:]}
    assert names == {"test_a.py::test_it[bim-eps0.02]", "test_b.py::test_it[bim-eps0.02]"}


def test_a_note_is_written_once(suite):
    """A note that concerns many contracts is told once, below the rows."""
    suite.tests("""
        @robust("bim", [0.01, 0.02, 0.03], min_acc=0.9)
        def test_it():
            pass
    """)
    text = suite.run().stdout.str()
    assert text.count("note: only 10 samples:") == 1


@pytest.mark.parametrize("options", [(), ("-v",), ("-q",)], ids=str)
def test_nothing_is_printed_without_contracts(suite, options):
    """A run without contracts shows no section, on or off."""
    suite.tests("""
        def test_plain():
            pass
    """)
    assert "robustness contracts" not in suite.run(*options).stdout.str()
    assert "robustness contracts" not in suite.plain_run(*options).stdout.str()


@pytest.mark.parametrize("option", ["-qq", "--no-summary"])
def test_no_section_on_request(suite, option):
    """Under -qq and --no-summary the section is not printed, and the outcome stays."""
    suite.tests(MIXED)
    result = suite.run(option)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "robustness contracts" not in result.stdout.str()
    assert "note:" not in result.stdout.str()


def test_less_talk_keeps_the_section(suite):
    """-q alone keeps the section: it is the result of the run."""
    suite.tests(MIXED)
    assert len(_section(suite.run("-q"))) == 6


def test_a_contract_that_was_not_measured_has_no_row(suite):
    """A failing body, an error of the model and a skip leave no row of numbers."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9)
        def test_body():
            assert False

        @robust("bim", 0.02, min_acc=0.9, model="broken")
        def test_error():
            pass

        @robust("bim", 0.02, min_acc=0.9)
        def test_holds():
            pass
    """)
    _, *rows = _section(suite.run())
    assert len(rows) == 1
    assert rows[0].startswith("test_holds")


def test_an_unexpected_pass_shows_as_such(suite):
    """A strict xfail that holds failed its test: the row says more than `passed`."""
    suite.tests("""
        @robust("bim", 0.02, min_acc=0.9, marks=pytest.mark.xfail(strict=True))
        def test_mended():
            pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    header, row = _section(result)
    assert row[header.index("verdict") :].split("  ")[0].strip() != "passed"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a|b", "ä ö 好", "50%", "{x}", "it's"]
)
def test_unusual_ids_are_harmless(suite, name, junit_properties):
    """Ids with mark-up, quotes and other alphabets pass through section and JUnit XML
    (BAD INPUTS 5.26).
    """
    suite.tests(f"""
        @robust("bim", 0.1, min_acc=0.9, id={name!r})
        def test_it():
            pass
    """)
    result = suite.run("--junit-xml=junit.xml")
    result.assert_outcomes(failed=1)
    (properties,) = junit_properties(suite.path / "junit.xml").values()
    assert properties["verdict"] == "failed"
    assert _section(result)[1].startswith("test_it[")


def test_the_section_comes_without_colour_codes(suite):
    """Where pytest writes no colours, neither do we; where it does, rows are coloured."""
    suite.tests(MIXED)
    assert "\x1b[" not in suite.run("--color=no").stdout.str()
    coloured = suite.run("--color=yes").stdout.str()
    assert "\x1b[31mtest_mixed[fgsm-eps0.1]" in coloured
    assert "\x1b[32mtest_mixed[bim-eps0.02]" in coloured


def test_junit_properties_are_flat(suite, junit_properties):
    """The JUnit XML holds each contract's numbers as flat properties of its case."""
    suite.tests("""
        @robust("bim", 0.1, min_acc=0.9, max_drop=0.5, filter="identity")
        def test_it():
            pass

        def test_plain():
            pass
    """)
    suite.run("--junit-xml=junit.xml").assert_outcomes(failed=1, passed=1)
    cases = junit_properties(suite.path / "junit.xml")
    assert cases["test_plain"] == {}
    seconds = cases["test_it[bim-eps0.1-identity]"].pop("seconds")
    assert 0 <= float(seconds) < 60
    assert cases["test_it[bim-eps0.1-identity]"] == {
        "attack": "bim",
        "norm": "linf",
        "eps": "0.1",
        "threat": "white-box",
        "verdict": "failed",
        "samples": "10",
        "clean_accuracy": "1.0",
        "unfiltered_accuracy_low": "0.8",
        "unfiltered_accuracy_high": "0.8",
        "filtered_accuracy_low": "0.8",
        "filtered_accuracy_high": "0.8",
        "min_acc": "0.9",
        "max_drop": "0.5",
    }


def test_properties_are_plain_scalars(suite):
    """Properties hold Python's own text and numbers, which cross processes and formats."""
    suite.tests(MIXED)
    for row in suite.measured(suite.run()).values():
        assert row
        assert all(type(value) in (str, int, float) for value in row.values())


def test_a_budget_of_queries_is_shown(suite):
    """In the id, in the row, in the failure's first line, and for JUnit."""
    suite.tests("""
        @robust("boundary", 2.0, min_acc=0.9, queries=30)
        def test_asked():
            pass
    """)
    result = suite.run("--junit-xml=found.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*robust accuracy*[[]Boundary L2 eps=2, black-box, within 30 queries a sample, no*",
            "*asked up to * times a sample, * on average*",
            "test_asked[[]boundary-eps2-queries30[]]  boundary, 30 queries  L2 2 *black-box*",
        ]
    )
    assert 'name="aerobust_queries_limit" value="30"' in (suite.path / "found.xml").read_text()
