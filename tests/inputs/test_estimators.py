"""scikit-learn estimators as models: which are taken, which are refused, and their classes."""

import itertools
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from torch import nn

from pytest_aerobust import ContractError, DataError, ModelError, evaluate
from pytest_aerobust.subjects.subject import build_subject

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written():
    """200 digits (200, 64) in [0, 1], and whether each is odd."""
    inputs, labels = load_digits(return_X_y=True)
    return (inputs[:200] / 16).astype(np.float32), labels[:200] % 2


@pytest.fixture
def original(written):
    return LogisticRegression(C=0.1).fit(*written)


@pytest.fixture
def attack(written, original):
    """`evaluate` on the digits with FGSM where nothing else is said."""

    def run(model=original, data=written, **settings):
        return evaluate(model, data, **{"attack": "fgsm", "eps": 0.05, **settings})

    return run


SUPPORTED = (
    "no torch twin",
    "expected a LogisticRegression, SGDClassifier, LinearSVC, MLPClassifier, or a Pipeline",
    "StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, Normalizer",
)


def named(value):
    return "" if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    ("estimator", "part"),
    [
        (RandomForestClassifier(2), "RandomForestClassifier"),
        (KNeighborsClassifier(), "KNeighborsClassifier"),
        (SVC(), "with a linear kernel, LinearSVC has one"),
        (CalibratedClassifierCV(LogisticRegression(), cv=2), "CalibratedClassifierCV"),
        (GridSearchCV(LogisticRegression(), {"C": [1]}, cv=2), "hand in its .best_estimator_"),
        (make_pipeline(PCA(2), LogisticRegression()), "step 'pca' of model is a sklearn.decomp"),
        (
            make_pipeline(StandardScaler(), make_pipeline(PCA(2), LogisticRegression())),
            "step 'pipeline__pca' of model is a sklearn.decomposition",
        ),
        (make_pipeline(StandardScaler(), SVC()), "step 'svc' of model is a sklearn.svm"),
    ],
    ids=named,
)
def test_gradient_attacks_on_estimators_without_a_twin(attack, written, refused, estimator, part):
    """No gradient is estimated in silence: what has a twin is named, and attacks that only ask."""
    asking = "attack it with threat='black-box', by "
    estimator.fit(*written)
    for settings in ({}, {"threat": "white-box"}, {"filter": Dimmed(), "threat": "gray-box"}):
        with refused(ModelError, part, *SUPPORTED, "no gradients for fgsm to follow", asking):
            attack(estimator, **settings)
    assert attack(estimator, attack="contrast", eps=8.0).unfiltered.accuracy < 1


@pytest.mark.parametrize(
    ("estimator", "part"),
    [
        (LinearRegression(), "it is a regressor, expected a classifier"),
        (StandardScaler(), "StandardScaler"),
        (make_pipeline(StandardScaler(), "passthrough"), "step 'standardscaler' of model"),
    ],
    ids=named,
)
def test_estimators_that_classify_nothing(attack, written, refused, estimator, part):
    """They are named, with what is supported, whatever the attack."""
    estimator.fit(*written)
    for name in ("fgsm", "boundary"):
        with refused(ModelError, part, *SUPPORTED):
            attack(estimator, attack=name)


def test_black_boxes_that_are_not_ready(attack, written, refused):
    """Unfitted, of several labels a sample, of one class, or of other features: told apart."""
    inputs, labels = written
    forest = RandomForestClassifier(2)
    with refused(ModelError, "RandomForestClassifier that is not fitted: call fit first"):
        attack(forest, attack="boundary")
    with refused(ModelError, "gives several labels a sample: expected one class"):
        attack(forest.fit(inputs, np.c_[labels, 1 - labels]), attack="boundary")
    with refused(ModelError, "fitted on the single class 0: expected at least two"):
        attack(forest.fit(inputs, 0 * labels), attack="boundary")
    forest.fit(inputs[:, :5], labels)
    with refused(ModelError, "model was fitted on 5 features", "(200, 64) have 64 a sample"):
        attack(forest, attack="boundary")


class Failing(KNeighborsClassifier):
    def predict(self, X):  # noqa: N803  # scikit-learn's name
        raise ZeroDivisionError("no neighbours left")


