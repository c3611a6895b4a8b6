"""Imported first, it removes what a user, a desktop or a CI sets that would change what tests see.

That is what is printed, read or measured; tests set their own.
"""

import gc
import importlib
import os

# Importing torch takes a quarter less without collections; tests/conftest.py puts them back.
gc.disable()

_PREFIXES = (
    "GITHUB_", "PYTORCH_", "TORCH_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "GOMP_", "MALLOC_",
    "CUBLAS_", "CUDNN_", "TTY_",
)  # fmt: skip
_NAMES = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS", "LANGUAGE")

for _name in list(os.environ):
    if _name in _NAMES or _name.startswith(_PREFIXES) or _name.lower().endswith("_proxy"):
        del os.environ[_name]
os.environ["LC_ALL"] = "C.UTF-8"
# Threads that wait for others must not keep them from computing.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Threads of a BLAS spin while they wait: a small fit then takes ten times the processor's time. It
# reads this when it is imported, and there are two; commands under test are not told.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
for _name in ("numpy", "scipy.linalg"):
    importlib.import_module(_name)
del os.environ["OPENBLAS_NUM_THREADS"]
