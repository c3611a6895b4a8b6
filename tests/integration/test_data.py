"""``ffprof data``, and audits of sets from archives, with the real command line."""

import json
import os
from pathlib import Path

import pictures
import pytest
from command import TINY, ffprof, many_commands, only_record, outcomes

from ffprof.harness.data.catalogue import DATA

DEBIAN = Path(DATA["fashion-mnist"].places[0])


def refused(done, *said):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ffprof: error: ")
    for words in said:
        assert words in lines[0], lines[0]


def listed(env, *words):
    return {one["name"]: one for one in json.loads(ffprof("data", *words, env=env).stdout)}


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_list_fits_and_says_where_and_how(width, tmp_path):
    own = tmp_path / "ffprof" / "data"
    (own / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    done = ffprof(
        "data", env={**os.environ, "COLUMNS": str(width), "XDG_CACHE_HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in DATA}
    assert rows.keys() == DATA.keys()
    assert all(len(line) <= width for line in rows.values())
    assert " embedded" in rows["digits"]
    assert " yes" in rows["cifar10"]
    assert " no" in rows["mnist"]
    assert all((DATA[name].licence in row) is (width >= 80) for name, row in rows.items())
    text = " ".join(done.stdout.split())
    assert f"cifar10: {own}/cifar10" in text.replace("- ", "")
    for name in ("mnist", "kmnist", "svhn", "stl10", "tiny-imagenet"):
        assert f"ffprof data {name} --download: {DATA[name].source}" in text
    assert "https://www.image-net.org/download.php; its train/ and val/ go into" in text


def test_json_is_for_programs(tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    found = listed(env, "-f", "json")
    assert found.keys() == DATA.keys()
    assert found["kmnist"]["files"] == DATA["kmnist"].files
    assert (found["kmnist"]["state"], found["digits"]["state"]) == ("absent", "embedded")
    assert listed(env, "svhn:/x", "mnist", "-f", "json").keys() == {"svhn", "mnist"}


@pytest.fixture
def fashion(tmp_path):
    """A small Fashion-MNIST, and an environment that takes it for the right one."""
    folder = tmp_path / "fashion"
    sums, _ = pictures.idx_files(folder, train=80)
    env = pictures.expecting_environment(tmp_path / "site", "fashion-mnist", sums)
    with many_commands({**env, "XDG_CACHE_HOME": str(tmp_path / "cache")}) as env:
        yield folder, env


def test_a_set_is_checked_run_and_refused_when_it_is_damaged(fashion, tmp_path):
    folder, env = fashion
    data, out = f"fashion-mnist:{folder}", tmp_path / "out"
    run = ["run", *TINY, "--data", data, "--workloads", "bp", "--rounds", 1, "--image-size", 32]
    done = ffprof(*run, "--out", out, env=env)
    assert done.returncode == 0, done.stderr
    record = only_record(out)
    assert outcomes(record) == {"bp": "ok"}
    recipe = record.recipe
    assert (recipe.data, recipe.data_root, recipe.classes) == ("fashion-mnist", str(folder), 10)
    assert record.ledger["bp"].facts["images_per_epoch"] == 80
    assert "80 images an epoch" in " ".join(done.stdout.split())
    victim = folder / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-4])
    before = sorted(tmp_path.rglob("*.json"))
    refused(ffprof(*run, "--out", tmp_path / "more", env=env), str(victim), "wrong checksum")
    assert sorted(tmp_path.rglob("*.json")) == before
    assert not (tmp_path / "more").exists()
    checked = ffprof("data", data, "--check", env=env)
    assert " damaged" in checked.stdout
    refused(checked, str(victim), "wrong checksum", "--download")


def test_a_set_is_downloaded_to_its_place(tmp_path):
    sums, _ = pictures.svhn_files(tmp_path)
    with pictures.Served(tmp_path) as server:
        env = pictures.expecting_environment(tmp_path / "site", "svhn", sums, f"{server.url}/")
        env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        with many_commands(env):
            done = ffprof("data", "svhn", "--download", "-f", "json", env=env)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)
    assert (one["state"], one["folder"]) == ("there", str(tmp_path / "cache/ffprof/data/svhn"))
    assert f"downloading svhn from {server.url}/train_32x32.mat" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cifar"], ["no data set 'cifar'", "did you mean cifar10", "fashion-mnist"]),
        (["imagefolder:/x"], ["no data set 'imagefolder'"]),
        (["digits:/x"], ["digits takes no folder"]),
        (["--download"], ["names no set"]),
        (["imagenet100", "--download"], ["nothing to download for imagenet100"]),
    ],
)
def test_what_cannot_be_meant_is_one_line(words, said):
    done = ffprof("data", *words)
    refused(done, *said)
    assert done.stdout == ""


def test_a_set_that_is_named_and_absent_fails_its_check(tmp_path):
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    refused(ffprof("data", "kmnist", "--check", env=env), "kmnist is not here", "--download")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_fashion_mnist_of_debian_is_found_without_a_folder(tmp_path):
    done = ffprof(
        "run", *TINY, "--data", "fashion-mnist", "--workloads", "bp", "--rounds", 1, "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recipe = only_record(tmp_path / "out").recipe
    assert (recipe.data_root, recipe.classes) == (str(DEBIAN), 10)
    assert "60,000 images an epoch" in " ".join(done.stdout.split())