def test_black_boxes_that_fail(attack, written, refused):
    """The cause is named, and the shape it was asked with."""
    with refused(ModelError, "model (Failing) raised ZeroDivisionError", "(1, 64): no neighbours"):
        attack(Failing().fit(*written), attack="boundary")


@pytest.mark.parametrize(
    "decides",
    [SVC(decision_function_shape="ovo"), VotingClassifier([("one", Perceptron())])],
    ids=named,
)
def test_score_attacks_on_decisions(attack, refused, decides):
    """Without one score a class an attack that asks for scores is refused, in words."""
    inputs, labels = load_digits(return_X_y=True)
    data = (inputs[:200] / 16, labels[:200])
    settings = {"attack": "gen-attack", "target": 3}
    said = ("gives decisions alone", "gen-attack asks for scores", "boundary, hop-skip-jump")
    with refused(ModelError, *said):
        attack(decides.fit(*data), data, **settings)
    assert attack(decides, data, attack="uniform-noise", eps=0.5).unfiltered.beaten > 0


@pytest.mark.parametrize("steps", [[], [("nothing", "passthrough")], [("nothing", None)]])
def test_pipelines_of_nothing(attack, refused, steps):
    """There is no classifier in them."""
    with refused(ModelError, "Pipeline in which no step does anything", "expected a"):
        attack(Pipeline(steps))


@pytest.mark.parametrize("cls", [LogisticRegression, SGDClassifier])
def test_classes_in_place_of_instances(attack, refused, cls):
    """Whatever its metaclass, a class is told that an instance is wanted."""
    with refused(ModelError, f"model is the class {cls.__module__}", "give an instance"):
        attack(cls)


def test_unfitted_estimators(attack, written, refused):
    """The one that is not fitted is named, in a pipeline too."""
    with refused(ModelError, "model is a", "LogisticRegression that is not fitted: call fit first"):
        attack(LogisticRegression())
    with refused(ModelError, "step 'standardscaler' of model is a", "not fitted"):
        attack(make_pipeline(StandardScaler(), LogisticRegression().fit(*written)))


def test_networks_of_several_labels_a_sample(attack, written, refused):
    """A multilabel network is no classifier of one class a sample."""
    inputs, labels = written
    network = MLPClassifier((4,), max_iter=300, random_state=0, tol=1)
    with refused(ModelError, "2 labels a sample (multilabel)"):
        attack(network.fit(inputs, np.c_[labels, 1 - labels]))


def test_networks_of_one_class(attack, written, refused):
    """A network takes one class without a word; it can't be attacked."""
    inputs, labels = written
    network = MLPClassifier((4,), max_iter=300, random_state=0, tol=1)
    with refused(ModelError, "single class", "at least two"):
        attack(network.fit(inputs, 0 * labels))


def test_numbers_of_features(attack, written, refused):
    """The data's and the estimator's are both named."""
    inputs, labels = written
    with refused(ModelError, "model was fitted on 64 features", "(200, 7, 9) have 63 a sample"):
        attack(data=(inputs[:, :63].reshape(-1, 7, 9), labels))


class Twisted(LogisticRegression):
    def decision_function(self, X):  # noqa: N803  # scikit-learn's name
        return -super().decision_function(X)


class TwistedScaler(StandardScaler):
    def transform(self, X, copy=None):  # noqa: N803
        return super().transform(X) ** 2


class TwistedPipeline(Pipeline):
    def predict(self, X):  # noqa: N803
        return 1 - super().predict(X)


@pytest.mark.parametrize(
    ("estimator", "method"),
    [
        (Twisted(), "decision_function"),
        (make_pipeline(TwistedScaler(), LogisticRegression(C=0.1)), "transform"),
        (TwistedPipeline([("model", LogisticRegression())]), "predict"),
    ],
    ids=["classifier", "scaler", "pipeline"],
)
def test_subclasses_that_answer_in_their_own_way(attack, written, refused, estimator, method):
    """The twin of their base would be of another model."""
    with refused(ModelError, "Twisted", f"with a {method} of its own", "torch.nn.Module"):
        attack(estimator.fit(*written))


