"""Our own quantizer, without a budget: what int8 costs and gains, whether or not it would ship."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxopt import api, pipeline, store
from onnxopt.api.crafting import with_goal
from onnxopt.api.specializing import Specialization
from onnxopt.api.workbench import Workbench
from onnxopt.data import Dataset, Feeds, Sample, Split, in_memory, open_dimensions
from onnxopt.recipe import Recipe
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
    bench = _for_openvino(source, samples)
    exact = pipeline.run(bench.model, bench.exact, bench.context)
    found = pipeline.run(exact.model, bench.recipe(bench.target.lossy_recipe), bench.context)
    store.save(found.model, target)


def openvino_exact(source: str, target: str, samples: str) -> None:
    """The exact recipe for the OpenVINO provider, with the same sizes built in."""
    bench = _for_openvino(source, samples)
    recipes = (bench.exact, Recipe.parse(bench.target.float_recipe))
    model = bench.model
    for recipe in recipes:
        model = pipeline.run(model, recipe, bench.context).model
    store.save(model, target)


def _for_openvino(source: str, samples: str) -> Workbench:
    sizes = _common_sizes(signature_of(store.load(source)), list(arrays.load(samples)))
    specialize = Specialization(dims=sizes)
    options = api.RunOptions(target=OPENVINO_TARGET, specialize=specialize)
    bench = Workbench.open(source, _split(samples), options)
    return with_goal(bench, api.Budget(max_error=math.inf))


def _common_sizes(signature: Signature, samples: Sequence[Feeds]) -> dict[str, int]:
    """The open sizes of the inputs that are the same in every sample."""
    found = {
        one.key: {np.shape(feeds[name])[axis] for feeds in samples for name, axis in one.places}
        for one in open_dimensions(signature)
    }
    return {key: min(sizes) for key, sizes in found.items() if len(sizes) == 1}


def _split(path: str) -> Split:
    """All samples to calibrate; a few of them to look at, for the judging happens elsewhere."""
    loaded = arrays.load(path)
    data: Dataset = in_memory([Sample(feeds, None, str(n)) for n, feeds in enumerate(loaded)])
    return Split(data, data.take([]), data.take(range(min(_JUDGED, len(data)))))
