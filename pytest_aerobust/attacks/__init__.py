"""Attacks: how an attacker searches. Importing this package loads Foolbox."""

import os
import warnings

# Foolbox's zoo imports GitPython, which raises where there is no git executable.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

with warnings.catch_warnings():
    # Foolbox imports a deprecated path of SciPy; under -W error that would end the run.
    warnings.simplefilter("ignore")
    import foolbox  # noqa: F401
