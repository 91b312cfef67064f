"""Memory does not grow with the number of samples."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from onnxopt import store
from onnxopt.calibrate import collect
from onnxopt.data import Sample, in_memory
from onnxopt.data.dataset import MemorySource, SourceDataset

LAYERS, CHANNELS, SIDE = 8, 32, 32
size = CHANNELS * CHANNELS * 9
weight = ", ".join(f"{v / 17:.3f}" for v in np.random.default_rng(0).standard_normal(size))
body = "\\n".join(
    f"c{i} = Conv<pads = [1, 1, 1, 1]>(h{i}, w)\\nh{i + 1} = HardSwish(c{i})"
    for i in range(LAYERS)
)
text = f'''<ir_version: 8, opset_import: ["" : 17]>
g (float[N,{CHANNELS},{SIDE},{SIDE}] h0) => (float[N,{CHANNELS},{SIDE},{SIDE}] h{LAYERS})
<float[{CHANNELS},{CHANNELS},3,3] w = {{{weight}}}> {{ {body} }}'''
model = store.from_text(text)


class Stream(MemorySource):
    def read(self, indices):
        for index in range(len(self.items)):
            shape = (1, CHANNELS, SIDE, SIDE)
            values = np.random.default_rng(index).standard_normal(shape, np.float32)
            yield Sample({"h0": values}, None, str(index))


count = int(sys.argv[1])
data = SourceDataset(Stream(tuple(Sample({}, None, str(i)) for i in range(count))))
names = [out.name for node in model.graph for out in node.outputs]
collect(model, names, data)
from onnxopt.timing.memory import peak_rss_bytes
print(peak_rss_bytes() // 1_000_000)
"""


def peak_mb(samples: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(samples)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak resident size in kilobytes")
def test_sixteen_and_512_samples_have_the_same_peak() -> None:
    assert abs(peak_mb(512) - peak_mb(16)) < 50
