import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from lightning_modules.errors import (
    MismatchedCheckpointError,
    UnkeyedError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
)
from lightning_modules.estimators import fit_or_load_estimator, load_estimator, save_estimator

ROOT = Path(__file__).parents[2]
PIPELINE = make_pipeline(MinMaxScaler(), LogisticRegression())


@pytest.fixture(scope="module")
def digits():
    """200 digits (200, 8, 8) in [0, 1] and their labels."""
    inputs, labels = load_digits(return_X_y=True)
    return (inputs[:200] / 16).reshape(-1, 8, 8), labels[:200]


@pytest.fixture
def rows(digits):
    return digits[0].reshape(200, -1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "model.skops"


@pytest.fixture
def fit(digits, tmp_path):
    """`fit_or_load_estimator` of a pipeline on the digits, unless told otherwise."""

    def run(estimator=PIPELINE, inputs=digits[0], labels=digits[1], folder=tmp_path):
        return fit_or_load_estimator(estimator, inputs, labels, folder=folder)

    return run


def files(folder, ending):
    return sorted(folder.glob(f"*{ending}"))


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Mine(LogisticRegression):
    """An estimator whose code no library vouches for."""


class TestLoads:
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize(
        "estimator",
        [
            LogisticRegression(),
            SGDClassifier(random_state=0),
            LinearSVC(random_state=0),
            MLPClassifier((8,), max_iter=3, random_state=0),
            MLPClassifier((8,), max_iter=3, random_state=0, solver="sgd"),
            make_pipeline(StandardScaler(), "passthrough", MinMaxScaler(), LogisticRegression()),
        ],
        ids=["logistic", "sgd", "svc", "mlp-adam", "mlp-sgd", "pipeline"],
    )
    def test_what_was_saved(self, estimator, path, rows, digits):
        """Every classifier that can be attacked comes back with the same answers."""
        estimator.fit(rows, digits[1])
        save_estimator(estimator, path)
        assert (load_estimator(path).predict(rows) == estimator.predict(rows)).all()
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_types_that_are_trusted_by_name(self, path, rows, digits):
        """A class of one's own is refused by its name, until that name is given."""
        mine = Mine().fit(rows, digits[1])
        save_estimator(mine, path)
        name = f"{Mine.__module__}.Mine"
        with pytest.raises(UnsafeCheckpointError, match=rf"{path}: refused.*holds {name}\. If"):
            load_estimator(path)
        assert type(load_estimator(path, trusted=[name])) is Mine


class TestRefuses:
    @pytest.mark.parametrize("dump", [pickle.dump, joblib.dump], ids=["pickle", "joblib"])
    @pytest.mark.parametrize("protocol", [0, 2, 5])
    def test_pickles(self, path, tmp_path, dump, protocol):
        """Nothing of them is executed, whoever wrote them."""
        path.parent.mkdir()
        with path.open("wb") as file:
            dump(Hostile(f"touch {tmp_path / 'ran'}"), file, protocol=protocol)
        with pytest.raises(UnsafeCheckpointError, match="a pickle, or a file of joblib"):
            load_estimator(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "xz", "lzma"])
    def test_compressed_pickles(self, path, tmp_path, method):
        """As joblib writes them."""
        path.parent.mkdir()
        joblib.dump(Hostile(f"touch {tmp_path / 'ran'}"), path, compress=(method, 3))
        with pytest.raises(UnsafeCheckpointError, match="a pickle"):
            load_estimator(path)
        assert not (tmp_path / "ran").exists()

    def test_functions_in_a_skops_file(self, path, tmp_path):
        """What would run a command while it is built is named instead (BAD INPUTS 4.2)."""
        save_estimator(FunctionTransformer(os.system), path)
        with pytest.raises(UnsafeCheckpointError, match=r"holds .*system"):
            load_estimator(path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"<!DOCTYPE html>", "not written by skops: it begins with b'<!DOCTYP'"),
            (b"version https://git-lfs", "not written by skops"),
            (b"PK\x03\x04 and no more", "cut short, damaged"),
        ],
    )
    def test_foreign_files(self, path, content, reason):
        """With the path and what is wrong."""
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.raises(UnreadableCheckpointError, match=f"{path}: {reason}"):
            load_estimator(path)

    def test_files_cut_short(self, path, rows, digits):
        """At any length."""
        save_estimator(LogisticRegression().fit(rows, digits[1]), path)
        whole = path.read_bytes()
        for share in (0.1, 0.5, 0.99):
            path.write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(UnreadableCheckpointError, match="cut short"):
                load_estimator(path)

    def test_zip_files_of_others(self, path):
        """A checkpoint of torch is a zip file, too."""
        path.parent.mkdir()
        torch.save({"weight": torch.zeros(2)}, path)
        with pytest.raises(UnreadableCheckpointError, match="not written by skops"):
            load_estimator(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", json.dumps({"protocol": 10**6}))
        with pytest.raises(UnreadableCheckpointError, match="not written by skops"):
            load_estimator(path)

    def test_what_is_no_estimator(self, path):
        """Skops keeps any data."""
        path.parent.mkdir()
        skops.io.dump({"a": np.arange(3)}, path)
        with pytest.raises(MismatchedCheckpointError, match="holds a dict, no estimator"):
            load_estimator(path)

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("https://a.b/c.skops", "a URL"), ("absent.skops", "no such file"), (".", "a folder")],
    )
    def test_paths_without_a_file(self, path, reason):
        """As for checkpoints."""
        with pytest.raises(UnreadableCheckpointError, match=reason):
            load_estimator(path)

    def test_nothing_is_left_of_a_save_that_fails(self, path, rows, digits):
        """The old file stays, and no temporary one."""
        estimator = LogisticRegression().fit(rows, digits[1])
        save_estimator(estimator, path)
        before = path.read_bytes()
        estimator.broken = (value for value in ())
        with pytest.raises(Exception, match="generator"):
            save_estimator(estimator, path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_without_skops(self, path, monkeypatch):
        """The extra that brings it is named."""
        path.parent.mkdir()
        path.write_bytes(b"PK\x03\x04")
        monkeypatch.setitem(sys.modules, "skops.io", None)
        with pytest.raises(ModuleNotFoundError, match=r"pytest-aerobust\[sklearn\]"):
            load_estimator(path)


class TestFitsOnce:
    def test_then_loads(self, fit, tmp_path, rows, monkeypatch):
        """The second call fits nothing, gives the same, and the estimator given stays as it was."""
        estimator = LogisticRegression()
        first = fit(estimator)
        assert not hasattr(estimator, "coef_")
        monkeypatch.setattr(LogisticRegression, "fit", None)
        assert (fit(estimator).decision_function(rows) == first.decision_function(rows)).all()
        (file,) = files(tmp_path, ".skops")
        assert file.name.startswith("LogisticRegression-")
        assert file.with_suffix(".json").is_file()

    def test_what_the_key_tells_apart(self, fit, digits, tmp_path):
        """Class, parameters inside a pipeline, their types, inputs, labels and their types."""
        inputs, labels = digits
        fit()
        others = [
            lambda: fit(make_pipeline(MinMaxScaler(), LogisticRegression(C=2))),
            lambda: fit(make_pipeline(StandardScaler(), LogisticRegression())),
            lambda: fit(make_pipeline(MinMaxScaler((0, 2)), LogisticRegression())),
            lambda: fit(inputs=inputs[:, :, ::-1]),
            lambda: fit(inputs=inputs.astype(np.float32)),
            lambda: fit(labels=labels.astype(str)),
            lambda: fit(labels=labels[::-1]),
            lambda: fit(LogisticRegression(class_weight={1: 2.0})),
            lambda: fit(LogisticRegression(class_weight={1: 3.0})),
        ]
        for count, other in enumerate(others, start=2):
            other()
            assert len(files(tmp_path, ".skops")) == count

    def test_what_it_does_not(self, fit, digits, tmp_path):
        """Images or rows, arrays, lists or tensors of the same content."""
        inputs, labels = digits
        fit()
        fit(inputs=inputs.reshape(200, 64), labels=labels.tolist())
        fit(inputs=torch.tensor(inputs), labels=torch.tensor(labels))
        fit(inputs=np.asfortranarray(inputs))
        assert len(files(tmp_path, ".skops")) == 1

    def test_labels_of_strings(self, fit, digits):
        """As arrays of strings or of objects."""
        named = np.array(["even", "odd"])[digits[1] % 2]
        assert fit(labels=named).classes_.tolist() == ["even", "odd"]
        assert fit(labels=named.astype(object)).classes_.tolist() == ["even", "odd"]

    def test_global_state_is_left(self, fit):
        """Also by an estimator that draws."""
        before = np.random.get_state()[1].copy()
        fit(SGDClassifier(random_state=3))
        assert (np.random.get_state()[1] == before).all()

    @pytest.mark.parametrize(
        "estimator",
        [
            SGDClassifier(),
            MLPClassifier(),
            LinearSVC(),
            LogisticRegression(solver="liblinear"),
            LogisticRegression(solver="saga"),
            make_pipeline(StandardScaler(), SGDClassifier()),
        ],
        ids=["sgd", "mlp", "svc", "liblinear", "saga", "pipeline"],
    )
    def test_estimators_that_draw_without_a_seed(self, fit, estimator, tmp_path):
        """Every fit would be another one: a number is asked for."""
        with pytest.raises(UnkeyedError, match=r"random_state is None, .* give it a number"):
            fit(estimator)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("estimator", "reason"),
        [
            (SGDClassifier(random_state=np.random.RandomState(0)), r"random_state is a numpy"),
            (FunctionTransformer(len), r"func is a builtins"),
            (Mine(), r"Mine is a .*Mine, which a file's key"),
            (type("Own", (ClassifierMixin, BaseEstimator), {})(), r"Own is a"),
            (LogisticRegression, r"is a abc|is a builtins"),
        ],
        ids=["generator", "function", "subclass", "own", "class"],
    )
    def test_what_no_key_can_tell(self, fit, estimator, reason):
        """It is refused before anything is fitted."""
        with pytest.raises(UnkeyedError, match=reason):
            fit(estimator)

    @pytest.mark.parametrize("inputs", [None, [object()] * 3, 3.0])
    def test_inputs_that_are_no_array(self, fit, inputs):
        """An array of objects has no content to tell."""
        with pytest.raises(UnkeyedError, match="inputs are a"):
            fit(inputs=inputs)


