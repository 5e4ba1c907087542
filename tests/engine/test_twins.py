"""Twins of scikit-learn's classifiers, held against the originals and against attacks by hand."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC

from pytest_aerobust import evaluate
from pytest_aerobust.subjects.sklearn.twin import twin_of

# Regularised, so that their scores keep a softmax with a gradient.
CLASSIFIERS = {
    "logistic": LogisticRegression(C=0.1, max_iter=60),
    "logistic without intercept": LogisticRegression(C=0.1, max_iter=60, fit_intercept=False),
    "hinge": SGDClassifier(alpha=0.1, random_state=0),
    "log loss": SGDClassifier(loss="log_loss", alpha=0.1, random_state=0, fit_intercept=False),
    "svc": LinearSVC(C=0.01, random_state=0),
    "svc without intercept": LinearSVC(C=0.01, random_state=0, fit_intercept=False),
    "crammer-singer": LinearSVC(C=0.01, random_state=0, multi_class="crammer_singer"),
    **{
        f"mlp {activation}": MLPClassifier(
            (12, 1, 8) if activation == "identity" else (12, 8),
            activation=activation,
            alpha=1,
            learning_rate_init=0.02 if activation == "logistic" else 0.003,
            max_iter=20,
            random_state=0,
        )
        for activation in ("identity", "logistic", "tanh", "relu")
    },
}
SCALERS = {
    "none": "passthrough",
    "standard": StandardScaler(),
    "without mean": StandardScaler(with_mean=False),
    "without std": StandardScaler(with_std=False),
    "standard of nothing": StandardScaler(with_mean=False, with_std=False),
    "min-max": MinMaxScaler((-1, 2)),
    "min-max clipped": MinMaxScaler((-1, 2), clip=True),
    "max-abs": MaxAbsScaler(),
    "max-abs clipped": MaxAbsScaler(clip=True),
    "robust": RobustScaler(),
    "robust, unit variance": RobustScaler(quantile_range=(10, 90), unit_variance=True),
    "not centred": RobustScaler(with_centering=False),
    "not scaled": RobustScaler(with_scaling=False),
    "l2": Normalizer(),
    "l1": Normalizer("l1"),
    "max": Normalizer("max"),
    "nested": make_pipeline(
        StandardScaler(), make_pipeline("passthrough", MinMaxScaler(clip=True)), RobustScaler()
    ),
}
FITTING = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KINDS = pytest.mark.parametrize("kind", ["ten classes", "binary"])


@pytest.fixture(scope="module")
def written():
    """Digits of 8x8 pixels in [0, 1] as (1797, 64), and by kind of task their labels."""
    inputs, labels = load_digits(return_X_y=True)
    return inputs / 16, {"ten classes": labels, "binary": labels % 2}


@pytest.fixture(scope="module")
def fitted(written):
    """An estimator fitted on 400 digits."""
    inputs, labels = written

    def fit(estimator, kind):
        return estimator.fit(inputs[:400], labels[kind][:400])

    return fit


@pytest.fixture(scope="module")
def unseen(written):
    """300 other digits as a model is given them: images (300, 1, 8, 8) in float32, and labels."""
    inputs, labels = written
    images = torch.tensor(inputs[400:700], dtype=torch.float32).reshape(-1, 1, 8, 8)
    return images, {kind: named[400:700] for kind, named in labels.items()}


def rows_of(images):
    return images.flatten(1).double().numpy()


def agree(original, images):
    """Labels equal, scores within 1e-4 of what the original says in float64."""
    twin = twin_of(original, "model")
    with torch.no_grad():
        logits = twin(images)
    rows = rows_of(images)
    if hasattr(original, "decision_function"):
        scores, expected = logits.double().numpy(), original.decision_function(rows)
        if expected.ndim == 1:
            assert (scores[:, 0] == 0).all()
            scores = scores[:, 1]
    else:
        scores = logits.double().softmax(dim=1).numpy()
        expected = original.predict_proba(rows)
    assert np.abs(scores - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert (original.classes_[logits.argmax(dim=1)] == original.predict(rows)).all()


@FITTING
@KINDS
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_each_classifier_and_its_twin_agree(fitted, unseen, classifier, kind):
    """Bare, and behind a scaler."""
    agree(fitted(CLASSIFIERS[classifier], kind), unseen[0])
    agree(fitted(make_pipeline(StandardScaler(), CLASSIFIERS[classifier]), kind), unseen[0])


@FITTING
@KINDS
@pytest.mark.parametrize("scaler", SCALERS)
def test_each_scaler_and_its_twin_agree(fitted, unseen, scaler, kind):
    """In front of a linear model and of a network, on features that never vary among others."""
    for classifier in ("logistic", "mlp tanh"):
        agree(fitted(make_pipeline(SCALERS[scaler], CLASSIFIERS[classifier]), kind), unseen[0])


@KINDS
def test_sparse_coefficients(fitted, unseen, kind):
    """As `sparsify` leaves them."""
    agree(fitted(LogisticRegression(C=0.1), kind).sparsify(), unseen[0])


def test_subclasses_that_answer_like_their_base(fitted, unseen):
    """Scikit-learn's own and the user's."""

    class Mine(SGDClassifier):
        pass

    agree(fitted(Mine(alpha=0.1, random_state=0), "ten classes"), unseen[0])
    cross_validated = LogisticRegressionCV(
        Cs=[0.1], cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
    )
    agree(fitted(cross_validated, "binary"), unseen[0])


def test_features_far_from_zero(written):
    """A scaler's mean of a million, its scale of ten: float32 alone would lose the scores."""
    rng = np.random.default_rng(0)
    inputs = np.c_[rng.normal(1e6, 10, 200), rng.normal(0, 1, 200)].astype(np.float32)
    labels = (inputs[:, 0] - 1e6) / 10 + inputs[:, 1] > 0
    original = make_pipeline(StandardScaler(), LogisticRegression())
    agree(original.fit(inputs.astype(float), labels), torch.tensor(inputs))


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def blame(scores, places):
    """Gradient of the cross entropy with respect to the scores."""
    return softmax(scores) - np.eye(scores.shape[1])[places]


