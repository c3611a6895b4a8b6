"""Makes a folder that stands for an installation of this checkout, without a network or pip.

    python without_install.py FOLDER [FOLDER-OF-WHEELS]
    python without_install.py --provenance
    python without_install.py --gpu

The second form prints what results are made with; the third says whether torch finds a GPU, with
exit code 3 and one line if it does not.

The folder gets ffprof's metadata, by which entry points are found, and what the wheels hold.
"""

import platform
import runpy
import subprocess
import sys
import tomllib
import warnings
import zipfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def install(folder: Path, wheels: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = runpy.run_path(str(ROOT / "ffprof" / "version.py"))["__version__"]
    info = folder / f"{project['name']}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in project["dependencies"]]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    text = ""
    for group, entries in groups.items():
        text += f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in entries.items()) + "\n"
    (info / "entry_points.txt").write_text(text)
    for wheel in sorted(Path(wheels).glob("*.whl")) if wheels else ():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def provenance() -> None:
    """What the results were made with, for the file that lies beside them."""
    import torch

    print("when", datetime.now(UTC).isoformat(timespec="seconds"))
    print("python", platform.python_version(), platform.platform())
    print("torch", torch.__version__, "cuda", torch.version.cuda)
    if torch.cuda.is_available():
        print("gpu", torch.cuda.get_device_name(0), "cudnn", torch.backends.cudnn.version())
    git, asked = ["git", "-C", str(ROOT)], "--query-gpu=name,driver_version,memory.total"
    for label, words in {
        "commit": [*git, "log", "-1", "--format=%H"],
        # Results lie in the checkout too, and are no change of it.
        "changed since": [*git, "status", "--porcelain", "--", ".", ":(exclude)results"],
        "driver": ["nvidia-smi", asked, "--format=csv,noheader"],
    }.items():
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        except OSError as error:
            print(words[0], "is not here:", error.strerror)
        else:
            print(f"{label}:", (done.stdout or done.stderr).strip() or "nothing")


def why_no_gpu() -> str:
    """Why there is nothing to measure here; "" if there is a GPU."""
    warnings.simplefilter("ignore")  # what CUDA says of it is longer than our line
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"{sys.executable} has no torch ({error}); name one that has with PYTHON"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} of {sys.executable} is built without CUDA"
    return "" if torch.cuda.is_available() else f"torch {torch.__version__} finds no GPU here"


if __name__ == "__main__":
    if sys.argv[1:] == ["--provenance"]:
        provenance()
    elif sys.argv[1:] == ["--gpu"]:
        if reason := why_no_gpu():
            print(reason, file=sys.stderr)
            sys.exit(3)
    else:
        install(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
