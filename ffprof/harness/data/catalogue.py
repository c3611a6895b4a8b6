"""The data sets that ``--data`` knows by name: facts about each, and where it is looked for.

Free of torch. The sums of archives are torchvision's where it has them; a test holds the two
against each other. Mean and deviation are those of the training images, scaled to 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ffprof.errors import UsageError, did_you_mean
from ffprof.records.files import cache_folder


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of a data set.

    ``size`` is the pixels along each side, None for photographs of any size. ``files`` are the
    archives in the set's own format with their MD5 sums; ``contents`` has the sums of what is in
    those that others pack again. ``folder`` is where torchvision keeps the set below its root: with
    ``unpacked``, what archives were unpacked to, and else these themselves. ``mirrors`` are
    addresses before a file's name; without one it cannot be downloaded. ``places`` are folders of
    systems where it is looked for, ``package`` the Debian package that fills them. ``licence`` is
    what its authors say, or that they say nothing. ``groups`` are coarse classes by name, with
    their classes.
    """

    name: str
    title: str
    classes: int
    channels: int
    size: int | None
    train: int
    test: int
    licence: str
    source: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    flips: bool
    crop_padding: int
    files: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    unpacked: bool = False
    mirrors: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    package: str = ""
    class_names: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    coarse_classes: int | None = None

    def coarse_labels(self) -> tuple[int, ...]:
        """The group of each class, by label; empty without groups."""
        group_of = {one: at for at, names in enumerate(self.groups.values()) for one in names}
        return tuple(group_of[name] for name in self.class_names) if self.groups else ()

    def parts(self) -> dict[str, str]:
        """Parts of a set of folders: ``train`` and ``test``, below its root."""
        inside = f"{self.folder}/" if self.folder else ""
        return {"train": f"{inside}train", "test": f"{inside}val"}


