from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxopt.data import DataOptions, SourceDataset, open_dataset
from onnxopt.errors import BackendMissingError, DataError, LimitError, UsageError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]
RAW = 'fit = "none"\n'


@pytest.fixture
def image(inputs: Inputs) -> Signature:
    return inputs(x=("uint8", "N", 3, None, None))


def save(path: Path, pixels: object, **options: object) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(pixels, np.uint8)
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return array


def noise(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).integers(0, 256, (height, width, *(channels or (3,))))
    return made.astype(np.uint8)


def opened(folder: Path, signature: Signature, toml: str = RAW, **options: object) -> SourceDataset:
    (folder / "preprocess.toml").write_text(toml)
    return open_dataset(str(folder), signature, DataOptions(**options))  # type: ignore[arg-type]


def pixels(folder: Path, signature: Signature, toml: str = RAW) -> np.ndarray:
    (sample,) = opened(folder, signature, toml)
    return np.asarray(sample.feeds["x"])


def test_subfolders_are_labels_in_sorted_order(tmp_path: Path, image: Signature) -> None:
    dog, cat = save(tmp_path / "dog/a.png", noise(4, 5)), save(tmp_path / "cat/b.png", noise(6, 5))
    save(tmp_path / "cat/.hidden.png", noise(1, 1))
    dataset = opened(tmp_path, image)
    for _ in range(2):
        found = list(dataset)
        assert [(s.item, s.label) for s in found] == [("cat/b.png", 0), ("dog/a.png", 1)]
        np.testing.assert_array_equal(found[0].feeds["x"], cat.transpose(2, 0, 1)[None])
        np.testing.assert_array_equal(found[1].feeds["x"], dog.transpose(2, 0, 1)[None])
    assert "0 = cat, 1 = dog" in dataset.notes[0]
    assert [s.item for s in dataset.take([1, 0, 1])] == ["dog/a.png", "cat/b.png", "dog/a.png"]


def test_subfolders_that_are_numbers_are_these_numbers(tmp_path: Path, image: Signature) -> None:
    for name in ("10", "9", "007"):
        save(tmp_path / name / "a.png", noise(2, 2))
    dataset = opened(tmp_path, image)
    assert {s.item: s.label for s in dataset} == {"007/a.png": 7, "10/a.png": 10, "9/a.png": 9}


@pytest.mark.parametrize(
    ("labels", "expected"), [("3,1", [3, 1]), ("0.5,2", [0.5, 2.0]), ("ab,1", ["ab", "1"])]
)
def test_a_table_of_labels(
    tmp_path: Path, image: Signature, labels: str, expected: list[object]
) -> None:
    save(tmp_path / "one.png", noise(2, 2))
    save(tmp_path / "deep/two.png", noise(2, 2))
    save(tmp_path / "other.png", noise(2, 2))
    one, two = labels.split(",")
    (tmp_path / "labels.csv").write_text(f"label,file\n{one},one.png\n{two},deep/two.png\n")
    dataset = opened(tmp_path, image)
    assert [s.label for s in dataset] == expected
    assert list(dataset.items) == ["one.png", "deep/two.png"]
    assert "1 images that labels.csv does not list" in dataset.notes[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\na.png,nan\n", r"labels\.csv, line 2: the label is nan"),
        ("file,label\na.png,1\nb.png,2\n", r"line 3: no file 'b\.png'"),
        ("file,label\n../a.png,1\n", r"line 2: no file '\.\./a\.png'"),
        ("path,label\na.png,1\n", "no column 'file'; it has path, label"),
        ("file,label\n", "lists no images"),
        ("", "is empty"),
    ],
)
def test_bad_tables(tmp_path: Path, image: Signature, table: str, message: str) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, image)


def test_a_table_is_needed_where_it_is_asked_for(tmp_path: Path, image: Signature) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    save(tmp_path / "b.png", noise(2, 2))
    for options in ({"labels": "truth"}, {"items": "who"}):
        with pytest.raises(DataError, match=r"no file .*\.csv"):
            opened(tmp_path, image, **options)
    (tmp_path / "truth.csv").write_text("file,label,who\na.png,1,ann\nb.png,2,ann\n")
    dataset = opened(tmp_path, image, labels="truth", items="who")
    assert [(s.item, s.label) for s in dataset] == [("ann", 1), ("ann", 2)]


def test_without_labels(tmp_path: Path, image: Signature) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    (sample,) = opened(tmp_path, image)
    assert sample.label is None


