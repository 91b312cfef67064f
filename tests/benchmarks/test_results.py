"""Tables with failures, cleaned documents, and rows that are measured once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import run
from peers.failure import PeerFailure
from peers.ledger import Ledger
from peers.results import (
    Document,
    Table,
    cleaned,
    failure_of,
    geomean,
    markdown_of,
    plain_failure,
    ratio,
)
from peers.standing import is_inside, standings


def test_a_failure_is_a_word_in_the_table_and_a_sentence_below() -> None:
    failure = PeerFailure("exception", "ValueError: a | b\nmore")
    rows = [
        {"model": "one", "fast": ratio({"speedup": 1.5, "low": 1.4, "high": 1.6})},
        {"model": "two", "fast": failure, "slow": PeerFailure("exception", failure.text)},
    ]
    assert markdown_of(Table("Speed", rows, "How.")) == "\n".join(
        [
            "## Speed",
            "",
            "How.",
            "",
            "| model | fast | slow |",
            "|---|---|---|",
            "| one | 1.50 [1.40, 1.60] | – |",
            "| two | exception (1) | exception (1) |",
            "",
            "1. ValueError: a \\| b more",
        ]
    )


def test_failures_survive_as_plain_values() -> None:
    plain = plain_failure(PeerFailure("crash", "SIGSEGV"))
    found = failure_of(json.loads(json.dumps(plain)))
    assert found is not None
    assert (found.kind, found.text) == ("crash", "SIGSEGV")
    assert failure_of({"seconds": 1.0}) is None


def test_documents_hold_no_folders_of_this_machine(tmp_path: Path) -> None:
    raw = {"said": f"cannot read {tmp_path}/model.onnx at core/graph.cc:3", "error": float("inf")}
    assert cleaned(raw) == {
        "said": "cannot read model.onnx at core/graph.cc:3",
        "error": "inf",
    }
    rows = [{"model": "one", "ms": 1.0}]
    page = Document("name", "Title", [Table("T", rows)], {"ms": [1.0, 2.5]}).write(tmp_path)
    text = (tmp_path / "name.json").read_text()
    assert json.loads(text)["raw"] == {"ms": [1.0, 2.5]}
    assert "[1.0, 2.5]" in text
    assert page.read_text().startswith("# Title\n\n## T\n")
    assert str(tmp_path) not in text + page.read_text()


def test_geometric_mean() -> None:
    assert geomean([1.0, 4.0]) == "2.00 of 2"
    assert geomean([]) is None


def test_a_row_is_measured_once_unless_asked_anew(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, int]:
        made.append(1)
        return {"times": len(made)}

    assert Ledger(tmp_path).row(["a", 1], make) == {"times": 1}
    assert Ledger(tmp_path).row(["a", 1], make) == {"times": 1}
    assert Ledger(tmp_path).row(["a", 2], make) == {"times": 2}
    assert Ledger(tmp_path, fresh=True).row(["a", 1], make) == {"times": 3}


def test_a_row_is_of_one_version_of_its_script(tmp_path: Path) -> None:
    script = tmp_path / "part.py"
    script.write_text("first")
    ledger = Ledger(tmp_path, script=script)
    assert ledger.row("key", lambda: {"version": 1}) == {"version": 1}
    assert ledger.row("key", lambda: {"version": 2}) == {"version": 1}
    script.write_text("second")
    assert ledger.row("key", lambda: {"version": 2}) == {"version": 2}


def test_every_part_has_its_script() -> None:
    folder = Path(run.__file__).parent
    assert all((folder / script).is_file() for script in run.PARTS.values())
    assert run.main(["no-such-part"]) == 2


def test_the_best_inside_the_budget() -> None:
    def ran(speedup: float, loss: float) -> dict[str, Any]:
        change = {"mean": -loss, "low": -1.0, "high": 1.0}
        return {
            **{"speedup": speedup, "value": 0.8 - loss, "change": change},
            "higher_is_better": True,
        }

    found = {
        "shipped, ORT fp32": ran(1.0, 0.0),
        "ORT dynamic": ran(1.5, 0.007),
        "ORT static": ran(9.0, 0.009),
        "NNCF int8": ran(2.0, 0.0),
        "onnxsim": {"failed": "crash", "said": ""},
        "ours, exact": ran(1.2, 0.0),
        "ours, int8": ran(3.0, -0.01),
        "ours, int8, OpenVINO": ran(8.0, 0.02),
    }
    cpu, openvino = standings({"model": found})
    assert cpu.rows[0] == {
        **{"model": "model", "best peer": "ORT dynamic", "best peer: speed-up": "1.50"},
        **{"ours": "ours, int8", "ours: speed-up": "3.00", "ours over the peer's": "2.00"},
    }
    assert openvino.rows[0]["best peer"] == "NNCF int8"
    assert openvino.rows[0]["ours"] is None
    assert is_inside({**ran(1.0, 0.0), "higher_is_better": False, "value": 0.05})
    worse = {"change": {"mean": -0.01}, "higher_is_better": False, "value": 0.05}
    assert not is_inside({**ran(1.0, 0.0), **worse})
