"""The server that trials are forked from stays fit for forking."""

import subprocess
import sys

import psutil
import pytest
from command import TINY, started

SCRIPT = """
import sys, psutil
from ffprof.harness.worker import probe_child, trial_child
from ffprof.harness.process.child import run_child, start_context
from ffprof.hardware.environment import child_environment, environment
from ffprof.workload import find_preset

def main():
    recipe = find_preset("smoke").recipe.model_copy(update={"threads": 2, "steps": 1})
    with environment(child_environment(recipe)):
        context = start_context("forkserver")
        endings = [run_child(context, probe_child, (), 60)]
        bp = ("bp", recipe, "cpu", None)
        endings += [run_child(context, trial_child, bp, 60) for _ in range(3)]
    for child in psutil.Process().children():
        if "forkserver" in " ".join(child.cmdline()):
            maps = {m.path.rsplit("/", 1)[-1] for m in child.memory_maps()}
            print(child.num_threads(), any(m.startswith("libtorch") for m in maps))
    print(len(psutil.Process().open_files()), "torch" in sys.modules)
    print(" ".join(e.kind for e in endings))
    print(len(psutil.Process().children(recursive=True)))

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_has_torch_and_one_thread_and_the_parent_neither_files_nor_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 True", "0 False", "ended ended ended ended", "2"]


LEAK = """
import psutil
from ffprof.harness.process.child import run_child, start_context
def nothing(sender): sender.send(1)
if __name__ == "__main__":
    context = start_context("spawn")
    run_child(context, nothing, (), 60)
    before = psutil.Process().num_fds()
    for _ in range(5):
        run_child(context, nothing, (), 60)
    print(psutil.Process().num_fds() - before)
"""


def test_trials_leave_no_open_files(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LEAK)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_the_server_of_these_tests_is_forked_from_a_process_that_has_torch(tmp_path):
    """Or else each of them imports it again, and the suite takes minutes longer, unseen."""
    process = started("run", *TINY, "--workloads", "bp", "--rounds", "1", "--out", tmp_path)
    words = psutil.Process(process.server).cmdline()
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert any(word.endswith("warm_torch.py") for word in words), words