class TestFilesThatChanged:
    def test_another_file_is_not_believed(self, fit, tmp_path):
        """One flipped bit may load in silence; the hash tells (BAD INPUTS 4.1)."""
        fit()
        (file,) = files(tmp_path, ".skops")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(
            MismatchedCheckpointError, match=r"changed since .* Delete .* train anew"
        ):
            fit()

    @pytest.mark.parametrize("text", ["{", "\x00", '{"trained": '])
    def test_a_broken_record_is_an_error(self, fit, tmp_path, text):
        """With the way out; nothing is fitted over it in silence."""
        fit()
        files(tmp_path, ".json")[0].write_text(text)
        with pytest.raises(UnreadableCheckpointError, match=r"Delete .* to train anew"):
            fit()

    @pytest.mark.parametrize("text", ["[]", '{"trained": {}}', '{"trained": 3}'])
    def test_the_record_of_another_fit_is_an_error(self, fit, tmp_path, text):
        """The file's name alone does not vouch for it."""
        fit()
        files(tmp_path, ".json")[0].write_text(text)
        with pytest.raises(MismatchedCheckpointError, match="of another training"):
            fit()

    @pytest.mark.parametrize("ending", [".skops", ".json"])
    def test_half_of_it_is_fitted_anew(self, fit, tmp_path, ending):
        """One of the two files alone is not believed; what a killed writer left is removed."""
        fit()
        (file,) = files(tmp_path, ending)
        file.unlink()
        (tmp_path / f".{file.name}.0123.tmp").touch()
        fit()
        assert file.is_file()
        assert not files(tmp_path, ".tmp")