def test_imagenet_is_the_usual_resize_crop_and_normalisation(
    tmp_path: Path, inputs: Inputs
) -> None:
    save(tmp_path / "a.png", noise(300, 411))
    signature = inputs(x=("float32", 1, 3, 224, 224))
    (sample,) = open_dataset(str(tmp_path), signature, DataOptions(preprocess="imagenet"))
    resized = Image.open(tmp_path / "a.png").resize((350, 256), Image.Resampling.BILINEAR)
    middle = np.asarray(resized.crop((63, 16, 287, 240)), np.float32) / 255
    expected = (middle - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    np.testing.assert_allclose(sample.feeds["x"][0], expected.transpose(2, 0, 1), atol=2e-6)


def test_presets_take_the_declared_size_and_layout(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", np.full((50, 100, 3), 255))
    for preset, shape in (("imagenet-pm1", (1, 99, 77, 3)), ("yolo", (1, 64, 96, 3))):
        signature = inputs(x=("float32", *shape))
        (sample,) = open_dataset(str(tmp_path), signature, DataOptions(preprocess=preset))
        assert sample.feeds["x"].shape == shape
        assert sample.feeds["x"].max() == pytest.approx(1)
    np.testing.assert_allclose(sample.feeds["x"][0, 0], 114 / 255)
    np.testing.assert_allclose(sample.feeds["x"][0, 8:56], 1)
    np.testing.assert_allclose(sample.feeds["x"][0, 56:], 114 / 255)


def test_presets_have_default_sizes(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", noise(10, 10))
    signature = inputs(x=("float16", None, 3, None, None))
    for preset, side in (("imagenet", 224), ("yolo", 640)):
        (sample,) = open_dataset(str(tmp_path), signature, DataOptions(preprocess=preset))
        assert sample.feeds["x"].shape == (1, 3, side, side)
        assert sample.feeds["x"].dtype == np.float16


def test_orders_and_integers(tmp_path: Path, inputs: Inputs) -> None:
    colour = save(tmp_path / "a.png", noise(3, 4))
    signature = inputs(x=("int8", None, None, None, 3))
    found = pixels(tmp_path, signature, 'fit="none"\nchannels="bgr"\nmean=128')
    np.testing.assert_array_equal(found[0], (colour[:, :, ::-1].astype(int) - 128))
    found = pixels(tmp_path, signature, 'fit="none"\nscale=0.5')  # clipped, rounded to even
    np.testing.assert_array_equal(found[0], np.clip(np.rint(colour / 2), -128, 127))
    gray = pixels(tmp_path, inputs(x=("uint8", None, 1, None, None)))
    assert gray.shape == (1, 1, 3, 4)


def test_height_keeps_the_aspect(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", noise(20, 90))
    signature = inputs(x=("float32", 1, 1, 64, None))
    assert pixels(tmp_path, signature, 'fit="height"').shape == (1, 1, 64, 288)


def test_modes(tmp_path: Path, image: Signature) -> None:
    gray, alpha = noise(3, 4, 1)[:, :, 0], noise(3, 4, 4)
    deep = np.array([[0, 257, 65535]], np.uint16)
    path = tmp_path / "a.png"
    save(path, gray)
    np.testing.assert_array_equal(pixels(tmp_path, image)[0], np.stack([gray] * 3))
    save(path, alpha)
    np.testing.assert_array_equal(pixels(tmp_path, image)[0], alpha[:, :, :3].transpose(2, 0, 1))
    Image.fromarray(deep).save(path)
    assert pixels(tmp_path, image)[0, 1].tolist() == [[0, 1, 255]]
    Image.fromarray(noise(3, 4)).quantize(8).save(path)
    assert pixels(tmp_path, image).shape == (1, 3, 3, 4)
    path.unlink()
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(DataError, match=r"f\.tiff holds floats"):
        pixels(tmp_path, image)


def test_pictures_are_turned_upright(tmp_path: Path, image: Signature) -> None:
    picture = noise(2, 5)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.png", picture, exif=exif)
    found = pixels(tmp_path, image)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, np.rot90(picture, -1))


def test_damaged_files_are_named(tmp_path: Path, image: Signature) -> None:
    save(tmp_path / "a.jpg", noise(64, 64))
    whole = (tmp_path / "a.jpg").read_bytes()
    for content in (whole[:700], b"no image", b"", b"\x89PNG\r\n\x1a\n" + bytes(50)):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.jpg cannot be read as an image") as caught:
            list(opened(tmp_path, image))
        assert "\n" not in str(caught.value)


def test_bombs(tmp_path: Path, image: Signature, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", noise(20, 30))
    for limit in (400, 100):  # Pillow warns at the first and refuses at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(LimitError, match=r"a\.png"):
            list(opened(tmp_path, image))


def test_thin_images_do_not_blow_up(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", np.zeros((1, 3000, 3)))
    signature = inputs(x=("float32", 1, 3, 224, 224))
    with pytest.raises(LimitError, match=r"a\.png: an image of 3000x1 would become 768000x256"):
        list(open_dataset(str(tmp_path), signature, DataOptions(preprocess="imagenet")))


def test_folders_that_are_not_clear(tmp_path: Path, image: Signature) -> None:
    with pytest.raises(DataError, match="holds no data"):
        opened(tmp_path, image)
    save(tmp_path / "cat/a.png", noise(2, 2))
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="dog holds no images"):
        opened(tmp_path, image)
    save(tmp_path / "b.png", noise(2, 2))
    with pytest.raises(DataError, match=r"beside its subfolders \(b\.png\)"):
        opened(tmp_path, image)
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    with pytest.raises(DataError, match=r"holds \.npz files and images"):
        opened(tmp_path, image)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('fit = "squeeze"', "fit: Input should be 'crop'"),
        ('fit = "none"\nmeen = 1', "meen: Extra inputs are not permitted; wanted one of preset"),
        ('preset = "imagnet"', "unknown preset 'imagnet'; wanted one of imagenet"),
        ('fit = "none"\nstd = 0', "std must not be zero"),
        ('fit = "none"\nmean = [1, 2]', "mean has 2 values; wanted 1 or 3"),
        ('fit = "stretch"', "'stretch' has no size"),
        ('fit = "none"\nchannels = "gray"', "channels 'gray' are 1; wanted 3"),
        ('fit = "none"\ninput = "y"', "no input 'y'"),
        ('fit = "none"\n[constants]\nz = 1', "constant 'z' is no other input"),
        ("fit =", "cannot be read as TOML"),
    ],
)
def test_bad_preprocessing(tmp_path: Path, image: Signature, toml: str, message: str) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(UsageError, match=message):
        opened(tmp_path, image, toml)


def test_preprocessing_must_be_said(tmp_path: Path, image: Signature) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(UsageError, match=r"a preprocess\.toml in it, or.*imagenet-pm1"):
        open_dataset(str(tmp_path), image)
    with pytest.raises(UsageError, match="unknown preprocessing 'imagnet'"):
        open_dataset(str(tmp_path), image, DataOptions(preprocess="imagnet"))


def test_a_file_may_start_from_a_preset(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", np.full((4, 4, 3), 255))
    signature = inputs(x=("float32", None, 3, None, None))
    found = pixels(tmp_path, signature, 'preset = "imagenet-pm1"\nsize = [8, 16]\nscale = 1')
    assert found.shape == (1, 3, 8, 16)
    np.testing.assert_allclose(found, 509)


def test_other_inputs(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    signature = inputs(x=("uint8", None, 3, None, None), t=("float32",), s=("int64", 1, 2))
    with pytest.raises(UsageError, match="says nothing for input s, t"):
        opened(tmp_path, signature)
    (sample,) = opened(tmp_path, signature, RAW + "[constants]\nt = 0.5\ns = [[640, 640]]")
    assert sample.feeds["t"].dtype == np.float32
    assert sample.feeds["s"].tolist() == [[640, 640]]
    with pytest.raises(UsageError, match="constant s: preprocessing: s has 1 axes"):
        opened(tmp_path, signature, RAW + "[constants]\nt = 0.5\ns = [640, 640]")


def test_no_input_for_a_picture(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(UsageError, match="0 inputs could take the picture"):
        opened(tmp_path, inputs(x=("float32", None, 3)))
    with pytest.raises(UsageError, match="2 inputs could take the picture"):
        opened(tmp_path, inputs(x=("uint8", 1, 3, 2, 2), y=("uint8", 1, 3, 2, 2)))


def test_a_wrong_size_names_the_sample(tmp_path: Path, inputs: Inputs) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(DataError, match=r"a\.png: x is 1x3x2x2, axis 2 has size 2; wanted 4"):
        list(opened(tmp_path, inputs(x=("uint8", 1, 3, 4, 4))))


def test_declared_batches_are_joined(tmp_path: Path, inputs: Inputs) -> None:
    for at in range(5):
        save(tmp_path / str(at // 3) / f"{at}.png", noise(2, 2, seed=at))
    dataset = opened(tmp_path, inputs(x=("uint8", 2, 3, 2, 2)))
    assert [s.feeds["x"].shape for s in dataset] == [(2, 3, 2, 2)] * 2
    assert [np.asarray(s.label).tolist() for s in dataset] == [[0, 0], [0, 1]]
    assert "the last 1 samples were left out" in dataset.notes[-1]


def test_fingerprints(tmp_path: Path, image: Signature) -> None:
    save(tmp_path / "a" / "a.png", noise(2, 2))
    first = opened(tmp_path, image).fingerprint
    assert first == opened(tmp_path, image).fingerprint
    assert first != opened(tmp_path, image, RAW + "scale = 0.5").fingerprint
    save(tmp_path / "a" / "a.png", noise(2, 2, seed=1))
    assert first != opened(tmp_path, image).fingerprint


def test_without_pillow(tmp_path: Path, image: Signature, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", noise(2, 2))
    dataset = opened(tmp_path, image)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[images\]'"):
        list(dataset)
