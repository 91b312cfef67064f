"""Prunes models at random, and judges the result by the original with those channels at zero."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import judging
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import promises

from onnxopt import store
from onnxopt.comparing import kept
from onnxopt.data import synthesize
from onnxopt.graph import constant, rewrite_constant, stats
from onnxopt.signature import signature_of
from onnxopt_passes.prune._coupling import Group, couplings, keep_units

Chosen = dict[str, npt.NDArray[np.int64]]
ALL = ("makes", "carries", "reads")


def model_of(text: str, opset: int = 17, **shapes: tuple[int, ...]) -> ir.Model:
    """A model from its text after the header, with random constants of these shapes."""
    generator = np.random.default_rng(0)
    weights = []
    for name, dims in shapes.items():
        numbers = ", ".join(f"{v:.4f}" for v in np.ravel(generator.standard_normal(dims)))
        weights.append(f"float[{','.join(map(str, dims))}] {name} = {{{numbers}}}")
    signature, body = text.split("{", 1)
    header = f'<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1]> g '
    declared = f"<{', '.join(weights)}>" if weights else ""
    return store.from_text(f"{header} {signature} {declared} {{ {body}")


@dataclass
class Pruned:
    """A model before and after, and the groups it had."""

    before: ir.Model
    after: ir.Model
    groups: dict[str, Group]
    chosen: Chosen

    @property
    def units(self) -> dict[str, int]:
        return {name: group.units for name, group in self.groups.items()}

    def weight(self, name: str) -> npt.NDArray[np.generic]:
        found = constant(self.after.graph.initializers[name])
        assert found is not None
        return found


def random_choice(groups: Collection[Group], seed: int, share: float = 0.6) -> Chosen:
    """Some units of every group, at least one, not all."""
    rng = np.random.default_rng(seed)
    made = {}
    for group in groups:
        count = min(max(1, round(group.units * share)), group.units - 1)
        made[group.name] = np.sort(rng.permutation(group.units)[:count])
    return made


def neutral(model: ir.Model, chosen: Mapping[str, np.ndarray], roles: Collection[str]) -> ir.Model:
    """A copy where what will go is zero in the members of these roles."""
    copy = store.load(store.serialize(model))
    for group in couplings(copy)[0]:
        if group.name not in chosen:
            continue
        gone = np.setdiff1d(np.arange(group.units), chosen[group.name])
        for member in group.members:
            array = constant(member.value)
            if member.role not in roles or array is None:
                continue
            made = np.moveaxis(array.copy(), member.axis, 0)
            made[member.places[gone].reshape(-1)] = 0
            rewrite_constant(member.value, np.moveaxis(made, 0, member.axis))
    return copy


def check(
    model: ir.Model,
    units: Mapping[str, int] | None = None,
    *,
    roles: Collection[str] = ("makes",),
    seeds: int = 3,
    exact: bool = True,
    only: Collection[str] | None = None,
    strict: bool = True,
) -> Pruned:
    """Prune at random; what is left is what the original computes with the rest at zero.

    Args:
        model: Stays as it is.
        units: The groups it should have, with their units.
        roles: Which members are made zero; those that make channels where zero stays zero.
        seeds: How many choices to try.
        exact: Whether results have to agree; not where statistics are taken over channels.
        only: Groups to prune; all by default.
        strict: Whether onnx has to infer all shapes of the result.
    """
    found, _ = couplings(model)
    if units is not None:
        assert {group.name: group.units for group in found} == units
    assert found
    for seed in range(seeds):
        picked = [group for group in found if only is None or group.name in only]
        chosen = random_choice(picked, seed)
        after = store.load(store.serialize(model))
        keep_units(after, chosen)
        assert_sound(model, after, strict)
        if exact:
            assert_same(neutral(model, chosen, roles), after, seed)
        left = {group.name: len(chosen.get(group.name, range(group.units))) for group in found}
        if min(left.values()) > 1:
            assert {group.name: group.units for group in couplings(after)[0]} == left
    return Pruned(model, after, {group.name: group for group in found}, chosen)


def assert_sound(before: ir.Model, after: ir.Model, strict: bool) -> None:
    """It passes the checker and shape inference, and has fewer weights and the same interface."""
    proto, original = judging.proto_of(after), judging.proto_of(before)
    onnx.checker.check_model(proto)
    assert not strict or strictly_inferred(proto) or not strictly_inferred(original)
    assert judging.interface_change(original, proto) is None
    assert stats(after).weight_bytes < stats(before).weight_bytes


def strictly_inferred(proto: onnx.ModelProto) -> bool:
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def assert_same(before: ir.Model, after: ir.Model, seed: int) -> None:
    """Every tensor of the pruned model is what is kept of the other's."""
    (sample,) = synthesize(signature_of(before), dims={}, seed=seed, samples=1)
    ours, theirs = (promises.tensors(m, sample.feeds) for m in (before, after))
    left = kept.between(before, after)
    for name, value in theirs.items():
        if name not in ours or not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        whole = kept.take(ours[name], left.get(name, ()))
        scale = max(1.0, float(np.abs(whole).max(initial=0)))
        np.testing.assert_allclose(value, whole, rtol=1e-4, atol=1e-5 * scale, err_msg=name)
