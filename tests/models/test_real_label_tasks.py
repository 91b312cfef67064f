"""The tasks effnet-lite0, recommender and mlp: what they feed, and whose labels they take."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxopt.errors import DataError, ModelError
from onnxopt_models.built.movielens import MovieLens, read_movielens
from onnxopt_models.tasks import ddddocr, ddddocr_int8, effnet_lite0, mlp, recommender
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.stamps import CLASSES, FOLDER
from onnxopt_models.tasks.task import Request, Split

PARTS: tuple[Split, ...] = ("calibration", "search", "test")


def png(side: int = 40) -> bytes:
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[8:-8, 4:-4] = (200, 30, 30, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TestStamps:
    @pytest.fixture(autouse=True)
    def _files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = png()
        self.found = {f"{FOLDER}/{name}": data for name in CLASSES}
        monkeypatch.setattr(
            effnet_lite0, "package_files", lambda path, suffix: iter(self.found.items())
        )

    def test_classes_are_of_imagenet(self) -> None:
        assert len(CLASSES) == 123
        assert all(0 <= index < 1000 for index in CLASSES.values())
        assert len(set(CLASSES.values())) > 90

    def test_every_picture_is_seen_before_one_is_seen_again(self) -> None:
        request = Request(250)
        pictures = effnet_lite0.collect(Path("x.deb"), request)
        made = list(effnet_lite0.samples(pictures, request))
        labels = [int(sample["labels"]) for sample in made]
        assert sorted(labels[:123]) == sorted(CLASSES.values())
        assert labels[:123] == labels[123:246]
        assert not np.array_equal(made[0]["image"], made[123]["image"])
        again = list(effnet_lite0.samples(pictures, Request(3)))
        assert all(
            np.array_equal(a["image"], b["image"]) for a, b in zip(made, again, strict=False)
        )
        for sample in made[:20]:
            assert sample["image"].shape == (1, 3, 224, 224)
            assert sample["image"].dtype == np.float32
            assert -127 / 128 <= sample["image"].min() < sample["image"].max() <= 1

    def test_parts_share_no_picture(self) -> None:
        parts = [{name for name in CLASSES if is_in(name, part)} for part in PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 123
        assert min(map(len, parts)) >= 20

    def test_too_many_views_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"123 pictures.* at most 7872 samples"):
            effnet_lite0.collect(Path("x.deb"), Request(10_000))

    def test_a_package_without_a_picture_is_refused(self) -> None:
        del self.found[f"{FOLDER}/animals/birds/hen.png"]
        with pytest.raises(DataError, match=r"x\.deb has no animals/birds/hen\.png"):
            effnet_lite0.collect(Path("x.deb"), Request(10))

    def test_a_view_shows_the_cut_out_on_something_light(self) -> None:
        picture = Image.open(io.BytesIO(png())).convert("RGBA")
        for seed in range(30):
            pixels = effnet_lite0.view(picture, np.random.default_rng(seed)).astype(int)
            red = (pixels[..., 0] > 150) & (pixels[..., 1] < 80)
            assert 0.3 < red.mean() < 0.95
            assert pixels.reshape(-1, 3)[~red.ravel()].mean() > 140


def movielens(folder: Path, users: int = 8, films: int = 25) -> MovieLens:
    people = [f"{u}\t{20 + u}\t{'MF'[u % 2]}\t{['writer', 'none'][u % 2]}\t0" for u in range(users)]
    shelf = [
        f'{i}\t"Film {i}\t{1990 + i if i else ""}\tDrama {"War" if i % 3 else ""}'
        for i in range(films)
    ]
    rated = [f"{u}\t{i}\t{1 + (u + i) % 5}\t{1000 - i}" for u in range(users) for i in range(films)]
    for end, rows in (("inter", rated), ("item", shelf), ("user", people)):
        text = "\n".join(["head\tof\tthe\tfile", *rows]) + "\n"
        (folder / f"ml.{end}").write_text(text, encoding="utf-8")
    return read_movielens(folder / "ml.inter", folder / "ml.item", folder / "ml.user")


class TestMovieLens:
    def test_the_last_fifth_of_a_users_ratings_is_late(self, tmp_path: Path) -> None:
        data = movielens(tmp_path)
        assert data.late.sum() == 8 * 5
        for user in range(8):
            late = data.items[data.late & (data.users == user)]
            assert sorted(late) == [0, 1, 2, 3, 4]

    def test_features(self, tmp_path: Path) -> None:
        data = movielens(tmp_path)
        rows = np.arange(3)
        feeds = data.feeds(rows)
        assert list(feeds) == ["user", "item", "occupation", "gender", "age", "year", "genres"]
        assert feeds["genres"].shape == (3, 2)
        assert feeds["genres"].dtype == feeds["age"].dtype == np.float32
        assert feeds["user"].dtype == feeds["occupation"].dtype == np.int64
        stars = 1 + (data.users + data.items) % 5
        assert np.array_equal(data.liked, stars >= 4)

    def test_slates_hold_late_films_of_one_user(self, tmp_path: Path) -> None:
        data = movielens(tmp_path, users=12, films=80)
        found = recommender.slates(data, Request(24))
        assert sorted(np.concatenate(found)) == list(np.flatnonzero(data.late))
        assert all(len(rows) == 8 and len(set(data.users[rows])) == 1 for rows in found)
        with pytest.raises(DataError, match="24 slates"):
            recommender.slates(data, Request(25))
        sample = next(iter(recommender.samples(data, Request(1))))
        assert sample["user"].shape == sample["labels"].shape == (8,)

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        movielens(tmp_path)
        (tmp_path / "ml.inter").write_text("a\tb\tc\td\n99\t1\t3\t5\n")
        with pytest.raises(DataError, match="no MovieLens-100k"):
            read_movielens(*(tmp_path / f"ml.{end}" for end in ("inter", "item", "user")))

    def test_ndcg(self) -> None:
        odds = {"log_odds": np.array([[3.0], [2.0], [1.0]])}
        assert recommender.ndcg(odds, np.array([1, 1, 0])) == 1
        assert recommender.ndcg(odds, np.array([0, 1, 0])) == pytest.approx(1 / np.log2(3))
        assert recommender.ndcg.weight(np.array([0, 0])) == 0
        with pytest.raises(DataError, match="2 labels for 3 scores"):
            recommender.ndcg(odds, np.array([0, 1]))


class TestNearestNeighbours:
    def test_settings_differ_and_parts_share_none(self) -> None:
        whole = mlp.points(Request(2336))
        assert len(set(whole)) == 2336
        parts = [set(mlp.points(Request(500, split=part))) for part in PARTS]
        assert len(set.union(*parts)) == 1500
        with pytest.raises(DataError, match="at most 2336 samples"):
            mlp.points(Request(2337))

    def test_labels_are_what_scikit_learn_finds(self) -> None:
        pytest.importorskip("sklearn")
        first, again = (list(mlp.samples(Request(3))) for _ in range(2))
        for sample, (neighbours, algorithm, folds) in zip(
            first, mlp.points(Request(3)), strict=True
        ):
            assert sample["input"].tolist() == [[neighbours, algorithm, 1, folds]]
            assert 0.2 < sample["labels"][0] < 0.5
        assert [s["labels"][0] for s in first] == [s["labels"][0] for s in again]

    def test_no_algorithm_finds_other_neighbours(self) -> None:
        pytest.importorskip("sklearn")
        from sklearn.datasets import load_diabetes
        from sklearn.model_selection import cross_val_score
        from sklearn.neighbors import KNeighborsRegressor

        table, target = load_diabetes(return_X_y=True)
        for algorithm in ("ball_tree", "brute", "kd_tree"):
            model = KNeighborsRegressor(17, algorithm=algorithm)
            scores = cross_val_score(model, table, target, cv=3, scoring="r2")
            assert scores.mean() == pytest.approx(mlp.truth(17, 3), abs=1e-9)


def test_the_older_reader_has_a_charset_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "charsets.py"
    source.write_text("CHARSET_OLD = ['', 'x']\nCHARSET_BETA = ['', 'y']\n", encoding="utf-8")
    assert ddddocr.read_charset(source, ddddocr_int8.CHARSET) == ("", "x")
    assert ddddocr.read_charset(source) == ("", "y")
    with pytest.raises(ModelError, match="holds no CHARSET_NEW"):
        ddddocr.read_charset(source, "CHARSET_NEW")
