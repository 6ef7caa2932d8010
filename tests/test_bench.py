"""`wengert-bench`, and the counts and figures that guard against growing slower."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from wengert._bench import cli, compare, harness, picture

if TYPE_CHECKING:
    from pathlib import Path

CASES = ["scalar/unrecorded/add", "gemm/64x64 by 64x64"]


def tool(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wengert._bench", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    folder = tmp_path_factory.mktemp("bench")
    drawn = (
        ["--picture", str(folder / "roof.png")] if importlib.util.find_spec("matplotlib") else []
    )
    done = tool("--quick", "--only", *CASES, "--json", str(folder / "run.json"), *drawn)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "run.json").read_text()), done.stdout


def test_two_cases_are_timed_beside_the_measured_peaks(run: tuple[Path, Any, str]) -> None:
    _, results, text = run
    (found,) = results["runs"]
    assert [c["name"] for c in found["cases"]] == CASES
    assert found["peak"]["flops"] > 1e8
    assert found["peak"]["bytes"] > 1e8
    gemm = found["cases"][1]
    assert gemm["flops"] == 2 * 64**3
    assert gemm["nbytes"] == 4 * 3 * 64**2
    assert next(r["name"] for r in gemm["rows"]) == "wengert"
    assert "numpy" in [r["name"] for r in gemm["rows"]]
    assert all(0 < r["min_s"] <= r["median_s"] for r in gemm["rows"])
    assert "GFLOP/s" in text
    assert "% FLOP/s" in text


def test_the_picture_is_written(run: tuple[Path, Any, str]) -> None:
    pytest.importorskip("matplotlib")
    content = (run[0] / "roof.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert list(picture.points(run[1]["runs"][0])["wengert"][0][2:]) == [CASES[1]]


def test_no_matplotlib_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as exit:
        cli.main(["--picture", "x.png"])
    assert exit.value.code == 2
    assert "pip install 'wengert[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "expected positive numbers"),
        (["--json", "/no/such/folder/x.json"], "no such folder"),
        (["--picture", "x.txt"], "expected a name in .png"),
    ],
)
def test_bad_options_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--picture" in options:
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as exit:
        cli.main(options)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_a_name_that_no_case_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--only", "no such case"]) == 2
    assert "no case is called like no such case" in capsys.readouterr().err


def test_the_list_names_all_cases_and_the_chosen_are_among_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--list"]) == 0
    names = capsys.readouterr().out.split("\n")[:-1]
    assert len(set(names)) == len(names) > 300
    for chosen in cli.CHOSEN:
        assert any(chosen in name for name in names), chosen


def test_candidates_that_differ_are_refused() -> None:
    def build(_: Any) -> list[harness.Candidate]:
        return [harness.Candidate(n, "pass", {}, lambda v=v: v) for n, v in
                (("wengert", 1.0), ("other", 1.1))]  # fmt: skip

    case = harness.Case("a/b/c", "one", build)
    result = harness.run_case(case, None, compare.Settings())  # type: ignore[arg-type]
    assert "differs from wengert's by up to 0.1" in result["refused"]


def test_the_share_of_the_peak_is_of_what_binds() -> None:
    peak = {"flops": 100.0, "bytes": 10.0}
    assert cli.of_peak({"flops": 50, "nbytes": 1}, 1.0, peak) == "50% FLOP/s"
    assert cli.of_peak({"flops": 1, "nbytes": 5}, 1.0, peak) == "50% copy"
    assert cli.of_peak({"flops": 0, "nbytes": 0}, 1.0, peak) == ""


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_peaks_take_three_runs_at_least(seconds: float) -> None:
    flops, nbytes = wg._core.measure_peak(seconds)
    assert flops > 1e8
    assert nbytes > 1e8
