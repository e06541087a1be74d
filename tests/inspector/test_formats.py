"""Engines without TensorFlow say what the run said; fewer bits cost what is told, or there is no export."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mvdefect.cli import main
from mvdefect.core.errors import ConfigError, ExportError
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.exporting import export as module
from mvdefect.exporting import fresh_process
from mvdefect.exporting import network as network_module
from mvdefect.exporting.cost import Cost
from mvdefect.exporting.export import ExportSettings, check_cost, check_settings, export_run
from mvdefect.exporting.fresh_process import ask_afresh
from mvdefect.exporting.network import GraphOriginal, share_computations
from mvdefect.exporting.samples import Samples
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.engines import choose_engine, open_engine
from mvdefect.inspector.formats import onnx as onnx_module
from mvdefect.inspector.formats import registry as table
from mvdefect.inspector.formats.format import OUTPUTS, Pixels
from mvdefect.inspector.formats.openvino import deal_out
from mvdefect.inspector.graph import build_graph
from mvdefect.inspector.network_engines import decide, find_levels, put_level
from mvdefect.inspector.places import parse_size
from mvdefect.runs import PredictionRow, RunFolder, read_json, read_run_config, write_json

FORMATS = ("openvino", "onnx", "litert")
EXACT = Cost(100, 0, 0.9, 0.9, 28, 1e-6, 0)


@pytest.fixture(scope="module")
def networks(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export without a SavedModel, for three runtimes."""
    settings = ExportSettings(formats=FORMATS, name="networks")
    return export_run(finished_run, tmp_path_factory.mktemp("exports"), settings).path


@pytest.fixture(scope="module")
def rows(finished_run: Path) -> list[tuple[bytes, PredictionRow]]:
    folder = RunFolder(finished_run)
    samples = Samples(folder, read_run_config(folder))
    paths = samples.find(samples.some)
    return [(path.read_bytes(), row) for path, row in zip(paths, samples.some, strict=True)]