def test_a_twin_that_disagrees_is_refused(original, written, refused):
    """How many samples, how far, and where first; here the original is changed behind its back."""
    subject = build_subject(original, written)
    original.intercept_ += 30
    with refused(
        ModelError,
        "model (LogisticRegression) and its torch twin disagree on 200 of 200 samples",
        "first at index 7:",
        "decision_function differs by up to 30 ",
        "labels differ",
    ):
        subject.model.check(subject.samples.inputs, subject.samples.ids + 7, "model")


def test_labels_that_disagree_are_refused(attack, original, refused):
    """Also where the scores are the same, as under a threshold of one's own."""
    original.predict = lambda rows: (original.decision_function(rows) > 1).astype(int)
    with refused(ModelError, "disagree on", "decision_function differs by up to", "labels differ"):
        attack(original)


def test_scores_that_are_no_numbers(attack, original, refused):
    """NaN agrees with nothing, itself included."""
    original.coef_[0, 3] = np.nan
    with refused(ModelError, "disagree on", "nan"):
        attack(original)


def test_originals_that_fail(attack, written, refused):
    """The cause is named, and the shape it was asked with."""
    inputs, labels = written
    wrong = StandardScaler().fit(inputs[:, :5])
    with refused(
        ModelError, "model (Pipeline) raised ValueError on inputs of shape (200, 64)", "5"
    ):
        attack(make_pipeline(wrong, LogisticRegression().fit(inputs, labels)))


