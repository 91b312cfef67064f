"""Hugging Face folders on disk: ``config.json`` beside safetensors, read by transformers."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from onnxopt.errors import ModelError, UsageError
from onnxopt.exporting.dimensions import parse_input
from onnxopt.exporting.failing import explained, require
from onnxopt.exporting.hashing import files_digest
from onnxopt.exporting.huggingface_cache import BATCH, PAST, SEQUENCE, TOTAL, with_cache
from onnxopt.exporting.options import ExportOptions
from onnxopt.exporting.silence import silent
from onnxopt.exporting.torch_source import ModuleSource
from onnxopt.signature import TensorSpec

_SAMPLES = "samples"
_SIZES = {BATCH: 2, SEQUENCE: 5, PAST: 3, TOTAL: 8, _SAMPLES: 16000}
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_PREPARATION = "preprocessor_config.json"
_TEXT = ("input_ids", "attention_mask", "token_type_ids")


def open_folder(path: Path, options: ExportOptions) -> ModuleSource:
    """The model of a folder: an encoder, a classifier, or a decoder with or without its cache.

    Nothing is fetched and no code of the folder is run.

    Raises:
        ModelError: The folder cannot be read, its weights do not fit, or its kind is unknown.
        BackendMissingError: transformers is missing.
    """
    require("transformers", "torch", "transformers", "safetensors")
    import transformers

    with explained(f"{path.name}/config.json cannot be read"), silent():
        config = transformers.AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    model = _load(path, config, options)
    causal = type(model).__name__.endswith(_CAUSAL)
    if options.kv_cache and not causal:
        raise UsageError(f"--kv-cache for a {type(model).__name__}", "a decoder (…ForCausalLM)")
    inputs = tuple(map(parse_input, options.inputs)) or _inputs(model, config, path)
    if options.kv_cache:
        model, past = with_cache(model, config)
        inputs = (*_with_total(inputs), *past)
    model.eval()
    model.requires_grad_(False)
    return ModuleSource(
        module=model,
        origin=path.resolve().name,
        digest=files_digest(_weights(path)),
        library=f"transformers {transformers.__version__}",
        inputs=inputs,
        ranges={
            "input_ids": (0, int(getattr(_text(config), "vocab_size", 2))),
            "attention_mask": (1, 2),
            "token_type_ids": (0, int(getattr(_text(config), "type_vocab_size", 1) or 1)),
        },
        sizes=_SIZES,
        tokenizer=path / "tokenizer.json" if (path / "tokenizer.json").is_file() else None,
    )


def _load(path: Path, config: Any, options: ExportOptions) -> Any:
    import transformers

    names = list(getattr(config, "architectures", None) or [])
    kind = getattr(transformers, names[0], None) if names else transformers.AutoModel
    if kind is None:
        raise ModelError(
            f"{path.name} is a {names[0]}, which transformers {transformers.__version__} lacks",
            "an architecture of transformers itself: code in the folder is not run",
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{path.name} is a {kind.__name__}: encoder and decoder in one",
            "an encoder, a classifier or a decoder",
            "write a factory for each half: module:factory",
        )
    config.use_cache = False
    if not _weights(path) and not options.trust_pickle:
        raise ModelError(
            f"{path.name} holds no .safetensors",
            "weights that can be read without running code",
            "give --trust-pickle if you know where the others come from",
        )
    with explained(f"{path.name} cannot be loaded"), silent():
        model, loading = kind.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            use_safetensors=bool(_weights(path)),
            attn_implementation="eager",
            dtype="float32",
            output_loading_info=True,
        )
    _check(path, kind, loading)
    return model


def _check(path: Path, kind: Any, loading: dict[str, Any]) -> None:
    """Weights that are missing would be random numbers."""
    missing = sorted(loading.get("missing_keys", ()))
    mismatched = [str(entry[0]) for entry in loading.get("mismatched_keys", ())]
    trouble = [f"it lacks {', '.join(missing[:3])}"] if missing else []
    trouble += [f"{name} has another shape" for name in mismatched[:1]]
    if trouble:
        raise ModelError(
            f"the weights of {path.name} do not fit {kind.__name__}: {'; '.join(trouble)}",
            "the weights that belong to its config.json",
        )


def _weights(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors"))


def _inputs(model: Any, config: Any, path: Path) -> tuple[TensorSpec, ...]:
    """What a model takes: text, pictures, both, or sound."""
    known = inspect.signature(model.forward).parameters
    kinds = int(getattr(_text(config), "type_vocab_size", 0) or 0)
    names = [n for n in _TEXT if n in known and (n != "token_type_ids" or kinds > 1)]
    main = getattr(model, "main_input_name", "")
    found: tuple[TensorSpec, ...] = ()
    if "input_ids" in names and (main != "pixel_values" or _takes_both(config)):
        found = tuple(TensorSpec(name, "int64", (BATCH, SEQUENCE)) for name in names)
    if "pixel_values" in known and (main == "pixel_values" or _takes_both(config)):
        found = (*found, TensorSpec("pixel_values", "float32", _picture(config, path)))
    if not found and main in known and main == "input_values":
        found = (TensorSpec(main, "float32", (BATCH, _SAMPLES)),)
    if not found:
        raise ModelError(
            f"{type(model).__name__} takes {main or 'something unknown'}",
            "input_ids, pixel_values or input_values",
            "say with --input what it takes, or write a module:factory",
        )
    return found


def _text(config: Any) -> Any:
    """The part of a config that is about text."""
    return getattr(config, "text_config", None) or config


def _takes_both(config: Any) -> bool:
    """Whether a model reads text and pictures, each with a config of its own."""
    parts = (getattr(config, name, None) for name in ("text_config", "vision_config"))
    return all(part is not None for part in parts)


def _picture(config: Any, path: Path) -> tuple[int | str, ...]:
    """The shape of pictures, by the config or by what prepares them."""
    vision = getattr(config, "vision_config", None) or config
    side = getattr(vision, "image_size", None) or _prepared(path)
    high, wide = side if isinstance(side, list | tuple) else (side, side)
    if not isinstance(high, int) or not isinstance(wide, int):
        raise ModelError(
            f"neither config.json nor {_PREPARATION} says how large pictures are",
            "image_size",
            "say it with --input pixel_values=float32[N,3,512,512]",
        )
    return BATCH, int(getattr(vision, "num_channels", 3)), high, wide


def _prepared(path: Path) -> Any:
    """The size that pictures are brought to before the model, where a file says it."""
    file = path / _PREPARATION
    with explained(f"{path.name}/{_PREPARATION} cannot be read"):
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for size in (known.get("crop_size"), known.get("size")):
        if isinstance(size, dict) and "height" in size and "width" in size:
            return [size["height"], size["width"]]
        if isinstance(size, dict) and "shortest_edge" in size:
            return size["shortest_edge"]
        if isinstance(size, int):
            return size
    return None


def _with_total(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """With a cache the mask covers what is in it too."""
    return tuple(
        TensorSpec(spec.name, spec.dtype, (BATCH, TOTAL)) if spec.name == "attention_mask" else spec
        for spec in inputs
    )