@pytest.mark.parametrize("name", FORMATS)
def test_an_engine_says_what_the_run_said(
    networks: Path, exported: Path, rows: list[tuple[bytes, PredictionRow]], name: str
) -> None:
    files = [file for file, _ in rows]
    answers = open_engine(networks, name)(files, with_heatmaps=True)
    assert [answer.label for answer in answers] == [row.verdict for _, row in rows]
    for answer, (_, row) in zip(answers, rows, strict=True):
        assert answer.probability == pytest.approx(row.probability, abs=1e-4)
        assert answer.novelty == pytest.approx(row.novelty, rel=1e-3)
        assert answer.mean_novelty == pytest.approx(row.mean_novelty, rel=1e-3)
    expected = open_engine(exported, "savedmodel")(files[:3], with_heatmaps=True)
    for answer, wanted in zip(answers, expected, strict=False):
        np.testing.assert_allclose(answer.heatmap, wanted.heatmap, atol=2e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_an_engine_finds_the_regions_of_the_run(
    finished_run: Path, networks: Path, exported: Path, rows: list[tuple[bytes, PredictionRow]], name: str
) -> None:
    files = [file for file, _ in rows]
    wanted = open_engine(finished_run)(files, with_heatmaps=True)
    for found in (open_engine(networks, name, mm_per_px=0.5), open_engine(exported, mm_per_px=0.5)):
        for answer, other in zip(found(files, with_heatmaps=True), wanted, strict=True):
            assert answer.regions is not None
            assert len(answer.regions) == len(other.regions)
            assert answer.regions or answer.label == "good"
            for one, same in zip(answer.regions, other.regions, strict=True):
                mine, theirs = (
                    (region.x, region.y, region.width, region.height, region.peak) for region in (one, same)
                )
                assert mine == pytest.approx(theirs, abs=4)
                assert (one.width_mm, same.width_mm) == (one.width / 2, None)
    assert all(answer.regions is None for answer in open_engine(networks, name)(files[:1]))


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_costs_the_others_nothing(
    networks: Path, rows: list[tuple[bytes, PredictionRow]], name: str
) -> None:
    engine = open_engine(networks, name)
    whole = engine([rows[0][0], rows[-1][0]])
    mixed = engine([b"no image", rows[0][0], rows[0][0][:50], rows[-1][0]])
    assert [answer.label for answer in mixed[::2]] == ["unreadable", "unreadable"]
    assert [answer.label for answer in mixed[1::2]] == [answer.label for answer in whole]
    assert engine([b"no image"])[0].probability is None
    assert engine([]) == []


def test_one_fresh_process_asks_all_engines(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, popen = [], subprocess.Popen

    def start(command: list[str], **settings: object) -> subprocess.Popen:
        started.append(command)
        return popen(command, **settings)

    monkeypatch.setattr(fresh_process.subprocess, "Popen", start)
    found = export_run(finished_run, tmp_path, ExportSettings(formats=(*FORMATS, "savedmodel"), name="all"))
    assert [command[1:] for command in started] == [["-m", "mvdefect.exporting.fresh_process"]]
    engines = json.loads((found.path / "inspector.json").read_text())["engines"]
    assert [engine["name"] for engine in engines] == list(found.costs) == ["savedmodel", *FORMATS]
    assert all(engine["images_per_s"] > 0 for engine in engines)
    assert len({engine["cost"]["largest_difference"] for engine in engines}) > 1  # each has its own


def test_an_engine_that_cannot_be_loaded_is_named(
    networks: Path, rows: list[tuple[bytes, PredictionRow]], tmp_path: Path
) -> None:
    export, photograph = tmp_path / "export", tmp_path / "photograph.png"
    shutil.copytree(networks, export)
    manifest = read_json(export / "inspector.json")
    del manifest["files"]  # they are not listed yet when an export is made
    write_json(export / "inspector.json", manifest)
    (export / "onnx" / "network.onnx").write_bytes(b"broken")
    photograph.write_bytes(rows[0][0])
    said = r"^the export cannot be loaded and run by a fresh process: .*onnx/network\.onnx"
    with ask_afresh(export, ["openvino", "onnx", "litert"], [photograph], [photograph]) as sayings:
        assert next(sayings).all[0][0] == rows[0][1].verdict
        with pytest.raises(ExportError, match=said) as failed:
            next(sayings)
    assert "\n" not in str(failed.value)


def test_an_engine_is_gone_before_the_next_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref] = []

    class FakeEngine:
        def __init__(self, *_: object) -> None:
            assert all(one() is None for one in loaded)
            self.itself = self  # as what TensorFlow makes refers to itself
            loaded.append(weakref.ref(self))

        def __call__(self, files: list[bytes]) -> list[Answer]:
            return [Answer("good", 0.1, 1.0)] * len(files)

    monkeypatch.setattr(fresh_process, "open_engine", FakeEngine)
    monkeypatch.setattr(fresh_process, "_ask_signatures", lambda *_: {})
    photograph = tmp_path / "photograph.png"
    photograph.write_bytes(b"")
    asked = {"export": "", "engines": ["a", "b", "c"], "some": [], "all": [str(photograph)]}
    assert [tree["all"] for tree in fresh_process.ask_each(asked)] == [[("good", 0.1)]] * 3
    assert len(loaded) == 3


def test_what_formats_there_are_is_known_without_loading_anything_heavy() -> None:
    code = (
        "import sys; import mvdefect.inspector.formats.registry;"
        "heavy = {'tensorflow', 'numpy', 'scipy', 'cv2', 'openvino', 'onnxruntime', 'ai_edge_litert'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "import mvdefect.inspector.engines; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_format_can_be_chosen_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "savedmodel, onnx, openvino or litert; repeatable." in said


def test_predicting_needs_no_tensorflow(networks: Path, rows: list[tuple[bytes, PredictionRow]]) -> None:
    code = (
        "import sys; from pathlib import Path; from mvdefect.inspector.engines import open_engine;"
        f"answers = open_engine(Path({str(networks)!r}), 'openvino')([sys.stdin.buffer.read()]);"
        "print(answers[0].label, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=rows[0][0], capture_output=True, check=True)
    assert done.stdout.decode().split() == [rows[0][1].verdict, "False"]


def test_the_manifest_tells_what_each_engine_costs(networks: Path) -> None:
    engines = json.loads((networks / "inspector.json").read_text())["engines"]
    assert [engine["name"] for engine in engines] == list(FORMATS)
    for engine in engines:
        assert (networks / engine["file"]).is_file()
        assert engine["cost"]["flips"] == 0
        assert engine["cost"]["largest_difference"] < 1e-4
    assert not (networks / "saved_model.pb").exists()
    assert "openvino" in (networks / "model_card.md").read_text()


def test_eight_bits_are_calibrated_levelled_and_measured(finished_run: Path, tmp_path: Path) -> None:
    settings = ExportSettings(formats=("openvino",), quantize="int8", max_flips=1.0, name="small")
    found = export_run(finished_run, tmp_path, settings)
    (engine,) = json.loads((found.path / "inspector.json").read_text())["engines"]
    assert engine["name"] == "openvino-int8"
    assert set(engine["levels"]) == {"logit", "novelty", "mean_novelty"}
    assert engine["cost"]["roc_auc"] == pytest.approx(engine["cost"]["run_roc_auc"], abs=0.1)
    text = (found.path / engine["file"]).read_text()
    assert "FakeQuantize" in text or 'element_type="i8"' in text


@pytest.mark.parametrize(
    ("cost", "precision", "said"),
    [
        (replace(EXACT, largest_difference=1e-3), "float32", "a probability differs by 1.0e-03"),
        (replace(EXACT, compared_flips=2), "float32", "2 of [0-9]+ images"),
        (replace(EXACT, flips=2), "int8", r"2 of 100 test photographs, 2.0%; 1.0% are allowed"),
    ],
)
def test_an_engine_too_far_from_its_run_is_refused(cost: Cost, precision: str, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        check_cost(cost, {"name": "x", "precision": precision}, 0.01)


def test_fewer_bits_may_move_probabilities() -> None:
    check_cost(replace(EXACT, largest_difference=0.1, flips=1), {"name": "x", "precision": "int8"}, 0.01)


def test_formats_and_precisions_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, said in (
        (ExportSettings(formats=("coreml",)), "format must be one of savedmodel, onnx, openvino, litert"),
        (ExportSettings(quantize="int8"), "a SavedModel stays float32"),
        (ExportSettings(formats=("onnx",), quantize="bfloat16"), "onnx can be float32, int8"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_settings(settings)
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "nncf" else object())
    with pytest.raises(ExportError, match=r"needs nncf; pip install 'mvdefect\[openvino\]'"):
        check_settings(ExportSettings(formats=("openvino",)))


def test_the_fastest_engine_that_can_run_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"savedmodel": 10.0, "onnx": 30.0, "openvino": 50.0}
    engines = [{"name": name, "format": name, "images_per_s": rate} for name, rate in rates.items()]
    manifest = {"engines": engines}
    assert choose_engine(manifest)["name"] == "openvino"
    assert choose_engine(manifest, "onnx")["name"] == "onnx"
    with pytest.raises(ConfigError, match=r"has the engines savedmodel, onnx, openvino\. Received: litert"):
        choose_engine(manifest, "litert")
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "openvino" else object())
    assert choose_engine(manifest)["name"] == "onnx"
    monkeypatch.setattr(table, "find_spec", lambda _: None)
    with pytest.raises(ExportError, match="nothing that runs this export is installed; it holds: onnx"):
        choose_engine({"engines": engines[1:2]})


def test_what_two_networks_have_in_common_is_computed_once() -> None:
    with tf.Graph().as_default() as graph:
        pixels = tf.compat.v1.placeholder(tf.float32, (None, 3), "pixels")
        one = tf.matmul(pixels, tf.constant(np.eye(3, dtype=np.float32)))
        same = tf.matmul(pixels, tf.constant(np.eye(3, dtype=np.float32)))
        other = tf.matmul(pixels, tf.constant(2 * np.eye(3, dtype=np.float32)))
        total = tf.add_n([one, same, other], name="total")
    smaller, renamed = share_computations(graph.as_graph_def())
    assert sum(node.op == "MatMul" for node in smaller.node) == 2
    assert renamed[same.op.name] == one.op.name
    with tf.Graph().as_default() as again:
        tf.graph_util.import_graph_def(smaller, name="")
        with tf.compat.v1.Session(graph=again) as session:
            found = session.run(total.name, {"pixels:0": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(found, np.full((2, 3), 4))


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_photographs_are_dealt_out_evenly(cores: int) -> None:
    for count in range(1, 40):
        parts = list(deal_out(count, cores))
        assert [place for part in parts for place in range(count)[part]] == list(range(count))
        sizes = [part.stop - part.start for part in parts]
        assert set(sizes) <= {8, 4, 1}
        shares = [sum(sizes[core::cores]) for core in range(cores)]
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_found_does_not_depend_on_company(networks: Path, precision: str) -> None:
    look = table.FORMATS["openvino"].load(networks / "openvino" / "network.xml", precision)
    manifest = json.loads((networks / "inspector.json").read_text())
    size_px = parse_size(manifest)
    images = np.random.default_rng(0).integers(0, 256, (21, *size_px, 3), dtype=np.uint8)
    alone = [look(image[np.newaxis]) for image in images]
    for count in (2, 5, 8, 16, 21):
        for name, found in look(images[:count]).items():
            each = np.concatenate([one[name] for one in alone[:count]])
            np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_threads_may_share_an_engine(
    networks: Path, rows: list[tuple[bytes, PredictionRow]], name: str
) -> None:
    """As those of a Beam worker do."""
    engine = open_engine(networks, name)
    files = [file for file, _ in rows]
    expected = [answer.probability for answer in engine(files)]

    def ask(start: int) -> None:
        end = start + 1 + start % 3 * 5
        found = [answer.probability for answer in engine(files[start:end])]
        assert found == pytest.approx(expected[start:end], abs=1e-5)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, [start % len(files) for start in range(90)]))


def test_levels_put_right_what_is_shifted_and_stretched() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 4, 4, 3), dtype=np.uint8)

    def exact(pixels: Pixels) -> dict[str, np.ndarray]:
        means = pixels.mean(axis=(1, 2, 3))
        return {"logit": means, "novelty": means**2, "mean_novelty": 3 * means, "heatmap": means}

    def coarse(pixels: Pixels) -> dict[str, np.ndarray]:
        found = exact(pixels)
        return {
            **found,
            "logit": 0.5 * found["logit"] + 3,
            "novelty": np.full_like(found["novelty"], 7.0),
            "mean_novelty": 4 * found["mean_novelty"],
        }

    levels = find_levels(coarse, exact, images)
    assert levels["logit"] == pytest.approx([2.0, -6.0])
    found, wanted = put_level(coarse(images), levels), exact(images)
    for name in ("logit", "mean_novelty", "heatmap"):
        np.testing.assert_allclose(found[name], wanted[name])
    assert found["novelty"] == pytest.approx(np.full(70, np.median(wanted["novelty"])))
    for name, values in put_level(wanted, {}).items():
        np.testing.assert_array_equal(values, wanted[name])


def test_an_order_is_never_turned_round() -> None:
    images = np.arange(40, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis].repeat(3, axis=3)

    def rising(pixels: Pixels) -> dict[str, np.ndarray]:
        return dict.fromkeys(OUTPUTS, pixels[:, 0, 0, 0].astype(float))

    def falling(pixels: Pixels) -> dict[str, np.ndarray]:
        return dict.fromkeys(OUTPUTS, -pixels[:, 0, 0, 0].astype(float))

    assert find_levels(falling, rising, images)["logit"][0] > 0


def test_a_few_wild_photographs_do_not_move_the_levels() -> None:
    def exact(pixels: Pixels) -> dict[str, np.ndarray]:
        values = pixels[:, 0, 0, 0].astype(float)
        return dict.fromkeys(OUTPUTS, values) | {"novelty": np.where(values > 230, 1e4 * values, values)}

    def coarse(pixels: Pixels) -> dict[str, np.ndarray]:
        return dict.fromkeys(OUTPUTS, 2 * pixels[:, 0, 0, 0].astype(float) + 3)

    images = np.arange(0, 256, 3, dtype=np.uint8)[:, None, None, None]
    assert find_levels(coarse, exact, images)["novelty"] == pytest.approx([0.5, -1.5], abs=0.1)


def test_the_command_refuses_with_one_line(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure_cost", lambda *_: replace(EXACT, flips=50))
    command = ["export", str(finished_run), "--out", str(tmp_path), "--name", "few", "--format", "openvino"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "50 of 100 test photographs, 50.0%" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_network_of_any_format_says_what_is_not_this_product(finished_run: Path) -> None:
    point = read_operating_point(RunFolder(finished_run))
    assert point.foreign is not None
    name, limit = point.foreign
    assert name == "mean_novelty"
    means = np.array([0.99, 1.01]) * limit
    found = {"logit": np.zeros(2), "novelty": np.ones(2), "mean_novelty": means}
    answers = list(decide(found, point, with_heatmaps=False))
    assert [answer.is_foreign for answer in answers] == [False, True]
    assert [answer.mean_novelty for answer in answers] == means.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_a_network_without_a_mean_is_asked_as_before(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As version 0.1.0 exported it."""
    graph = build_graph(RunFolder(finished_run))
    as_before = tuple(output for output in OUTPUTS if output != "mean_novelty")
    explain = graph.explain

    def explain_as_before(pixels: Any) -> tuple[Any, Any]:
        scores, heatmap = explain(pixels)
        return scores[:2], heatmap

    monkeypatch.setattr(graph, "explain", explain_as_before)
    monkeypatch.setattr(network_module, "OUTPUTS", as_before)
    monkeypatch.setattr(onnx_module, "OUTPUTS", as_before)
    path = tmp_path / table.FORMATS[name].file
    table.FORMATS[name].write(GraphOriginal(graph, "old", b""), path, "float32", None)
    monkeypatch.undo()
    look = table.FORMATS[name].load(path, "float32")
    point = read_operating_point(RunFolder(finished_run))
    for count in (1, 5):
        found = look(np.zeros((count, *graph.size_px, 3), np.uint8))
        assert set(found) == set(as_before)
        limit = float(found["novelty"][0])
        old = replace(point, thresholds={**point.thresholds, "foreign": limit})
        del old.thresholds["mean_novelty"]
        answers = list(decide(found, old, with_heatmaps=True))
        assert [(one.is_foreign, one.mean_novelty) for one in answers] == [(True, None)] * count
