"""Image folders and archives of data sets in their own formats, made small."""

import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image


def noise(width=40, height=30, seed=0, shade=0):
    """A smooth picture that JPEG can hold."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 128, (6, 8, 3), dtype=np.uint8) + np.uint8(shade)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def image_folder(root: Path, *, classes=3, each=8):
    """JPEGs of various sizes, by class; class c is brighter than the one before."""
    for c in range(classes):
        folder = root / f"class {c}"
        folder.mkdir(parents=True)
        for i in range(each):
            number = c * each + i
            made = noise(32 + 3 * i, 48 - 2 * c, number, shade=40 * (c % 3))
            made.save(folder / f"{i:03d}.jpg", quality=90)
    return root


def odd_images(folder: Path):
    """What torchvision's loader reads too: modes, formats, cases, nesting, a wrong extension."""
    made = noise(50, 40, 99)
    (folder / "deep" / "deeper").mkdir(parents=True)
    made.convert("L").save(folder / "gray.jpg")
    made.convert("RGBA").save(folder / "alpha.png")
    made.convert("P").save(folder / "palette.png")
    made.convert("CMYK").save(folder / "cmyk.jpg")
    made.save(folder / "UPPER.JPEG", "JPEG")
    made.save(folder / "bitmap.bmp")
    made.save(folder / "deep" / "deeper" / "nested.ppm")
    made.save(folder / "really a png.jpg", "PNG")
    made.resize((1, 1)).save(folder / "one pixel.png")
    (folder / "notes.txt").write_text("not an image, and not named like one")


def _batch(names, count, seed, coarse):
    rng = np.random.default_rng(seed)
    labels = [int(n) for n in rng.integers(0, 10, count)]
    data = np.stack([rng.integers(20 * n, 20 * n + 60, 3072) for n in labels]).astype(np.uint8)
    entry = {names: labels, "data": data}
    return entry | ({"coarse_labels": [n // 5 for n in labels]} if coarse else {})


def cifar_files(kind, each=12):
    """The files of an extracted archive, by name, with few images in them."""
    if kind == "cifar10":
        names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
        entries = {name: _batch("labels", each, n, False) for n, name in enumerate(names)}
        entries["batches.meta"] = {"label_names": [f"thing {n}" for n in range(10)]}
    else:
        entries = {
            "train": _batch("fine_labels", 5 * each, 0, True),
            "test": _batch("fine_labels", each, 1, True),
            "meta": {"fine_label_names": [f"thing {n}" for n in range(100)]},
        }
    return {name: pickle.dumps(entry) for name, entry in entries.items()}


BASE = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
ARCHIVE = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def cifar_archive(kind, folder: Path, each=12):
    """Write the archive; returns the checksums that torchvision must be told to expect."""
    files = cifar_files(kind, each)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE[kind], "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{BASE[kind]}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    return sums | {"": hashlib.md5((folder / ARCHIVE[kind]).read_bytes()).hexdigest()}


def expect(cifar, sums, set_):
    """Tell one of torchvision's classes which checksums are right; ``set_`` is like setattr."""
    set_(cifar, "tgz_md5", sums[""])
    set_(cifar, "train_list", [[name, sums[name]] for name, _ in cifar.train_list])
    set_(cifar, "test_list", [[name, sums[name]] for name, _ in cifar.test_list])
    set_(cifar, "meta", {**cifar.meta, "md5": sums[cifar.meta["filename"]]})


def _md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(array):
    """An array of bytes in the format of MNIST's files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(folder: Path, train=40, test=20, seed=0):
    """The four files of a set like MNIST; returns their sums, and images and labels by part."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sums, made = {}, {}
    for part, start, count in (("train", "train", train), ("test", "t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        made[part] = (images, labels)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{start}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array)))
            sums[path.name] = _md5(path)
    return sums, made


def svhn_files(folder: Path, train=12, test=6):
    """SVHN's two files for MATLAB; its zero has the label 10."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    sums, made = {}, {}
    for part, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)
        path = folder / f"{part}_32x32.mat"
        savemat(path, {"X": images, "y": labels[:, None]}, do_compression=True)
        made[part], sums[path.name] = (images.transpose(3, 2, 0, 1), labels % 10), _md5(path)
    return sums, made


def stl10_archive(folder: Path, train=4, test=3):
    """STL-10's archive: images by column, labels from 1; returns the sums of what is in it."""
    rng = np.random.default_rng(0)
    files, made = {"unlabeled_X.bin": b"", "class_names.txt": b"airplane\n"}, {}
    for part, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        made[part] = (images, labels)
        files[f"{part}_X.bin"] = images.transpose(0, 1, 3, 2).tobytes()
        files[f"{part}_y.bin"] = (labels + 1).tobytes()
    path = folder / "stl10_binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"stl10_binary/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    return sums | {"": _md5(path)}, made


def tiny_imagenet(folder: Path, *, classes=200, packed=True):
    """Tiny-ImageNet's tree of JPEGs, or its archive; returns the archive's sum and the names."""
    names = [f"n{10_000_000 + 7 * n}" for n in range(classes)]
    files, rows = {}, []
    for n, name in enumerate(names):
        files[f"train/{name}/images/{name}_0.JPEG"] = _jpeg(64, n)
        if n < 5:
            files[f"val/images/val_{n}.JPEG"] = _jpeg(64, classes + n)
            rows.append(f"val_{n}.JPEG\t{name}\t0\t0\t63\t63\n")
    files["val/val_annotations.txt"] = "".join(rows).encode()
    path = folder / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    found = {path.name: _md5(path)}
    if not packed:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        path.unlink()
    return found, names


def _jpeg(size, seed):
    file = io.BytesIO()
    noise(size, size, seed).save(file, "JPEG")
    return file.getvalue()


def expect_files(set_item, name, sums, url=""):
    """Tell the catalogue which sums a set's archives have; ``set_item`` is like monkeypatch's."""
    from ffprof.harness.data.catalogue import DATA

    mirrors = (url,) if url else DATA[name].mirrors
    set_item(DATA, name, replace(DATA[name], files=sums, contents={}, mirrors=mirrors))


_CATALOGUE = """
import importlib.abc, importlib.util, sys
class Patch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "ffprof.harness.data.catalogue":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            from dataclasses import replace
            one = module.DATA[{name!r}]
            module.DATA[{name!r}] = replace(
                one, files={sums!r}, contents={{}}, mirrors=({url!r},) if {url!r} else one.mirrors
            )
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Patch())
"""


def expecting_environment(folder: Path, name, sums, url=""):
    """An environment in which every process of ffprof expects these sums of a set's archives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_CATALOGUE.format(name=name, sums=sums, url=url))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


_SITE = """
import importlib.abc, importlib.util, sys
class Patch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torchvision.datasets.cifar":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            from pictures import expect
            cifar = {{"cifar10": module.CIFAR10, "cifar100": module.CIFAR100}}[{kind!r}]
            expect(cifar, {sums!r}, setattr)
            cifar.url = {url!r} or cifar.url
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Patch())
"""


def patched_environment(folder: Path, kind, sums, url=""):
    """An environment in which every process of ffprof expects these checksums and this address."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.format(kind=kind, sums=sums, url=url))
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


class Served:
    """A server of one folder that counts what is fetched."""

    def __init__(self, folder):
        self.fetched = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):
                outer.fetched.append(self.path)
                super().do_GET()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
