"""Fake wheels, and the catalogs that pin them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from onnxopt_models.catalog import Catalog, Wheel, WheelFile

CONTENT = {"pkg/model.onnx": b"not really a model", "pkg/labels.json": b"[]"}


@dataclass(frozen=True)
class FakeWheel:
    """A wheel on disk and the catalog with the model ``fake`` that it pins."""

    path: Path
    catalog: Catalog

    @property
    def wheel(self) -> Wheel:
        return self.catalog.wheel[0]

    @property
    def files(self) -> tuple[WheelFile, ...]:
        return self.catalog.model[0].files


def pin(name: str, data: bytes) -> dict[str, object]:
    return {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


MakeWheel = Callable[..., FakeWheel]


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    def make(extra: dict[str, bytes] | None = None, data: bytes | None = None) -> FakeWheel:
        info = "zoo_fake-1.0.dist-info"
        members = {
            **CONTENT,
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: zoo-fake\nVersion: 1.0\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
            **(extra or {}),
        }
        blob = zipped(members) if data is None else data
        path = tmp_path / "index" / "zoo_fake-1.0-py3-none-any.whl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(blob)
        wheel = {"package": "zoo-fake", "version": "1.0", "licence": "MIT", **pin("x", blob)}
        del wheel["path"]
        model = {
            "id": "fake",
            "summary": "a fake",
            "opset": 17,
            "wheel": "zoo-fake",
            "licence": "MIT",
            "files": [pin(name, data) for name, data in CONTENT.items()],
        }
        return FakeWheel(path, Catalog.model_validate({"wheel": [wheel], "model": [model]}))

    return make
