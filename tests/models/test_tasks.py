"""Tasks: equal requests give equal bytes, and the parts of a split share no word."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from onnxopt.errors import BackendMissingError, DataError, UsageError
from onnxopt.progress import no_progress
from onnxopt_models.tasks import find_task, pp_ocr_det, pp_ocr_rec, text_sources
from onnxopt_models.tasks import task as task_module
from onnxopt_models.tasks.folder import Arrays, Description, build_folder
from onnxopt_models.tasks.render import LineRenderer, Look, bgr_planes, draw_look
from onnxopt_models.tasks.task import Request, Split
from onnxopt_models.tasks.text_sources import deal, source_words

WORDS = tuple(f"word{chr(97 + i)}{chr(97 + j)}" for i in range(20) for j in range(20))
PLAIN = Look(
    font=0,
    size=32,
    ink=(0, 0, 0),
    paper=(255, 255, 255),
    slant=0.0,
    turn=0.0,
    shrink=1.0,
    blur=0.0,
    noise=0.0,
    margin=0.2,
)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> LineRenderer:
    """A renderer with the font that Pillow carries, so that no network is needed."""
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path = tmp_path_factory.mktemp("fonts") / "font.ttf"
    path.write_bytes(font.font_bytes)
    return LineRenderer((path,))


@pytest.fixture
def word_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS))
    monkeypatch.setattr(text_sources, "fetch", lambda name, cache_dir: path)
    return path


def digest(arrays: Arrays) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest()


def test_equal_seeds_give_equal_lines(renderer: LineRenderer) -> None:
    def made(seed: int) -> list[str]:
        return [digest(s) for s in pp_ocr_rec.samples(WORDS, renderer, Request(5, seed))]

    assert made(3) == made(3)
    assert made(3) != made(4)


def test_a_line_is_fed_as_the_model_takes_it(renderer: LineRenderer) -> None:
    for sample in pp_ocr_rec.samples(WORDS, renderer, Request(20)):
        x = sample["x"]
        assert x.dtype == np.float32
        assert x.shape[:3] == (1, 3, 48)
        assert x.shape[3] >= 320
        assert np.abs(x).max() <= 1
        assert sample["labels"].shape == (1,)
        assert sample["labels"].dtype.kind == "U"


def test_a_short_line_is_padded_and_a_long_one_is_not() -> None:
    short = np.full((24, 60, 3), 255, np.uint8)
    x = pp_ocr_rec.feed(short)["x"]
    assert x.shape == (1, 3, 48, 320)
    assert (x[..., :120] == 1).all()
    assert (x[..., 120:] == 0).all()
    assert pp_ocr_rec.feed(np.zeros((24, 301, 3), np.uint8))["x"].shape[3] == 602


def test_planes_are_blue_green_red() -> None:
    picture = np.zeros((1, 1, 3), np.uint8)
    picture[0, 0] = (255, 0, 51)
    planes = bgr_planes(picture, (0.0, 0.5, 0.0), (1.0, 0.5, 2.0))
    assert planes[0, :, 0, 0] == pytest.approx([0.2, -1.0, 0.5])


def test_a_plain_line_is_ink_on_paper(renderer: LineRenderer) -> None:
    pixels = renderer.line("Ink", PLAIN, np.random.default_rng(0))
    assert pixels.min() == 0
    assert (pixels[0] == 255).all()
    assert 0.02 < (pixels < 128).mean() < 0.5


@pytest.mark.parametrize("change", [{"slant": 0.5}, {"slant": -0.5}, {"turn": 8.0}, {"turn": -8.0}])
def test_a_tilted_line_keeps_its_ink(renderer: LineRenderer, change: dict[str, float]) -> None:
    def ink(look: Look) -> float:
        pixels = renderer.line("tilted", look, np.random.default_rng(0))
        assert (pixels[0] > 200).all()
        assert (pixels[:, 0] > 200).all()
        assert (pixels[:, -1] > 200).all()
        return float((255 - pixels.astype(np.float64)).sum())

    tilted = Look(**{**vars(PLAIN), **change})
    assert ink(tilted) == pytest.approx(ink(PLAIN), rel=0.02)


def test_a_positive_slant_leans_right(renderer: LineRenderer) -> None:
    look = Look(**{**vars(PLAIN), "slant": 0.5})
    dark = renderer.line("l", look, np.random.default_rng(0))[..., 0] < 128
    rows = np.flatnonzero(dark.any(axis=1))
    assert dark[rows[1]].argmax() > dark[rows[-2]].argmax() + 3


def test_looks_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    for look in (draw_look(rng, 9) for _ in range(300)):
        assert 0 <= look.font < 9
        assert all(0 <= level <= 255 for level in (*look.ink, *look.paper))
        assert 0 < look.shrink <= 1


def test_no_word_is_dealt_twice() -> None:
    hands = list(deal(WORDS, Request(250, seed=1), at_most=2))
    dealt = [word for hand in hands for word in hand]
    assert len(hands) == 250
    assert len(set(dealt)) == len(dealt)


def test_too_many_samples_are_refused_with_a_number() -> None:
    with pytest.raises(DataError, match="about 266 samples"):
        list(deal(WORDS, Request(400), at_most=2))


def test_the_parts_share_no_word_and_make_the_whole(word_list: Path, tmp_path: Path) -> None:
    names: tuple[Split, ...] = ("calibration", "search", "test")
    parts = [set(source_words(tmp_path, name)) for name in names]
    assert all(parts)
    assert sum(map(len, parts)) == len(WORDS)
    assert set.union(*parts) == set(source_words(tmp_path, "all"))


def test_a_page_is_fed_as_the_model_takes_it(renderer: LineRenderer) -> None:
    pages = [list(pp_ocr_det.samples(WORDS, renderer, Request(2, seed))) for seed in (0, 0, 1)]
    assert [*map(digest, pages[0])] == [*map(digest, pages[1])]
    assert digest(pages[0][0]) != digest(pages[2][0])
    for sample in pages[0]:
        assert list(sample) == ["x", "labels"]
        assert sample["labels"].shape[1] == 4
        assert (sample["labels"][:, 2:] > sample["labels"][:, :2]).all()
        assert sample["x"].shape == (1, 3, 640, 640)
        assert sample["x"].dtype == np.float32
        assert sample["x"].std() > 0.05


def test_a_folder_is_made_once_and_byte_for_byte(tmp_path: Path) -> None:
    description = Description("some", 3, {"seed": 0}, {"note": "x"})
    made = [{"x": np.full(2, i, np.float32), "labels": np.array([f"l{i}"])} for i in range(3)]
    seen: list[int] = []
    home = build_folder(
        tmp_path / "a", description, made, lambda what, done, all: seen.append(done)
    )
    twin = build_folder(tmp_path / "b", description, made, no_progress)
    assert [p.name for p in sorted(home.iterdir())] == [
        "00000.npz",
        "00001.npz",
        "00002.npz",
        "task.json",
    ]
    assert all((twin / p.name).read_bytes() == p.read_bytes() for p in home.iterdir())
    assert build_folder(tmp_path / "a", description, iter(()), no_progress) == home
    assert seen == [1, 2, 3]
    assert json.loads((home / "task.json").read_text())["note"] == "x"
    with np.load(home / "00001.npz", allow_pickle=False) as arrays:
        assert arrays["labels"][0] == "l1"


def test_other_parameters_are_another_folder() -> None:
    keys = {Description("some", n, {"seed": seed}).key for n in (1, 2) for seed in (0, 1)} | {
        Description("some", 1, {"seed": 0}, {"python": "3"}).key
    }
    assert len(keys) == 4


def test_an_unfinished_folder_gives_way(tmp_path: Path) -> None:
    description = Description("some", 1, {})
    stale = tmp_path / "tasks" / f"some-{description.key}"
    stale.mkdir(parents=True)
    (stale / "junk").write_text("")
    home = build_folder(tmp_path, description, [{"x": np.zeros(1)}], no_progress)
    assert home == stale
    assert not (home / "junk").exists()


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        build_folder(
            tmp_path,
            Description("some", 400, {}),
            ({"x": np.zeros(len(hand))} for hand in deal(WORDS, Request(400), 2)),
            no_progress,
        )
    assert list((tmp_path / "tasks").iterdir()) == []


def test_build_refuses_nonsense(tmp_path: Path) -> None:
    task = find_task("pp-ocr-rec")
    with pytest.raises(UsageError, match="0 samples"):
        task.build(tmp_path, samples=0)
    with pytest.raises(UsageError, match="no split called 'train'"):
        task.build(tmp_path, split="train")  # type: ignore[arg-type]


def test_build_without_pillow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_module, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"pip install onnxopt\[images\]"):
        find_task("pp-ocr-rec").build(tmp_path)


@pytest.mark.real
def test_the_real_task_builds_with_pinned_fonts_and_words(tmp_path: Path) -> None:
    task = find_task("pp-ocr-rec")
    home = task.build(tmp_path, samples=6, seed=7, split="test")
    files = sorted(home.glob("*.npz"))
    assert [p.name for p in files] == [f"{i:05d}.npz" for i in range(6)]
    assert all(a.name < b.name for a, b in pairwise(files))
    described = json.loads((home / "task.json").read_text())
    assert described["split"] == "test"
    assert "Lato-Regular.ttf" in described["sources"]["font-lato"]
    assert len(source_words(tmp_path, "all")) == 7776
