"""The tasks beyond text recognition: what they feed, and that they are what they say."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from onnxopt.errors import BackendMissingError, DataError, ModelError
from onnxopt.metrics import metric
from onnxopt_models.tasks import (
    TASKS,
    captcha,
    captcha_pictures,
    chars2vec,
    ddddocr,
    digits,
    magika,
    minilm_l3,
    orientation,
    pp_ocr_cls,
    pp_ocr_det,
)
from onnxopt_models.tasks.archives import members
from onnxopt_models.tasks.captcha_task import read_whole
from onnxopt_models.tasks.ctc import only_scores
from onnxopt_models.tasks.distortion import distorted
from onnxopt_models.tasks.docstrings import LONGEST, SHORTEST, beginning, beginnings
from onnxopt_models.tasks.folder import Arrays
from onnxopt_models.tasks.pages import draw_page
from onnxopt_models.tasks.render import LineRenderer, draw_look
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request, Split
from onnxopt_models.tasks.text_boxes import find_boxes, regions
from onnxopt_models.tasks.wordpiece import WordPiece, split_words

WORDS = tuple(f"wording{chr(97 + i)}{chr(97 + j)}" for i in range(20) for j in range(20))


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> LineRenderer:
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path = tmp_path_factory.mktemp("fonts") / "font.ttf"
    path.write_bytes(font.font_bytes)
    return LineRenderer((path,))


def same(a: list[Arrays], b: list[Arrays]) -> bool:
    return all(
        x.keys() == y.keys() and all(np.array_equal(x[key], y[key]) for key in x)
        for x, y in zip(a, b, strict=True)
    )


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_names_a_metric_that_exists(task: object) -> None:
    assert metric(task.metric).span in (1, None)  # type: ignore[attr-defined]


def test_the_parts_of_a_split_make_the_whole() -> None:
    items = [f"item{number}" for number in range(400)]
    parts = [{i for i in items if is_in(i, s)} for s in ("calibration", "search", "test")]  # type: ignore[arg-type]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 400
    assert 70 < len(parts[0]) < 130
    assert 160 < len(parts[2]) < 240
    assert is_in(b"item1", "all")


class TestCaptchas:
    def test_equal_seeds_give_equal_pictures(self) -> None:
        pytest.importorskip("captcha")
        first, again, other = (
            list(captcha.samples(Request(3, seed, "test"))) for seed in (0, 0, 1)
        )
        assert same(first, again)
        assert not same(first, other)
        for sample in first:
            assert sample["image"].shape == (1, 3, 60, 160)
            assert sample["image"].dtype == np.float32
            assert sample["image"].max() > 200
            assert len(sample["labels"][0]) == 4
            assert is_in(str(sample["labels"][0]), "test")

    def test_ddddocr_is_fed_grey(self) -> None:
        pytest.importorskip("captcha")
        sample = next(iter(ddddocr.samples(Request(1))))
        assert sample["input1"].shape == (1, 1, 64, 170)
        assert 0 <= sample["input1"].min() < sample["input1"].max() <= 1

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(captcha_pictures, "PACKAGE", "json")
        with pytest.raises(BackendMissingError, match=r"pip install onnxopt\[zoo\]"):
            captcha_pictures.CaptchaRenderer()

    def test_reading(self) -> None:
        steps = [captcha.CLASSES.index(c) for c in "AABC"]
        steps.insert(1, captcha.CLASSES.index(""))
        logits = np.eye(len(captcha.CLASSES))[steps][:, None]
        assert captcha.exact({"y": logits}, np.array(["AABC"])) == 1
        assert captcha.exact({"y": logits}, np.array(["ABC"])) == 0
        with pytest.raises(DataError, match=r"\[steps, 1, 37\]"):
            captcha.exact({"y": logits[..., 1:]}, np.array(["ABC"]))
        assert only_scores({"y": logits.swapaxes(0, 1)}, 37).shape == (5, 37)

    def test_case_is_free_where_a_task_says_so(self) -> None:
        logits = np.eye(3)[[1, 1, 0, 2]][:, None]
        free, strict = (
            read_whole("exact", lambda: ("", "a", "B"), blank=0, same=same)
            for same in (str.upper, str)
        )
        assert free({"y": logits}, np.array(["AB"])) == 1
        assert strict({"y": logits}, np.array(["AB"])) == 0

    def test_the_charset_is_read_and_not_run(self, tmp_path: Path) -> None:
        source = tmp_path / "charsets.py"
        source.write_text("raise SystemExit\nCHARSET_BETA = ['', 'a', 'B']\n", encoding="utf-8")
        assert ddddocr.read_charset(source) == ("", "a", "B")
        source.write_text("OTHER = []\n", encoding="utf-8")
        with pytest.raises(ModelError, match="holds no CHARSET_BETA"):
            ddddocr.read_charset(source)


class TestPages:
    def test_boxes_hold_the_ink(self, renderer: LineRenderer) -> None:
        for seed in range(5):
            page = draw_page(WORDS, renderer, np.random.default_rng(seed), 320)
            assert page.pixels.shape == (320, 320, 3)
            assert len(page.boxes)
            left, top, right, bottom = page.boxes.T
            assert (left >= 0).all()
            assert (right <= 320).all()
            assert (bottom[:-1] <= top[1:]).all()

    def test_a_page_is_turned_clockwise(
        self, renderer: LineRenderer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orientation, "feed", lambda picture: {"x": picture})
        seen = {}
        for index, sample in enumerate(orientation.samples(WORDS, renderer, Request(12))):
            rng = np.random.default_rng([0, 7, index])
            upright = draw_page(WORDS, renderer, rng, orientation.PAGE_SIDE).pixels
            label = int(sample["labels"])
            seen[label] = True
            back = np.rot90(sample["x"], label)
            assert np.array_equal(back, upright)
        assert len(seen) > 2

    def test_a_line_is_turned_or_not(
        self, renderer: LineRenderer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pp_ocr_cls, "feed", lambda picture: {"x": picture})
        for index, sample in enumerate(pp_ocr_cls.samples(WORDS[:1], renderer, Request(1, 5))):
            rng = np.random.default_rng([5, 6, index])
            upright = renderer.line(WORDS[0], draw_look(rng, 1), rng)
            half = slice(None, None, -1 if sample["labels"] else 1)
            assert np.array_equal(sample["x"], upright[half, half])

    def test_feeds(self, renderer: LineRenderer) -> None:
        for samples, shape, classes in (
            (orientation.samples, (1, 3, 224, 224), range(4)),
            (pp_ocr_cls.samples, (1, 3, 48, 192), range(2)),
        ):
            first, again = (list(samples(WORDS, renderer, Request(6, 3))) for _ in range(2))
            assert same(first, again)
            assert all(sample["x"].shape == shape for sample in first)
            assert all(int(sample["labels"]) in classes for sample in first)


class TestBoxes:
    def test_regions_touch_at_corners(self) -> None:
        picture = ["##..#..#", "..#.#..#", "....####", "#.......", "#.#.#..."]
        mask = np.array([[c == "#" for c in row] for row in picture])
        wanted = [(0, 0, 3, 2), (4, 0, 8, 3), (0, 3, 1, 5), (2, 4, 3, 5), (4, 4, 5, 5)]
        assert sorted(regions(mask)) == sorted(wanted)
        assert regions(np.zeros((3, 3), bool)) == []

    def test_a_shrunken_line_grows_back(self) -> None:
        chances = np.zeros((1, 1, 64, 128), np.float32)
        chances[0, 0, 20:28, 20:100] = 0.9
        chances[0, 0, 50:60, 20:100] = 0.4
        boxes = find_boxes({"y": chances})
        by = 8 * 80 * 1.6 / (2 * 88)
        assert boxes == pytest.approx(np.array([[20 - by, 20 - by, 100 + by, 28 + by]]))
        assert pp_ocr_det.hmean.observe({"y": chances}, boxes[0]) == (1, 1, 1)
        with pytest.raises(DataError, match="height, width"):
            find_boxes({"y": chances[0]})

    def test_many_regions_are_quick(self) -> None:
        mask = np.random.default_rng(0).random((640, 640)) < 0.3
        assert sum((r - a) * (b - t) for a, t, r, b in regions(mask)) >= mask.sum()


class TestDigits:
    def test_every_original_is_used_before_one_is_used_again(self) -> None:
        made = list(digits.samples(Request(80, split="search")))
        assert same(made, list(digits.samples(Request(80, split="search"))))
        assert all(sample["image"].shape == (1, 1, 32, 32) for sample in made)
        assert all(sample["image"].dtype == np.float32 for sample in made)
        assert all(0 <= sample["image"].min() < sample["image"].max() <= 1 for sample in made)
        assert [int(sample["labels"]) for sample in made[:16]] == [
            int(sample["labels"]) for sample in made[64:]
        ]
        assert not same(made[:16], made[64:])

    def test_calibration_search_and_test_share_no_original(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(digits, "distorted", lambda picture, rng: picture)

        def originals(split: Split) -> set[bytes]:
            path, chosen = digits.PARTS[split]
            count = len(np.load(path)["labels"][chosen])
            made = digits.samples(Request(count, split=split))
            return {sample["image"].tobytes() for sample in made}

        parts = [originals(split) for split in ("calibration", "search", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 128 + 510
        assert originals("all") == parts[2]

    def test_a_distortion_keeps_the_ink_near(self) -> None:
        picture = np.zeros((32, 32), np.float32)
        picture[12:20, 10:22] = 1
        for seed in range(50):
            moved = distorted(picture, np.random.default_rng(seed))
            assert moved.dtype == np.float32
            rows, columns = np.nonzero(moved > 0.7)
            assert abs(rows.mean() - 15.5) < 6
            assert abs(columns.mean() - 15.5) < 6
            assert 0.6 < len(rows) / 96 < 1.6

    def test_no_distortion_at_rest(self) -> None:
        class Still(np.random.Generator):
            def uniform(self, low: object = 0.0, high: object = 1.0, size: object = None) -> Any:
                return np.zeros(size) if size else 0.0  # type: ignore[call-overload]

            def gamma(self, *arguments: object) -> float:  # type: ignore[override]
                return 0.0

        picture = np.random.default_rng(0).random((32, 32)).astype(np.float32)
        assert np.array_equal(distorted(picture, Still(np.random.PCG64(0))), picture)


class TestWords:
    def test_a_word_and_its_typos(self) -> None:
        made = list(chars2vec.samples(WORDS, Request(20)))
        assert same(made, list(chars2vec.samples(WORDS, Request(20))))
        for sample in made:
            word, *typos = (
                "".join(chars2vec.ALPHABET[i] for i in row.argmax(axis=1))
                for row in sample["lstm_input"]
            )
            assert list(sample["labels"]) == [word] * 3
            assert word not in typos
            assert {len(typo) for typo in typos} == {len(word)}
        assert len(chars2vec.ALPHABET) == 59

    def test_one_typo(self) -> None:
        rng = np.random.default_rng(0)
        found = {chars2vec.misspelt("word", rng) for _ in range(200)}
        assert "word" not in found
        assert {len(word) for word in found} == {4}
        assert "owrd" in found


class TestFiles:
    def test_feed(self) -> None:
        row = magika.feed(b"  abc \n")["bytes"]
        assert row.shape == (1, 2048)
        assert row.dtype == np.int32
        assert bytes(row[0, :5].astype(np.uint8)) == b"abc \n"
        assert bytes(row[0, -5:].astype(np.uint8)) == b"  abc"
        assert (row[0, 5:-5] == 256).all()
        long = bytes(range(65, 91)) * 400
        row = magika.feed(long)["bytes"][0].astype(np.uint8)
        assert bytes(row) == long[:1024] + long[-1024:]

    def test_collected_files_are_different_and_of_known_types(self, tmp_path: Path) -> None:
        body = b"x = 1\n" * 20
        files = {f"a/{n}.py": body + str(n).encode() for n in range(9)}
        path = wheel(
            tmp_path / "w.whl", {**files, "b/copy.py": files["a/3.py"], "c.xyz": body, "d.py": b"1"}
        )
        found = magika.collect([("source-x", path)], Request(9))
        assert sorted(found) == sorted(("python", content) for content in files.values())
        made = list(magika.samples(found, ("csv", "python"), Request(9)))
        assert all(int(sample["labels"]) == 1 for sample in made)
        with pytest.raises(DataError, match="hold 9 files"):
            magika.collect([("source-x", path)], Request(10))

    def test_fragments_are_whole_lines(self) -> None:
        lines = b"".join(b"line %d of some text\n" % n for n in range(200))
        part = magika.fragment(lines, np.random.default_rng(0))
        assert part in lines
        assert len(part) < 500
        assert part.startswith(b"line")
        assert magika.fragment(b"\0\1", np.random.default_rng(0)) == b"\0\1"

    def test_labels(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        path.write_text('{"target_labels_space": ["a", "b"]}', encoding="utf-8")
        assert magika.labels(path) == ("a", "b")

    def test_a_broken_archive(self, tmp_path: Path) -> None:
        (tmp_path / "w.whl").write_bytes(b"no zip")
        with pytest.raises(DataError, match="cannot be read"):
            list(members(tmp_path / "w.whl", (".py",)))


class TestTexts:
    vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\n,\nhello\n"

    def test_pieces(self, tmp_path: Path) -> None:
        path = tmp_path / "vocab.txt"
        path.write_text(self.vocabulary, encoding="utf-8")
        tokenizer = WordPiece.read(path)
        assert tokenizer.encode("Héllo, unaffable") == [2, 8, 7, 4, 5, 6, 3]
        assert tokenizer.encode("unaffably " + "x" * 200) == [2, 1, 1, 3]
        assert WordPiece(tokenizer.numbers, longest=3).encode("hello hello") == [2, 8, 3]
        path.write_text("a\nb\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"no piece \[UNK\]"):
            WordPiece.read(path)

    def test_words(self) -> None:
        assert split_words("It's\ta 漢字\u200b") == ["it", "'", "s", "a", "漢", "字"]

    def test_docstrings_are_read_and_not_run(self, tmp_path: Path) -> None:
        text = "Says something about the matter at hand, and goes on about it. " * 3
        source = (
            f'raise SystemExit\ndef f():\n    """{text}"""\n'
            f'def _g():\n    """Hidden {text}"""\nclass C:\n    """Short."""\n'
        )
        path = wheel(
            tmp_path / "w.whl",
            {"a.py": source.encode(), "tests/b.py": source.encode(), "c.py": b"def ("},
        )
        assert list(beginnings(path)) == [beginning(text)]
        assert beginning("short") == ""
        assert beginning("a `b` *c* " * 20).startswith("a b c a b")
        assert SHORTEST - 20 < len(beginning("word " * 500)) <= LONGEST

    def test_libraries_have_equal_shares(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(minilm_l3, "LIBRARIES", ("one", "two"))
        body = "says something that is long enough to be taken as a text of this task here, " * 2
        functions = "".join(
            f'def f{n}():\n    """{n} {body}"""\ndef g{n}():\n    """{n} one {body}"""\n'
            for n in range(6)
        )
        path = wheel(tmp_path / "w.whl", {"a.py": functions.encode()})
        wheels = [("source-one", path), ("source-two", path)]
        found = minilm_l3.collect(wheels, Request(8))
        assert sorted(library for library, _ in found) == ["one"] * 4 + ["two"] * 4
        assert not any("one" in text for library, text in found if library == "one")
        with pytest.raises(DataError, match="one has 6 texts"):
            minilm_l3.collect(wheels, Request(20))
