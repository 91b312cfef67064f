"""Hugging Face folders on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cli
import numpy as np
import pytest

from onnxopt.errors import ModelError, UsageError
from onnxopt.exporting import ExportOptions, export_model
from onnxopt.runtime import open_session

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.huggingface

_SMALL: dict[str, Any] = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4}


def saved(path: Path, kind: str) -> Path:
    torch.manual_seed(0)
    more = {"num_hidden_layers": 1, "intermediate_size": 64}
    if kind == "classifier":
        config = transformers.BertConfig(**_SMALL, **more, num_labels=3)
        model = transformers.BertForSequenceClassification(config)
    elif kind == "pictures":
        config = transformers.ViTConfig(hidden_size=32, num_attention_heads=4, **more)
        config.image_size, config.patch_size = 32, 8
        model = transformers.ViTModel(config)
    elif kind == "sound":
        wide = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4)}
        config = transformers.Wav2Vec2Config(
            **_SMALL,
            **more,
            **wide,
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
        model = transformers.Wav2Vec2ForCTC(config)
    elif kind == "both":
        text = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4, **more}
        seen = {"hidden_size": 32, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
        config = transformers.CLIPConfig(
            text_config=text, vision_config={**seen, **more}, projection_dim=16
        )
        model = transformers.CLIPModel(config)
    elif kind == "segments":
        config = transformers.SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[16, 16, 16, 16], decoder_hidden_size=16
        )
        model = transformers.SegformerForSemanticSegmentation(config)
    else:
        config = transformers.LlamaConfig(**_SMALL, **more, num_key_value_heads=2)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(path / kind)
    return path / kind


def test_classifiers_and_pictures(tmp_path: Path) -> None:
    made = export_model(saved(tmp_path, "classifier"))
    assert [s.name for s in made.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [str(s) for s in made.outputs] == ["logits: float32[batch,3]"]
    assert made.framework.startswith("transformers")
    seen = export_model(saved(tmp_path, "pictures"))
    assert [str(s) for s in seen.inputs] == ["pixel_values: float32[batch,3,32,32]"]


def test_sound(tmp_path: Path) -> None:
    made = export_model(saved(tmp_path, "sound"))
    assert [str(s) for s in made.inputs] == ["input_values: float32[batch,samples]"]


def test_text_and_pictures_together(tmp_path: Path) -> None:
    made = export_model(saved(tmp_path, "both"))
    found = [str(s) for s in made.inputs]
    assert found[0] == "input_ids: int64[batch,sequence]"
    assert found[-1] == "pixel_values: float32[batch,3,32,32]"


def test_pictures_of_no_known_size_are_asked_for(tmp_path: Path) -> None:
    folder = saved(tmp_path, "segments")
    with pytest.raises(ModelError, match="says how large pictures are"):
        export_model(folder)
    stated = ExportOptions(inputs=("pixel_values=float32[N,3,64,64]",))
    assert str(export_model(folder, stated).inputs[0]) == "pixel_values: float32[N,3,64,64]"
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 64}}))
    assert str(export_model(folder).inputs[0]) == "pixel_values: float32[batch,3,64,64]"


def test_a_decoder_steps_with_its_cache_as_it_reads_at_once(tmp_path: Path) -> None:
    folder = saved(tmp_path, "decoder")
    whole = export_model(folder)
    stepping = export_model(folder, ExportOptions(kv_cache=True))
    assert whole.model is not None and stepping.model is not None
    assert str(stepping.inputs[1]) == "attention_mask: int64[batch,past_sequence+sequence]"
    assert str(stepping.outputs[1]) == "present.0.key: float32[batch,2,past_sequence+sequence,8]"
    ids = np.random.default_rng(0).integers(0, 50, (1, 6))
    with open_session(whole.model) as session:
        expected = session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["logits"]
    cache = {spec.name: np.zeros((1, 2, 0, 8), np.float32) for spec in stepping.inputs[2:]}
    logits = []
    with open_session(stepping.model) as session:
        for step in range(6):
            mask = np.ones((1, step + 1), np.int64)
            feeds = {"input_ids": ids[:, step : step + 1], "attention_mask": mask}
            found = session.run({**feeds, **cache})
            logits.append(found["logits"])
            cache = {name: found[name.replace("past_key_values", "present")] for name in cache}
    np.testing.assert_allclose(np.concatenate(logits, 1), expected, atol=1e-5)


def test_what_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "classifier")
    with pytest.raises(UsageError, match="kv-cache for a BertForSequenceClassification"):
        export_model(folder, ExportOptions(kv_cache=True))
    config = folder / "config.json"
    text = json.loads(config.read_text())
    config.write_text(json.dumps({**text, "architectures": ["OfMyOwn"]}))
    with pytest.raises(ModelError, match=r"is a OfMyOwn, which transformers .* lacks"):
        export_model(folder)
    config.write_text(json.dumps({**text, "num_hidden_layers": 2}))
    with pytest.raises(ModelError, match=r"do not fit BertForSequenceClassification: it lacks"):
        export_model(folder)
    config.write_text(json.dumps({**text, "hidden_size": 16}))
    with pytest.raises(ModelError, match=r"shape|cannot be loaded"):
        export_model(folder)
    config.write_text(json.dumps(text))
    (folder / "model.safetensors").rename(folder / "model.bin")
    with pytest.raises(ModelError, match=r"holds no .safetensors.*--trust-pickle"):
        export_model(folder)


@pytest.mark.real
@pytest.mark.slow
def test_minilm_from_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onnxopt_models.fetch import fetch

    pytest.importorskip("tokenizers")
    folder = fetch("folder-minilm-l6").parent
    text = tmp_path / "text.txt"
    text.write_text("A man is eating food.\nThe girl carries a baby.\nHello\n")
    out, fast = tmp_path / "minilm.onnx", tmp_path / "fast.onnx"
    sample = tmp_path / "sample.npz"
    words = ["export", folder, "-o", out, "--sample", text, "--save-sample", sample]
    done = cli.run(capsys, *words, "--json")
    assert done.code == 0, done.err
    check = done.json["check"]
    assert max(output["max_abs"] for output in check["outputs"]) < 1e-4
    assert check["runs"] == 4 and not done.json["random_sample"]
    assert done.json["outputs"][0]["shape"] == ["batch", "sequence", 384]
    faster = cli.run(capsys, "optimize", out, "-o", fast, "--data", sample)
    assert faster.code == 0, faster.err
