"""Runs the command line on real models and writes docs/real-input.md with what it printed."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from onnxopt_models import digits
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.fetch import fetch
from onnxopt_models.tasks import find_task

PAGE = Path(__file__).parent.parent / "docs" / "real-input.md"
HEAD = """# On real input

Commands and what they printed, standard error first, written by `python benchmarks/real_input.py`.
`$REC` and `$DET` are what `onnxopt models pp-ocr-rec` and `… pp-ocr-det` print, `$DIGITS` is the
folder of the embedded model, `$WORDS` and `$MORE` are folders of rendered words for calibrating and
for judging, `$PAGES` one of rendered pages. Ratios are side by side; milliseconds depend on the
machine.
"""
CER = "onnxopt_models.tasks.pp_ocr_rec:cer"
COMMANDS = (
    ("The whole job", "onnxopt demo"),
    ("", "onnxopt verify onnxopt-demo"),
    ("", "python onnxopt-demo/run.py"),
    ("Exact rewriting", "onnxopt optimize $REC -o rec.onnx --data $MORE"),
    ("", "onnxopt compare $REC rec.onnx --data $MORE"),
    ("", "onnxopt benchmark $REC rec.onnx --data $MORE --samples 2 --rounds 20"),
    ("", "onnxopt optimize $DET -o det.onnx --data $PAGES"),
    ("", "onnxopt compare $DET det.onnx --data $PAGES"),
    ("", "onnxopt benchmark $DET det.onnx --data $PAGES --rounds 20"),
    (
        "int8 inside a budget",
        "onnxopt quantize $DIGITS/digits.onnx -o digits8.onnx --data $DIGITS/calibration.npz "
        "--test-data $DIGITS/test.npz --metric top1 --max-drop 1.5% --measure",
    ),
    (
        "int8 that costs too much is not shipped unless asked for",
        "onnxopt quantize $REC -o rec8.onnx --data $WORDS --test-data $MORE "
        f"--metric {CER} --max-error inf --measure",
    ),
    (
        "",
        "onnxopt quantize $REC -o rec-kept.onnx --data $WORDS --test-data $MORE "
        f"--metric {CER} --max-drop 0.5%",
    ),
    ("A provider that is not there", "onnxopt benchmark $REC --provider cuda"),
    ("A file that is no model", "onnxopt inspect $DIGITS/README.md"),
)


def variables() -> dict[str, str]:
    """The real models and their data."""
    rec, det, cache = find_task("pp-ocr-rec"), find_task("pp-ocr-det"), default_cache_dir()
    return {
        "REC": str(fetch("pp-ocr-rec")),
        "DET": str(fetch("pp-ocr-det")),
        "DIGITS": str(digits.MODEL.parent),
        "WORDS": str(rec.build(cache, samples=64, split="calibration")),
        "MORE": str(rec.build(cache, samples=400, split="test")),
        "PAGES": str(det.build(cache, samples=8, split="test")),
    }


def run(command: str, folder: Path, values: dict[str, str]) -> str:
    """A command with its output, paths of this machine written as variables."""
    shell = f'exec 2>&1; {command}; code=$?; [ $code = 0 ] || echo "exit $code"'
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | values | {"PATH": path}
    done = subprocess.run(
        ["bash", "-c", shell],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    text = done.stdout
    for name, value in values.items():
        text = text.replace(value, f"${name}")
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    return f"$ {command}\n{text}".rstrip()


def main() -> None:
    """Run every command and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    values, parts = variables(), [HEAD]
    with tempfile.TemporaryDirectory() as name:
        for title, command in COMMANDS:
            if title:
                parts.append(f"## {title}\n")
            parts.append(f"```\n{run(command, Path(name), values)}\n```\n")
            print(shlex.quote(command), flush=True)
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
