"""The task silero-vad: its streams and labels, its source, and state carried in scoring."""

from __future__ import annotations

import io
import tarfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxopt.errors import BackendMissingError, DataError
from onnxopt.progress import Progress
from onnxopt_models import debian
from onnxopt_models.scoring import SampleChoice, score
from onnxopt_models.tasks import silero_vad, speech
from onnxopt_models.tasks.folder import Description, build_folder
from onnxopt_models.tasks.task import Request, Task


def wav(samples: np.ndarray, rate: int = 8000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def tone(seconds: float, pause: float = 0.0, hertz: float = 440) -> np.ndarray:
    """A tone at 8 kHz, a pause, and the tone again."""
    at = np.arange(int(8000 * seconds)) / 8000
    loud = 0.5 * np.sin(2 * np.pi * hertz * at)
    return np.concatenate([loud, np.zeros(int(8000 * pause)), loud])


def deb(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    data = b"!<arch>\n"
    for name, content in {"debian-binary": b"2.0", "data.tar.xz": buffer.getvalue()}.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        data += head + content + b"\n" * (len(content) % 2)
    return data


@pytest.fixture
def package(tmp_path: Path) -> Path:
    tones = [tone(1 + n / 10, 0.5, 300 + 50 * n) for n in range(12)]
    files = {f"./usr/share/sounds/en/{n}.wav": wav(samples) for n, samples in enumerate(tones)}
    path = tmp_path / "sounds.deb"
    path.write_bytes(deb({**files, "./usr/share/sounds/silence/1.wav": wav(tone(2))}))
    return path


def test_a_missing_source_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(BackendMissingError, match="Debian package asterisk-core-sounds-en-wav"):
        silero_vad.TASK.build(tmp_path, samples=10)
    assert not list(tmp_path.rglob("task.json"))


def test_clips_know_where_somebody_speaks() -> None:
    clip = speech.read_clip(wav(tone(1, 0.5)), "a.wav")
    assert clip is not None
    assert len(clip.samples) == 2 * 8000 * 2.5
    assert len(clip.speech) == -(-len(clip.samples) // 512)
    frames = [0.032 * at for at, speaks in enumerate(clip.speech) if not speaks]
    assert 0.95 < frames[0] < 1.05 and 1.4 < frames[-1] < 1.55
    assert np.sqrt(speech.frame_power(clip.samples)[5:25].mean()) == pytest.approx(0.06, rel=0.1)
    assert speech.read_clip(wav(tone(0.1)), "b.wav") is None
    assert speech.read_clip(wav(np.zeros(8000)), "c.wav") is None
    for content in (b"RIFF", wav(tone(1), 22050), wav(tone(1), channels=2)):
        with pytest.raises(DataError, match=r"d\.wav"):
            speech.read_clip(content, "d.wav")


def test_doubling_keeps_a_tone() -> None:
    slow, at = tone(1, hertz=1000), np.arange(2 * 16000) / 16000
    fast = speech.doubled(slow)
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * at)
    assert np.abs(fast - wanted)[100:15900].max() < 1e-3


def test_streams_are_seeded_and_their_labels_are_the_clips() -> None:
    clip = speech.read_clip(wav(tone(1)), "a.wav")
    assert clip is not None
    made = list(speech.streams([clip] * 12, [200, 30], seed=3))
    again = list(speech.streams([clip] * 12, [200, 30], seed=3))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(made, again, strict=True))
    samples, labels = made[0]
    assert len(samples) == 200 * 512 and len(labels) == 200
    assert 0.2 < labels.mean() < 0.9 and not labels[:9].any()
    assert len(made[1][1]) == 30
    assert np.array_equal(samples * 32768, np.round(samples * 32768))
    with pytest.raises(DataError, match="the 1 clips do not last for 400 frames"):
        list(speech.streams([clip], [200, 200], seed=3))


def test_steps_overlap_by_the_context() -> None:
    feeds = silero_vad.feed(np.arange(3 * 512) / 32768)
    assert feeds["input"].shape == (3, 576) and feeds["input"].dtype == np.float32
    assert not feeds["input"][0, :64].any()
    assert np.array_equal(feeds["input"][1, :64], feeds["input"][0, -64:])
    assert np.array_equal(feeds["input"][:, 64:].reshape(-1) * 32768, np.arange(3 * 512))
    assert feeds["sr"] == 16000 and feeds["sr"].shape == ()


def test_parts_share_no_clip(package: Path) -> None:
    whole = silero_vad.clips(package, "all")
    parts = [silero_vad.clips(package, part) for part in ("calibration", "search", "test")]
    assert len(whole) == 12 == sum(map(len, parts))
    request = Request(250, 0, "all")
    lengths = [200, 50]
    made = list(silero_vad.samples(speech.streams(whole, lengths, request.seed)))
    assert [len(one["labels"]) for one in made] == lengths


def toy(cache_dir: Path, request: Request, progress: Progress) -> Path:
    """Three streams; the label is whether the sum so far is above 2."""
    steps = np.array([[1], [0], [1], [1]], np.float32)
    one = {"x": steps, "labels": (steps.cumsum() > 2).astype(np.int64)}
    description = Description("toy", 3, {"seed": request.seed})
    return build_folder(cache_dir, description, [dict(one) for _ in range(3)], progress)


def test_scoring_carries_state(tmp_path: Path) -> None:
    def ends(*names: str) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in names]

    add = helper.make_node("Add", ["x", "s"], ["sN"])
    nodes = [add, helper.make_node("Identity", ["sN"], ["y"])]
    graph = helper.make_graph(nodes, "g", ends("x", "s"), ends("y", "sN"))
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    task = Task("toy", "toy", "roc-auc", "sums", toy, state={"s": "sN"})
    found = score(task, path, choice=SampleChoice(12), cache_dir=tmp_path)
    assert (found.score.mean, found.score.samples) == (1.0, 12)
    with pytest.raises(DataError, match="give --state s=sN"):
        score(replace(task, state={}), path, choice=SampleChoice(12), cache_dir=tmp_path)
