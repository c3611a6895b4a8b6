"""Compare the tracer with PyTorch's CUDA code on the null device, a line a step, then the counts.

    python tests/oracle [TEXT...]    only steps whose names contain one of the texts

All of them take four to six minutes on two idle processors. The exit code is 1 if a step that must
be refused was not, one that must not be was, or a figure is more than 1 % off.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from comparison import Comparison, counts, head
from figures import emulated, fast_weights, traced
from steps import STEPS


def main(texts):
    torch.set_num_threads(1)
    chosen = [n for n in STEPS if not texts or any(text in n for text in texts)]
    if not chosen:
        sys.exit(f"no step's name contains {' or '.join(texts)}")
    compared, wrong = [], 0
    print(head(), flush=True)
    with tempfile.TemporaryDirectory() as folder, fast_weights():
        for name, cuda in emulated(chosen, Path(folder)):
            one = Comparison(name=name, cuda=cuda, tracer=traced(STEPS[name]))
            print(one.line(), flush=True)
            compared.append(one)
            wrong += one.verdict == "failed" or one.verdict == "off"
            wrong += bool(STEPS[name].refused) != (one.verdict == "refused")
    print(counts(compared))
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main(sys.argv[1:])