def by_coefficients(model, rows, places):
    """Gradient of the cross entropy with respect to a linear model's inputs."""
    weight, bias = model.coef_, np.broadcast_to(model.intercept_, len(model.coef_))
    if len(weight) == 1:
        weight, bias = np.r_[0 * weight, weight], np.r_[0, bias]
    return blame(rows @ weight.T + bias, places) @ weight


SLOPES = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
}


def by_backpropagation(model, rows, places):
    """The same through the layers of a network."""
    activation, slope = SLOPES[model.activation]
    outputs = [rows]
    for weight, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        outputs.append(activation(outputs[-1] @ weight + bias))
    scores = outputs[-1] @ model.coefs_[-1] + model.intercepts_[-1]
    if scores.shape[1] == 1:
        gradient = blame(np.c_[0 * scores, scores], places)[:, 1:]
    else:
        gradient = blame(scores, places)
    gradient = gradient @ model.coefs_[-1].T
    for weight, output in zip(model.coefs_[-2::-1], outputs[:0:-1], strict=True):
        gradient = (gradient * slope(output)) @ weight.T
    return gradient


def by_hand(original, rows, places):
    """Gradient with respect to the inputs of a classifier, or of a scaler and a classifier."""
    scaler, model = (None, original) if not hasattr(original, "steps") else original
    seen = rows if scaler is None else scaler.transform(rows)
    through = by_backpropagation if isinstance(model, MLPClassifier) else by_coefficients
    gradient = through(model, seen, places)
    if scaler is None:
        return gradient
    # MinMaxScaler multiplies by its scale_, the others divide by theirs.
    return (
        gradient * scaler.scale_ if isinstance(scaler, MinMaxScaler) else gradient / scaler.scale_
    )


def survivors(original, images, labels, eps):
    """How many the original still answers rightly after FGSM, all of it in numpy."""
    rows = rows_of(images)
    places = np.searchsorted(original.classes_, labels)
    attacked = np.clip(rows + eps * np.sign(by_hand(original, rows, places)), 0, 1)
    right = original.predict(rows) == labels
    return int((right & (original.predict(attacked) == labels)).sum())


