"""Target files: what ships is sound, what a user writes is checked to the word."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxopt.errors import BackendMissingError, UsageError
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, check_config
from onnxopt.targets import load_target, target_names
from onnxopt.targets.detect import name_for

MINIMAL = 'name = "mine"\nsummary = "a device"\nprovider = "cpu"\n'


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def is_known(provider: str) -> bool:
    """Whether it is a provider, installed here or not."""
    try:
        check_config(SessionConfig(provider=provider))
    except BackendMissingError:
        return True
    return True


@pytest.mark.parametrize("name", target_names())
def test_a_fallback_is_the_same_provider_with_what_every_machine_has(name: str) -> None:
    target = load_target(name)
    if target.fallback:
        other = load_target(target.fallback)
        assert other.provider == target.provider
        assert (other.session.precision, other.fallback) == ("fp32", "")


@pytest.mark.parametrize("name", target_names())
def test_a_lossy_recipe_can_be_read_and_needs_what_the_target_has(name: str) -> None:
    target = load_target(name)
    words = {step.name for step in Recipe.parse(target.lossy_recipe).passes()}
    assert ("quantize-mixed" in words) == (target.int8 is not None)


@pytest.mark.parametrize("name", target_names())
def test_shipped_targets_load_under_their_name(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.summary
    assert is_known(target.provider)
    assert target.max_opset <= 26
    assert target.max_ir <= 13


def test_auto_is_one_of_the_shipped_targets() -> None:
    assert load_target("auto").name in target_names()


@pytest.mark.parametrize(
    ("machine", "flags", "name"),
    [
        ("x86_64", {"avx2", "avx512_vnni", "amx_tile", "amx_int8"}, "x64-amx"),
        ("AMD64", {"avx2", "avx_vnni"}, "x64-vnni"),
        ("x86_64", {"avx2", "avx512f"}, "x64-avx2"),
        ("aarch64", set(), "arm64"),
        ("arm64", {"asimddp"}, "arm64"),
    ],
)
def test_processors_are_told_apart(machine: str, flags: set[str], name: str) -> None:
    assert name_for(machine, frozenset(flags)) == name


def test_a_processor_nobody_described_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="riscv64"):
        name_for("riscv64", frozenset())


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    row = '[[kernel]]\nop = "Conv"\nbecomes = ["QLinearConv"]\nneeds = ["const-weight"]\n'
    text = MINIMAL + '[int8]\nactivation = "uint8"\n' + row
    target = load_target(write(tmp_path, text))
    assert target.int8 is not None
    assert [kernel.op for kernel in target.kernels] == ["Conv"]
    assert load_target(str(tmp_path / "mine.toml")) == target


def test_extending_puts_own_values_over_and_own_rows_before(tmp_path: Path) -> None:
    text = (
        'extends = "x64-vnni"\nname = "mine"\n[int8]\nweight_bits = 7\n'
        '[[kernel]]\nop = "Conv"\nbecomes = ["X"]\n'
    )
    mine, parent = load_target(write(tmp_path, text)), load_target("x64-vnni")
    assert mine.name == "mine"
    assert mine.summary == parent.summary
    assert mine.int8 is not None and parent.int8 is not None
    assert mine.int8.weight_bits == 7
    assert mine.int8.quantize == parent.int8.quantize
    assert mine.kernels[0].becomes == ("X",)
    assert mine.kernels[1:] == parent.kernels


def test_a_row_may_list_ops(tmp_path: Path) -> None:
    text = MINIMAL + '[[kernel]]\nop = ["Add", "Mul"]\noperands = "all"\n'
    kernels = load_target(write(tmp_path, text)).kernels
    assert [(kernel.op, kernel.operands) for kernel in kernels] == [("Add", "all"), ("Mul", "all")]


def test_extending_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "base.toml")
    path = write(tmp_path, 'extends = "base.toml"\nname = "other"\n', "other.toml")
    assert load_target(path).summary == "a device"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "speed = 3\n", "speed"),
        (MINIMAL + '[int8]\nactivation = "int4"\n', "int8.activation"),
        (MINIMAL + '[int8]\nactivation = "uint8"\nbits = 3\n', "int8.bits"),
        (MINIMAL + '[[kernel]]\nop = "Conv"\nneeds = ["rank-17"]\n', "rank-17"),
        (MINIMAL + '[[kernel]]\nop = "Conv"\nsince = "new"\n', "since"),
        (MINIMAL + '[[kernel]]\nop = "Conv"\ngain = { second = 1 }\n', "gain.second"),
        ('name = "mine"\n', "summary"),
        ("name = \n", "Invalid value"),
        ('extends = "mine.toml"\n', "extends itself"),
        ('extends = "nothing"\n', "unknown target 'nothing'"),
        ('extends = "nothing.toml"\n', "no target file"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_target(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="x64-vnni"):
        load_target("x86")


def test_targets_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_target("x64-vnni").name = "other"