def test_estimators_fitted_on_named_columns(attack, written):
    """Their warning that arrays have no names is nothing to a reader, nor to `-W error`."""
    original = LogisticRegression(C=0.1).fit(*written)
    original.feature_names_in_ = np.array([f"pixel {n}" for n in range(64)], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attack(original).unfiltered == attack().unfiltered


def test_images_and_rows_are_one(attack, written):
    """Inputs of any shape with as many numbers."""
    inputs, labels = written
    images = attack(data=(inputs.reshape(-1, 1, 8, 8), labels))
    assert images.unfiltered == attack().unfiltered


def test_normalisation_in_front(attack, written):
    """With mean= and std= the twin is held against the original behind them."""
    inputs, labels = written
    scaled = LogisticRegression(C=0.1).fit((inputs - 0.3) / 0.5, labels)
    by_hand = LogisticRegression(C=0.1).fit(inputs, labels)
    by_hand.coef_, by_hand.intercept_ = (
        scaled.coef_ / 0.5,
        scaled.intercept_ - (0.3 * scaled.coef_ / 0.5).sum(axis=1),
    )
    assert attack(scaled, mean=0.3, std=0.5).unfiltered == attack(by_hand).unfiltered


def test_originals_are_asked_behind_the_normalisation(attack, original, written):
    """The twin is checked on what it is about to see."""
    asked, answer = [], original.decision_function
    original.decision_function = lambda rows: asked.append(rows) or answer(rows)
    attack(original, mean=0.3, std=0.5)
    assert np.allclose(asked[0], (written[0] - 0.3) / 0.5, atol=1e-6)


def test_estimators_stay_as_they_are(attack, written):
    """Neither parameters nor attributes of the original are touched, nor is global state."""
    original = make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(*written)
    before = original[0].scale_.copy(), original[1].coef_.copy(), set(vars(original[1]))
    numpy, torchs = np.random.get_state()[1].copy(), torch.get_rng_state()
    attack(original)
    assert (original[0].scale_ == before[0]).all()
    assert (original[1].coef_ == before[1]).all()
    assert set(vars(original[1])) == before[2]
    assert (np.random.get_state()[1] == numpy).all()
    assert torch.equal(torch.get_rng_state(), torchs)


def test_under_inference_mode(attack):
    """A twin made inside it can be attacked."""
    expected = attack().unfiltered
    with torch.inference_mode():
        assert attack().unfiltered == expected


NAMED = [
    ("ints", np.array([3, 8])),
    ("negative", np.array([-1, 1])),
    ("strings", np.array(["cat", "dog"])),
    ("objects", np.array(["cat", "dog"], dtype=object)),
    ("booleans", np.array([False, True])),
    ("floats", np.array([1.0, 2.0])),
]


@pytest.mark.parametrize(("kind", "names"), NAMED, ids=[kind for kind, _ in NAMED])
def test_classes_of_other_names(attack, written, kind, names):
    """Labels are looked up among `classes_`, as arrays and as lists; the result is the same
    (BAD INPUTS 5.24).
    """
    inputs, labels = written
    named = LogisticRegression(C=0.1).fit(inputs, names[labels])
    for given in (names[labels], names[labels].tolist(), names[labels][:, None]):
        subject = build_subject(named, (inputs, given))
        assert subject.classes == tuple(names.tolist())
        assert subject.samples.labels.tolist() == labels.tolist()
    found = attack(named, (inputs, names[labels]))
    assert found.unfiltered == attack().unfiltered
    said = f"the order of the model's own: {names.tolist()[0]!r}, {names.tolist()[1]!r}"
    assert (said in "\n".join(found.notes)) == (kind != "booleans")


def test_classes_from_zero(attack, original, written):
    """They are no mapping worth a note; tensors and one-hot labels are taken as ever."""
    inputs, labels = written
    assert build_subject(original, written).classes == (0, 1)
    assert not any("order of the model's" in note for note in attack().notes)
    for given in (torch.tensor(labels), np.eye(2, dtype=int)[labels]):
        assert attack(data=(inputs, given)).unfiltered == attack().unfiltered


def test_negative_labels_of_a_loader(attack, written):
    """A DataLoader's labels are looked up too."""
    inputs, labels = written
    named = LogisticRegression(C=0.1).fit(inputs, 2 * labels - 1)
    pairs = torch.utils.data.TensorDataset(torch.tensor(inputs), torch.tensor(2 * labels - 1))
    loader = torch.utils.data.DataLoader(pairs, batch_size=50)
    assert attack(named, loader).unfiltered == attack().unfiltered


@pytest.mark.parametrize(
    ("names", "labels", "part"),
    [
        ([3, 8], [3, 0, 8], "labels[1] is 0, which is none of the model's classes 3, 8"),
        ([3, 8], ["3", "8", "3"], "labels[0] is '3'"),
        (["cat", "dog"], ["cat", "dog", "cow"], "labels[2] is 'cow'"),
        (["cat", "dog"], [0, 1, 0], "labels[0] is 0, which is none of"),
        ([3, 8], [3.0, 8.5, 3.0], "labels[1] is 8.5"),
        ([3, 8], [[3, 3, 3], [8, 8, 8], [3, 3, 3]], "labels have shape (3, 3)"),
        ([3, 8], [[3], [8, 3], [3]], "labels are a list"),
        ([3, 8], [], "0 samples"),
        ([3, 8], 3, "labels have shape ()"),
    ],
)
def test_labels_that_are_no_class(attack, written, refused, names, labels, part):
    """The first of them is named, with the classes."""
    inputs, places = written
    named = LogisticRegression().fit(inputs, np.array(names)[places])
    with refused(DataError, part):
        attack(named, (inputs[:3], labels))


def test_labels_of_many_classes(written, attack, refused):
    """A message shows ten classes and counts the others."""
    inputs, _ = written
    many = LogisticRegression(max_iter=300).fit(inputs, np.arange(200) % 25 * 2)
    with refused(DataError, "labels[0] is 1", "0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 15 more"):
        attack(many, (inputs, np.ones(200, dtype=int)))


@pytest.mark.parametrize("labels", [["cat", "dog"] * 12, [-1, 1] * 12])
def test_torch_models_have_no_names(attacked, data, refused, labels):
    """Strings and negative labels are still refused where nothing says what they mean."""
    with refused(DataError, "labels"):
        attacked(on=(data[0], labels))


class Dimmed(nn.Module):
    """A filter that halves the contrast."""

    def forward(self, inputs):
        return 0.25 + inputs / 2


def test_unfiltered_models_of_other_classes(attack, original, written, refused):
    """Both arms count the same classes, or nothing is compared; a torch module's are 0 to K-1."""
    inputs, labels = written
    names = np.array(["cat", "dog"])[labels]
    named = LogisticRegression(C=0.1).fit(inputs, names)
    for model, bare, said in (
        (named, original, "model has the classes 'cat', 'dog', unfiltered_model 0, 1"),
        (named, as_torch(original), "model has the classes 'cat', 'dog', unfiltered_model 0 to"),
        (as_torch(original), named, "model has the classes 0 to K-1, unfiltered_model 'cat'"),
    ):
        with refused(ModelError, said, "expected the same, in the same order"):
            attack(model, (inputs, names), filter=Dimmed(), unfiltered_model=bare)


def test_unfiltered_models_of_the_same_classes(attack, original, written):
    """An estimator beside an estimator, and beside a torch module of as many classes."""
    inputs, labels = written
    other = LogisticRegression(C=1.0).fit(inputs, labels)
    expected = attack(as_torch(original), filter=Dimmed(), unfiltered_model=as_torch(other))
    models, bares = (original, as_torch(original)), (other, as_torch(other))
    for model, bare in itertools.product(models, bares):
        found = attack(model, filter=Dimmed(), unfiltered_model=bare)
        assert found.arms == expected.arms


@pytest.mark.parametrize("threat", ["white-box", "gray-box"])
@pytest.mark.parametrize("attack_name", ["fgsm", "bim"])
def test_filters_in_front_of_an_estimator(attack, original, attack_name, threat):
    """Gradients run through filter and twin: as for the same model written in torch."""
    settings = {"attack": attack_name, "threat": threat, "filter": Dimmed()}
    found, expected = attack(**settings), attack(as_torch(original), **settings)
    assert found.arms == expected.arms
    assert found.filtered.survivors < found.filtered.correct


def as_torch(original):
    """A binary linear model written by hand in torch."""
    linear = nn.Linear(64, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(np.r_[0 * original.coef_, original.coef_]))
        linear.bias.copy_(torch.tensor(np.r_[0, original.intercept_]))
    return linear.eval()


SUITE = """
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from pytest_aerobust import robust

@pytest.fixture(scope="session")
def aerobust_data():
    inputs, labels = load_digits(return_X_y=True)
    return (inputs[:200] / 16).reshape(-1, 1, 8, 8), np.where(labels[:200] % 2, "odd", "even")

@pytest.fixture(scope="session")
def aerobust_model(aerobust_data):
    inputs, labels = aerobust_data
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    return model.fit(inputs.reshape(200, -1), labels)

@pytest.fixture(scope="session")
def aerobust_filter():
    return nn.Hardtanh(0.0, 1.0)

@robust(attack="fgsm", eps=0.001, min_acc=0.5, threat="gray-box")
def test_little(): ...

@robust(attack="bim", eps=0.3, min_acc=0.5)
def test_much(robustness):
    assert robustness().filtered.accuracy < 0.1
"""


def test_a_suite_with_an_estimator(pytester):
    """Under pytest: a contract that holds, and one that is broken by witnesses."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_inprocess("--aerobust", "-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*robust accuracy 0.* < min_acc 0.5*", "*the model's own: 'even', 'odd'*"]
    )


WITHOUT = """
import sys
import torch
{first}
from pytest_aerobust import evaluate
inputs = torch.rand(20, 4)
labels = (inputs.sum(1) > 2).long()
model = torch.nn.Linear(4, 2)
with torch.no_grad():
    model.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    model.bias.copy_(torch.tensor([0.0, -2.0]))
assert evaluate(model, (inputs, labels), attack="fgsm", eps=0.01).unfiltered.correct == 20
print(sys.modules.get("sklearn"))
"""


@pytest.mark.parametrize("first", ["", "sys.modules['sklearn'] = None"], ids=["there", "absent"])
def test_torch_models_need_no_scikit_learn(first):
    """It is neither loaded nor missed."""
    code = WITHOUT.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "None", done.stderr


def test_targets_and_reports_speak_of_the_models_own_classes():
    """With classes 3 and 8, target=8 sends threes to eights, and the matrix is named by them."""
    inputs, labels = load_digits(return_X_y=True)
    kept = np.isin(labels, [3, 8])
    model = LogisticRegression(max_iter=500).fit(inputs[kept] / 16, labels[kept])
    found = evaluate(
        model, (inputs[kept] / 16, labels[kept]), attack="fgsm", eps=0.3, target={3: 8}
    )
    assert found.classes == ("3", "8")
    assert found.targets == (1, None)
    assert {actual for actual, answered, _ in found.unfiltered.confusion if answered == 1} == {0, 1}
    with pytest.raises(ContractError, match="target=1, but the model has the classes 3, 8"):
        evaluate(model, (inputs[kept] / 16, labels[kept]), attack="fgsm", eps=0.3, target=1)