def alone(original, data, eps):
    """The unfiltered arm under FGSM and nothing else: noise of the same budget would count."""
    waive = {"noise": "FGSM alone is compared"}
    return evaluate(original, data, attack="fgsm", eps=eps, waive=waive).unfiltered


@FITTING
@KINDS
@pytest.mark.parametrize("scaler", ["none", "standard", "min-max", "max-abs", "robust"])
@pytest.mark.parametrize("classifier", [name for name in CLASSIFIERS if "without" not in name])
def test_fgsm_finds_what_it_finds_by_hand(fitted, unseen, classifier, scaler, kind):
    """The twin gives the accuracy that coefficients, layers and scales give without torch."""
    images, labels = unseen[0], unseen[1][kind]
    model = CLASSIFIERS[classifier]
    original = fitted(model if scaler == "none" else make_pipeline(SCALERS[scaler], model), kind)
    for eps in (0.02, 0.1, 0.3):
        found = alone(original, (images, labels), eps)
        assert found.survivors == survivors(original, images, labels, eps), eps


@KINDS
def test_steep_scores_keep_their_gradient(fitted, unseen, kind):
    """Of a hinge classifier as it comes, with scores of 75: float32 would lose 12 of 300 here."""
    images, labels = unseen[0], unseen[1][kind]
    original = fitted(SGDClassifier(random_state=0), kind)
    assert np.abs(original.decision_function(rows_of(images))).max() > 30
    for eps in (0.02, 0.1):
        found = alone(original, (images, labels), eps)
        assert found.survivors == survivors(original, images, labels, eps), eps
    # Where even float64 is flat, the margin finds more than a cross entropy by hand.
    found = alone(original, (images, labels), 0.3)
    assert found.survivors <= survivors(original, images, labels, 0.3)


def test_scores_too_steep_for_a_cross_entropy_are_attacked_by_their_margin(fitted, unseen):
    """Scores of hundreds leave the cross entropy no gradient; the margin's shows the way."""
    original = fitted(make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), "ten classes")
    data = unseen[0], unseen[1]["ten classes"]
    found = evaluate(original, data, attack="fgsm", eps=0.3)
    assert not any(finding.void for finding in found.evidence)
    assert found.unfiltered.accuracy < 0.05


@pytest.mark.parametrize("classifier", ["logistic", "hinge", "log loss", "svc"])
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.05, 0.1])
def test_binary_linear_models_in_closed_form(fitted, unseen, classifier, eps):
    """A sample survives exactly if its margin exceeds eps times the L1 norm of the weights
    (BAD INPUTS 1.12).
    """
    images, labels = unseen[0], unseen[1]["binary"]
    original = fitted(CLASSIFIERS[classifier], "binary")
    margins = (2 * labels - 1) * original.decision_function(rows_of(images))
    expected = int((margins > eps * np.abs(original.coef_).sum()).sum())
    assert 0 < expected < len(labels)
    for attack in ("fgsm", "bim"):
        data = (images, labels)
        found = evaluate(original, data, attack=attack, eps=eps, bounds=(-1, 2)).unfiltered
        assert found.survivors == expected


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_black_images_have_a_gradient(fitted, unseen, norm):
    """A sample of norm 0 is divided by nothing: the twin agrees, and its gradient is finite."""
    original = fitted(make_pipeline(Normalizer(norm), LogisticRegression(C=0.1)), "ten classes")
    black = torch.zeros_like(unseen[0][:2]).requires_grad_()
    agree(original, black.detach())
    twin_of(original, "model")(black)[:, 3].sum().backward()
    assert black.grad.isfinite().all()
    assert (black.grad != 0).any()


@FITTING
def test_values_on_the_border_of_a_clipping_scaler_keep_their_gradient(fitted, unseen):
    """Black pixels stand where MinMaxScaler clips, give or take rounding; they are attacked."""
    images = unseen[0]
    steps = (StandardScaler(), MinMaxScaler(clip=True), LogisticRegression(C=1.0))
    original = fitted(make_pipeline(*steps), "ten classes")
    black = images.clone().requires_grad_()
    twin_of(original, "model")(black)[:, 3].sum().backward()
    varying = torch.tensor(steps[0].var_ > 0).reshape(1, 8, 8).expand_as(images)
    assert (black.grad[(images == 0) & varying] != 0).all()
