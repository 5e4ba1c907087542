"""What BIM over all 10,000 test images of MNIST adds to the peak memory of the process.

Run as ``python benchmarks/memory.py``. The data, the model and every library are loaded, and
one small measurement has run, before the first reading: the difference is the measurement's own.
"""

import resource

from models import EPS, test_images, undefended

from pytest_aerobust import evaluate


def peak_megabytes() -> float:
    """Largest resident size of this process so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    model, data = undefended(), test_images(10_000)
    few = tuple(part[:10] for part in data)
    evaluate(model, few, attack="bim", eps=EPS, steps=1)
    before = peak_megabytes()
    arm = evaluate(model, data, attack="bim", eps=EPS).unfiltered
    print(f"10,000 images: clean {arm.clean_accuracy:.4f}, BIM {arm.accuracy:.4f}")
    print(f"peak before {before:.0f} MB, added {peak_megabytes() - before:.0f} MB")
