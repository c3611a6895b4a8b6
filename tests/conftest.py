# Before anything reads a variable.
import plain_environment  # noqa: F401

# isort: split

import atexit
import gc
import os
import signal
import sys

import hypothesis
import pytest
from command import begin_with, many_commands
from plugins import install_hostile

from ffprof.nulldevice import is_in_use
from ffprof.records.files import cache_folder

# Machines are noisy, so no example is timed; what hangs is stopped by pytest-timeout.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the commands
# under test, which are sent it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same of a terminal that hangs up, which nohup has them ignore.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config):
    """Torch, but not in the process that only hands out tests to others."""
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None):
        return
    import torch

    # Tests work on tiny tensors: a second thread only waits, and on a busy machine spins.
    torch.set_num_threads(1)
    gc.freeze()
    gc.enable()
    # Nor is all of it searched when Python ends, which takes as long as importing it.
    atexit.register(gc.freeze)


@pytest.fixture(scope="session")
def hostile_env(tmp_path_factory):
    """With the hostile workloads installed; commands under it are forked as the others are."""
    with many_commands(install_hostile(tmp_path_factory.mktemp("hostile") / "site")) as env:
        yield env


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """What audits teach about this GPU is kept in the user's cache; tests have one of their own."""
    patch = pytest.MonkeyPatch()
    cache = tmp_path_factory.mktemp("cache")
    # But for the null device, which takes ten seconds to compile and is kept by its source.
    compiled = cache_folder() / "nulldevice"
    compiled.mkdir(parents=True, exist_ok=True)
    (cache / "ffprof").mkdir()
    (cache / "ffprof" / "nulldevice").symlink_to(compiled)
    patch.setenv("XDG_CACHE_HOME", str(cache))
    patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
    begin_with(os.environ)
    yield
    patch.undo()


_frozen = [0]


@pytest.fixture(autouse=True)
def _imports_are_not_searched_for_garbage():
    """As in a trial's own process: it collects, and looking through all of torch takes a second."""
    if len(sys.modules) > _frozen[0] + 50:
        gc.collect()
        gc.freeze()
        _frozen[0] = len(sys.modules)


@pytest.fixture(autouse=True)
def _same_torch_state():
    import torch

    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


@pytest.fixture(autouse=True)
def _same_environment():
    """What is imported in a test may set variables, with which commands of later tests differ."""
    current = "PYTEST_CURRENT_TEST"
    before = {name: value for name, value in os.environ.items() if name != current}
    yield
    for name, value in list(os.environ.items()):
        if name != current and before.get(name) != value:
            del os.environ[name]
    os.environ.update(before)


def pytest_collection_modifyitems(items):
    # Files with long tests come first, so that workers have short ones to fill up the end.
    long = {i.path for i in items if i.get_closest_marker("slow") or "integration" in i.path.parts}
    items.sort(key=lambda item: item.path not in long)
    import torch

    there = torch.cuda.is_available()
    for item in items:
        # Not its keywords: the names of folders are among them.
        if item.get_closest_marker("gpu") and not there:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        only = item.get_closest_marker("gpu_only")
        if only and is_in_use():
            item.add_marker(pytest.mark.skip(reason=f"a null device {only.args[0]}"))
