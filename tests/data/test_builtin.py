"""The built-in data sets are real, balanced, seeded, and say in one sentence when they can't be had."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10

from explorer.data.builtin import BUILTIN, write_builtin
from explorer.data.datasets import read_dataset
from explorer.errors import DataError

SCANS, LABELS = (np.array(part) for part in load_digits(return_X_y=True))


@pytest.mark.slow
def test_all_digits_read_back(tmp_path):
    report = read_dataset(write_builtin("digits", tmp_path / "digits"))
    assert report.class_names == tuple("0123456789")
    assert report.counts() == {str(digit): int(count) for digit, count in enumerate(np.bincount(LABELS))}
    assert report.rejected == () and len(report.duplicates) < 20


def test_digits_show_the_scans(tmp_path):
    write_builtin("digits", tmp_path / "digits", size=20)
    for file in (tmp_path / "digits").rglob("*.png"):
        scan = SCANS[int(file.stem)]
        shown = np.array(Image.open(file).resize((8, 8), Image.Resampling.BOX), float)
        assert LABELS[int(file.stem)] == int(file.parent.name)
        assert np.corrcoef(scan, shown.ravel())[0, 1] > 0.95


def test_subset_is_balanced_and_seeded(tmp_path):
    def names(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    first = names(write_builtin("digits", tmp_path / "a", size=100, seed=1))
    assert len(first) == 100 and all(sum(name[0] == digit for name in first) == 10 for digit in "0123456789")
    assert first == names(write_builtin("digits", tmp_path / "b", size=100, seed=1))
    assert first != names(write_builtin("digits", tmp_path / "c", size=100, seed=2))


def test_a_folder_written_before_is_kept(tmp_path):
    folder = write_builtin("digits", tmp_path / "digits", size=20)
    (folder / "0" / "mark.png").touch()
    assert (write_builtin("digits", folder) / "0" / "mark.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["digits"], "nothing half written is left"


@pytest.mark.parametrize("size", [0, 19, 1741, -5])
def test_sizes_out_of_reach(tmp_path, size):
    with pytest.raises(DataError, match="between 20 and 1,740"):
        write_builtin("digits", tmp_path / "digits", size=size)
    assert not (tmp_path / "digits").exists()


def test_unknown_name(tmp_path):
    with pytest.raises(DataError, match="choose one of digits, cifar10"):
        write_builtin("mnist", tmp_path / "mnist")
    assert set(BUILTIN) == {"digits", "cifar10"}


def test_cifar10_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # a port where nobody answers
    with pytest.raises(
        DataError, match=r"CIFAR-10 can't be downloaded \(Connection refused\); connect to the internet"
    ):
        write_builtin("cifar10", tmp_path / "cifar10", size=100)
    assert not (tmp_path / "cifar10").exists()


def test_cifar10_from_files_of_its_own_format(tmp_path, monkeypatch):
    """The real reader on small files in CIFAR-10's layout; only the checksums, which pin the real files, differ."""
    make_cifar10(tmp_path / "torch" / "hub" / "cifar10" / CIFAR10.base_folder, monkeypatch)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    report = read_dataset(write_builtin("cifar10", tmp_path / "cifar10", size=40))
    assert report.class_names[:3] == ("airplane", "automobile", "bird")
    assert set(report.counts().values()) == {4}
    assert {(item.width, item.height) for item in report.items} == {(32, 32)}


def make_cifar10(folder, monkeypatch):
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    rng = np.random.default_rng(0)

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name):
        return write(name, {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": list(range(10)) * 2})

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{number}") for number in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="can't be written"):
        write_builtin("digits", tmp_path / "file" / "digits", size=20)


def test_two_windows_that_ask_for_the_same_set_at_once_both_get_it(tmp_path):
    with ThreadPoolExecutor(4) as windows:
        asked = [windows.submit(write_builtin, "digits", tmp_path / "digits", 40) for _ in range(4)]
        assert {window.result() for window in asked} == {tmp_path / "digits"}
    assert len(list(tmp_path.glob("digits/*/*.png"))) == 40
