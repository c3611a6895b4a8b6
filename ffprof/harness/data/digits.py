"""scikit-learn's 1,797 handwritten digits (8x8 pixels, UCI), embedded in its installation.

Importing scikit-learn takes a second of every audit, so its file is read where it lies; an
installation that keeps it elsewhere is asked.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy

DIGITS_TRAINING = 1500  # of 1,797; the other 297 are held out
FULL = 16  # what the brightest pixels hold


def embedded_digits() -> tuple[Any, Any]:
    """Images (1797, 8, 8) of 0..16 and labels (1797,) of scikit-learn's file."""
    package = importlib.util.find_spec("sklearn")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            table = numpy.loadtxt(path, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)
    from sklearn.datasets import load_digits as embedded

    bunch = embedded()
    return bunch.images, bunch.target