RACE = """
import sys
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from lightning_modules.estimators import fit_or_load_estimator

fit = SGDClassifier.fit

def told(self, X, y):
    print("fits")
    return fit(self, X, y)

SGDClassifier.fit = told
inputs, labels = load_digits(return_X_y=True)
print("ready", flush=True)
sys.stdin.readline()
estimator = SGDClassifier(random_state=0)
print(fit_or_load_estimator(estimator, inputs, labels, folder=sys.argv[1]).t_)
"""


def test_of_two_processes_one_fits(tmp_path, monkeypatch):
    """Whoever comes second, this one or the other, waits, and both have the same estimator
    (BAD INPUTS 5.28).
    """
    fits, fit = [], SGDClassifier.fit
    monkeypatch.setattr(
        SGDClassifier, "fit", lambda self, *given: fits.append("here") or fit(self, *given)
    )
    with subprocess.Popen(
        [sys.executable, "-c", RACE, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as rival:
        assert rival.stdout.readline() == "ready\n"
        rival.stdin.write("\n")
        rival.stdin.flush()
        inputs, labels = load_digits(return_X_y=True)
        estimator = SGDClassifier(random_state=0)
        found = fit_or_load_estimator(estimator, inputs, labels, folder=tmp_path)
        *fits_there, steps = rival.communicate(timeout=60)[0].split()
    assert len(fits + fits_there) == 1
    assert float(steps) == found.t_
