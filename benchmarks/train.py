"""Trains the models of the benchmarks, once, and says how robust they are.

Run as ``python benchmarks/train.py``; some minutes on two cores.
"""

from models import EPS, robust, test_images, undefended

from pytest_aerobust import evaluate

if __name__ == "__main__":
    for model in (undefended(), robust()):
        arm = evaluate(model, test_images(1000), attack="bim", eps=EPS).unfiltered
        print(f"{type(model).__name__}: clean {arm.clean_accuracy:.3f}, BIM {arm.accuracy:.3f}")