def _idx(images: str, labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    """Sums of the four files of MNIST and the sets that were made like it."""
    return {
        "train-images-idx3-ubyte.gz": images,
        "train-labels-idx1-ubyte.gz": labels,
        "t10k-images-idx3-ubyte.gz": test_images,
        "t10k-labels-idx1-ubyte.gz": test_labels,
    }


_DIGITS = tuple("0123456789")
# Of ImageNet, as in torchvision's references.
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
# A crop moves by at most an eighth of the side, as CIFAR's usual 4 of 32: 8 of 64, and 12 of 96 as
# for STL-10 in DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
# Cutout" (2017).
# Means and deviations: those of digits and Fashion-MNIST were computed from the sets; the others
# are those in common use.
_KNOWN = (
    DataInfo(
        name="digits",
        title="scikit-learn's digits",
        classes=10,
        channels=1,
        size=8,
        train=1500,
        test=297,
        licence="CC BY 4.0",
        source="https://archive.ics.uci.edu/dataset/80/",
        mean=(0.3051,),
        deviation=(0.3757,),
        flips=False,
        crop_padding=1,
        class_names=_DIGITS,
    ),
    DataInfo(
        name="mnist",
        title="MNIST",
        classes=10,
        channels=1,
        size=28,
        train=60_000,
        test=10_000,
        licence="not stated",
        source="http://yann.lecun.com/exdb/mnist/",
        mean=(0.1307,),
        deviation=(0.3081,),
        flips=False,
        crop_padding=4,
        files=_idx(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        # As many public loaders of the unpacked files have them.
        contents=_idx(
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
        folder="MNIST/raw",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        class_names=_DIGITS,
    ),
    DataInfo(
        name="fashion-mnist",
        title="Fashion-MNIST",
        classes=10,
        channels=1,
        size=28,
        train=60_000,
        test=10_000,
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
        mean=(0.2860,),
        deviation=(0.3530,),
        flips=True,
        crop_padding=4,
        files=_idx(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        # Debian packs the same contents again.
        contents=_idx(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        folder="FashionMNIST/raw",
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        places=("/usr/share/datasets/fashion-mnist",),
        package="dataset-fashion-mnist",
        class_names=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
        groups={
            "tops": ("T-shirt/top", "Pullover", "Coat", "Shirt"),
            "trousers": ("Trouser",),
            "dress": ("Dress",),
            "footwear": ("Sandal", "Sneaker", "Ankle boot"),
            "bag": ("Bag",),
        },
        coarse_classes=5,
    ),
    DataInfo(
        name="kmnist",
        title="KMNIST",
        classes=10,
        channels=1,
        size=28,
        train=60_000,
        test=10_000,
        licence="CC BY-SA 4.0",
        source="https://github.com/rois-codh/kmnist",
        mean=(0.1918,),
        deviation=(0.3483,),
        flips=False,
        crop_padding=4,
        files=_idx(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        folder="KMNIST/raw",
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    DataInfo(
        name="svhn",
        title="SVHN",
        classes=10,
        channels=3,
        size=32,
        train=73_257,
        test=26_032,
        licence="non-commercial",
        source="http://ufldl.stanford.edu/housenumbers/",
        mean=(0.4377, 0.4438, 0.4728),
        deviation=(0.1980, 0.2010, 0.1970),
        flips=False,
        crop_padding=4,
        files={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
        mirrors=("http://ufldl.stanford.edu/housenumbers/",),
        class_names=_DIGITS,
    ),
    DataInfo(
        name="cifar10",
        title="CIFAR-10",
        classes=10,
        channels=3,
        size=32,
        train=50_000,
        test=10_000,
        licence="not stated",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        mean=(0.4914, 0.4822, 0.4465),
        deviation=(0.2470, 0.2435, 0.2616),
        flips=True,
        crop_padding=4,
        files={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        folder="cifar-10-batches-py",
        unpacked=True,
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        class_names=(
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
    ),
    DataInfo(
        name="cifar100",
        title="CIFAR-100",
        classes=100,
        channels=3,
        size=32,
        train=50_000,
        test=10_000,
        licence="not stated",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        mean=(0.5071, 0.4865, 0.4409),
        deviation=(0.2673, 0.2564, 0.2762),
        flips=True,
        crop_padding=4,
        files={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        folder="cifar-100-python",
        unpacked=True,
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        coarse_classes=20,  # its archive has both labels
    ),
    DataInfo(
        name="stl10",
        title="STL-10",
        classes=10,
        channels=3,
        size=96,
        train=5_000,
        test=8_000,
        licence="not stated",
        source="https://cs.stanford.edu/~acoates/stl10/",
        mean=(0.4467, 0.4398, 0.4066),
        deviation=(0.2603, 0.2566, 0.2713),
        flips=True,
        crop_padding=12,
        files={"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
        folder="stl10_binary",
        unpacked=True,
        mirrors=("http://ai.stanford.edu/~acoates/stl10/",),
        class_names=(
            "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
        ),
    ),
    DataInfo(
        name="tiny-imagenet",
        title="Tiny-ImageNet-200",
        classes=200,
        channels=3,
        size=64,
        train=100_000,
        test=10_000,  # its validation images: the labels of its own test images are not public
        licence="research only",
        source="http://cs231n.stanford.edu/",
        mean=(0.4802, 0.4481, 0.3975),
        deviation=(0.2770, 0.2691, 0.2821),
        flips=True,
        crop_padding=8,
        # As in the loaders of Avalanche and other projects; torchvision has none.
        files={"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
        folder="tiny-imagenet-200",
        unpacked=True,
        mirrors=("http://cs231n.stanford.edu/",),
    ),
    DataInfo(
        name="imagenet100",
        title="ImageNet-100",
        classes=100,
        channels=3,
        size=None,
        train=126_689,
        test=5_000,
        licence="research only",
        source="https://www.image-net.org/download.php",
        mean=_IMAGENET["mean"],
        deviation=_IMAGENET["deviation"],
        flips=True,
        crop_padding=0,
        unpacked=True,
    ),
)  # fmt: skip
DATA = {one.name: one for one in _KNOWN}
TREES = ("tiny-imagenet", "imagenet100")  # folders of images, one a class, below DataInfo.parts
DOWNLOADABLE = tuple(name for name, one in DATA.items() if one.mirrors)


def find_data(name: str) -> DataInfo:
    """What is known of a data set.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in DATA:
        raise UsageError(
            f"there is no data set {name!r}",
            f"{did_you_mean(name, DATA)}known are: {', '.join(DATA)}",
        )
    return DATA[name]


def file_folder(info: DataInfo, root: Path) -> Path | None:
    """Where a set's archives lie, all of them: in ``root`` or where torchvision puts them."""
    folders = (root,) if info.unpacked else (root, root / info.folder)
    return next(
        (one for one in folders if all((one / name).is_file() for name in info.files)), None
    )


def lies_in(info: DataInfo, root: Path) -> bool:
    """Whether the set's archives, or what was unpacked of them, are in a folder; by name only."""
    if not info.files:  # folders of photographs
        return all((root / part).is_dir() for part in info.parts().values())
    there = info.unpacked and (root / info.folder).is_dir()
    return there or file_folder(info, root) is not None


def own_place(info: DataInfo) -> Path:
    """Where ffprof keeps a set for the user.

    Raises:
        RuntimeError: nobody's home folder is known.
    """
    return cache_folder() / "data" / info.name


def find_place(info: DataInfo) -> Path | None:
    """The first of the folders in which the set is looked for that has it; None if none has.

    Raises:
        RuntimeError: nobody's home folder is known.
    """
    places = (*map(Path, info.places), own_place(info))
    return next((one for one in places if lies_in(info, one)), None)
