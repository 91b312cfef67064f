"""Our own quantizer, without a budget: what int8 costs and gains, whether or not it would ship."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from onnxopt import api, pipeline, store
from onnxopt.api.crafting import with_goal
from onnxopt.api.specializing import Specialization
from onnxopt.api.workbench import Workbench
from onnxopt.data import Dataset, Feeds, Sample, Split, in_memory
from onnxopt.signature import Signature, signature_of
from peers import arrays
from peers.jobs import OPENVINO_TARGET

_JUDGED = 4


def cpu(source: str, target: str, samples: str) -> None:
    """``onnxopt quantize`` for this machine's processor."""
    budget = api.Budget(max_error=math.inf)
    found = api.quantize(source, data=_split(samples), budget=budget)
    store.save(found.quantized.model, target)


def openvino(source: str, target: str, samples: str) -> None:
    """The same for the OpenVINO provider, with the sizes built in that all samples share."""
    sizes = _common_sizes(signature_of(store.load(source)), arrays.load(samples))
    specialize = Specialization(dims=sizes)
    options = api.RunOptions(target=OPENVINO_TARGET, specialize=specialize)
    bench = Workbench.open(source, _split(samples), options)
    bench = with_goal(bench, api.Budget(max_error=math.inf))
    exact = pipeline.run(bench.model, bench.exact, bench.context)
    found = pipeline.run(exact.model, bench.recipe(bench.target.lossy_recipe), bench.context)
    store.save(found.model, target)


def _common_sizes(signature: Signature, samples: Iterable[Feeds]) -> dict[str, int]:
    """The open sizes of the inputs that are the same in every sample."""
    found: dict[str, set[int]] = {}
    for feeds in samples:
        for one in signature.inputs:
            for axis, dim in enumerate(one.shape or ()):
                if not isinstance(dim, int) and one.name in feeds:
                    name = dim or f"{one.name}:{axis}"
                    found.setdefault(name, set()).add(np.shape(feeds[one.name])[axis])
    return {name: min(sizes) for name, sizes in found.items() if len(sizes) == 1}


def _split(path: str) -> Split:
    """All samples to calibrate; a few of them to look at, for the judging happens elsewhere."""
    loaded = arrays.load(path)
    data: Dataset = in_memory([Sample(feeds, None, str(n)) for n, feeds in enumerate(loaded)])
    return Split(data, data.take([]), data.take(range(min(_JUDGED, len(data)))))
