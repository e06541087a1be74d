"""An export is the whole inspector: a fresh process, given files, says what the run said."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mvdefect.cli import main
from mvdefect.core.errors import ExportError, InUseError, RunError, RunExistsError
from mvdefect.core.locks import hold
from mvdefect.data.images import decode_image
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.exporting import export as module
from mvdefect.exporting.cost import measure_cost
from mvdefect.exporting.description import write_model_card
from mvdefect.exporting.export import ExportSettings, export_run
from mvdefect.exporting.fresh_process import Saying, ask
from mvdefect.exporting.samples import Samples
from mvdefect.inspector.formats.warmup import FILE, PLACE, encode_request
from mvdefect.inspector.graph import decide
from mvdefect.models.normality import KINDS, fit_normality, load_normality
from mvdefect.runs import RunFolder, read_run_config

ENGINE = {"name": "savedmodel", "format": "savedmodel", "precision": "float32", "file": "saved_model.pb"}
SERVING = (
    "probability", "defective", "needs_review", "novelty", "mean_novelty", "label", "not_this_product",
    "status", "error",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(exported: Path):
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def samples(finished_run: Path) -> Samples:
    folder = RunFolder(finished_run)
    return Samples(folder, read_run_config(folder))


@pytest.fixture(scope="module")
def photographs(samples: Samples) -> list[bytes]:
    return [path.read_bytes() for path in samples.find(samples.some)]


def test_it_lies_as_tf_serving_wants_it(exported: Path) -> None:
    assert (exported.parent.name, exported.name) == ("parts", "1")
    assert (exported / "saved_model.pb").is_file()
    assert (exported / PLACE / FILE).is_file()
    assert [path.name for path in exported.parent.iterdir()] == ["1"]


def test_a_figure_without_an_interval_is_in_the_card(exported: Path) -> None:
    """An F1 of exactly 1, as few test images give, has none."""
    manifest = json.loads((exported / "inspector.json").read_text())
    manifest["figures"]["figures"]["f1"] |= {"value": 1.0, "low": None, "high": None}
    assert "| 1.000 | not known |" in write_model_card(manifest)


def test_what_belongs_to_it_lies_beside_it(exported: Path, finished_run: Path) -> None:
    manifest = json.loads((exported / "inspector.json").read_text())
    folder = RunFolder(finished_run)
    assert manifest["operating_point"]["score"] == read_operating_point(folder).score
    assert manifest["figures"] == json.loads(folder.metrics.read_text())
    (engine,) = manifest["engines"]
    assert (engine["name"], engine["precision"], engine["file"]) == (
        "savedmodel",
        "float32",
        "saved_model.pb",
    )
    assert engine["cost"]["flips"] == engine["cost"]["compared_flips"] == 0
    assert engine["cost"]["roc_auc"] == pytest.approx(manifest["figures"]["figures"]["roc_auc"]["value"])
    assert engine["images_per_s"] > 0
    assert manifest["licence"]["weights"].startswith("none")
    card = (exported / "model_card.md").read_text()
    answer = {"text": "recall 0.9", "answer": "too few", "stated": "before the figures"}
    required = {**manifest, "figures": {**manifest["figures"], "requirement": answer}}
    words = "Required, stated before the figures: recall 0.9. Answer: too few images to say."
    assert words in write_model_card(required)
    assert "Required" not in card
    assert "# parts, version 1" in card
    assert manifest["operating_point"]["contract"] in card


def test_the_signatures(loaded) -> None:
    assert set(loaded.signatures) == {"serving_default", "pixels", "explain"}
    for name in ("serving_default", "pixels"):
        assert set(loaded.signatures[name].structured_outputs) == set(SERVING)
    assert set(loaded.signatures["explain"].structured_outputs) == {*SERVING, "heatmap"}


def test_a_broken_file_is_told_and_the_others_are_inspected(loaded, photographs: list[bytes]) -> None:
    ten = [*photographs[:4], b"broken", *photographs[4:9]]
    found = loaded.signatures["serving_default"](image_bytes=tf.constant(ten))
    alone = loaded.signatures["serving_default"](image_bytes=tf.constant([ten[0]]))
    assert found["status"].numpy().tolist() == [b"ok"] * 4 + [b"unreadable"] + [b"ok"] * 5
    assert found["label"][4] == b"unreadable"
    assert found["needs_review"][4]
    assert not found["defective"][4]
    assert found["probability"][4] == -1
    np.testing.assert_allclose(found["probability"][0], alone["probability"][0], atol=1e-5)


def test_heatmaps_are_those_of_the_run(loaded, photographs: list[bytes], finished_run: Path) -> None:
    from mvdefect.data.resizing import resize_image
    from mvdefect.models.classifier import load_classifier
    from mvdefect.models.feature_maps import stretch_maps
    from mvdefect.models.saliency import build_heatmaps

    found = loaded.signatures["explain"](image_bytes=tf.constant(photographs[:3]))
    pixels = np.stack([resize_image(decode_image(encoded), (64, 64)) for encoded in photographs[:3]])
    folder = RunFolder(finished_run)
    made, maps = read_operating_point(folder).calibration, []
    if made.logit_weight:
        maps.append(made.logit_weight * np.asarray(build_heatmaps(load_classifier(folder.model))(pixels)))
    if made.novelty_weight:
        features = np.asarray(load_classifier(folder.features)(pixels))
        distances = load_normality(folder.normality).score_positions(features)
        maps.append(made.novelty_weight * np.log(distances))
    height, width = np.max([one.shape[1:] for one in maps], axis=0)
    expected = sum(stretch_maps(stretch_maps(one, 1, height), 2, width) for one in maps)
    np.testing.assert_allclose(found["heatmap"], expected, atol=1e-3)


def test_versions_count_up_and_none_is_replaced(finished_run: Path, exported: Path) -> None:
    with pytest.raises(RunExistsError, match="name another --version"):
        export_run(finished_run, exported.parent.parent, ExportSettings(name="parts", version=1))


def test_two_exports_under_one_name_are_not_made_at_once(finished_run: Path, tmp_path: Path) -> None:
    with hold(tmp_path / "parts"), pytest.raises(InUseError, match="parts is being written by process"):
        export_run(finished_run, tmp_path, ExportSettings(name="parts"))
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_says_something_else_is_removed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Samples
) -> None:
    monkeypatch.setattr(module, "_write_engines", lambda *given: given[3]["engines"].append(ENGINE))
    said = [(row.verdict, row.probability) for row in samples.test]
    some = [("defective", row.probability + 0.3) for row in samples.some]
    monkeypatch.setattr(module, "ask_afresh", lambda *_: nullcontext([Saying({"1": some}, said, 1.0)]))
    with pytest.raises(ExportError, match="another verdict, and a probability differs by 3.0e-01"):
        export_run(finished_run, tmp_path, ExportSettings(name="parts"))
    assert not any(tmp_path.iterdir())
    (tmp_path / "parts").mkdir()
    with pytest.raises(ExportError, match="another verdict"):
        export_run(finished_run, tmp_path, ExportSettings(name="parts"))
    assert (tmp_path / "parts").is_dir()  # a folder that was there stays


def test_the_comparison_sees_a_difference(exported: Path, samples: Samples) -> None:
    rows, few = samples.test[:9], samples.some[:2]
    tree = ask(exported, "savedmodel", samples.find(few), samples.find(rows))
    assert set(tree["some"]) == {"1", "7", "image_bytes", "pixels"}
    saying = Saying(tree["some"], tree["all"], 1.0)
    assert measure_cost(saying, few, rows).is_exact
    moved = [replace(row, probability=row.probability + 1e-3) for row in few]
    assert not measure_cost(saying, moved, rows).is_exact
    renamed = [replace(row, verdict="nothing") for row in few]
    assert measure_cost(saying, renamed, rows).compared_flips == 2  # however many ways there are
    assert measure_cost(saying, few, [replace(rows[0], verdict="nothing"), *rows[1:]]).flips == 1


def test_photographs_that_are_gone(finished_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(finished_run, moved)
    config = RunFolder(moved).config
    config.write_text(
        config.read_text().replace(read_run_config(RunFolder(moved)).data[0], str(tmp_path / "gone"))
    )
    with pytest.raises(ExportError, match="which are not there"):
        export_run(moved, tmp_path)
    with pytest.raises(RunError, match="a run is a folder"):
        export_run(tmp_path / "nothing", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_novelty_in_the_graph_is_that_of_numpy(kind: str) -> None:
    rng = np.random.default_rng(0)
    good, other = (rng.normal(size=(12, 5, 4, 6)).astype(np.float32) for _ in range(2))
    normality = fit_normality(kind, good)
    for found, expected in (
        (normality.measure_tensors(tf.constant(other)), normality.measure_images(other)),
        (normality.map_tensor(tf.constant(other)), normality.score_positions(other)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("verdict", ["classifier", "combined", "either"])
@pytest.mark.parametrize("review", [None, (-0.5, 0.5)])
@pytest.mark.parametrize("told_by", ["mean_novelty", "foreign"])
def test_decisions_in_the_graph_are_those_of_the_operating_point(
    finished_run: Path, verdict: str, review: tuple[float, float] | None, told_by: str
) -> None:
    from dataclasses import replace

    from mvdefect.evaluation.calibration import Calibration

    thresholds = {"classifier": 0.1, "combined": 0.2, "novelty": 3.0, told_by: 4.0}
    point: OperatingPoint = replace(
        read_operating_point(RunFolder(finished_run)),
        verdict=verdict,
        review=review,
        thresholds=thresholds,
        combined=Calibration(0.8, 0.5, -0.4),
    )
    rng = np.random.default_rng(1)
    logits, novelty = rng.normal(size=200).astype(np.float32), rng.uniform(0.1, 5, 200).astype(np.float32)
    means = rng.uniform(0.1, 5, 200).astype(np.float32)
    given = tf.constant(logits), tf.constant(novelty), tf.constant(means), tf.ones(200, tf.bool)
    found = decide(point, *given)
    expected = point.decide(logits.astype(np.float64), novelty.astype(np.float64))
    assert [label.decode() for label in found["label"].numpy()] == expected.tolist()
    np.testing.assert_array_equal(found["defective"], expected == "defective")
    np.testing.assert_array_equal(found["needs_review"], expected == "review")
    np.testing.assert_array_equal(
        found["not_this_product"], (novelty if told_by == "foreign" else means) >= 4
    )
    np.testing.assert_array_equal(found["mean_novelty"], means)
    scores = point.find_scores(logits.astype(np.float64), novelty.astype(np.float64))
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-scores)), rtol=1e-5)


@pytest.mark.parametrize("length", [1, 127, 128, 70_000])  # a length takes one to three bytes
def test_warmup_requests_are_messages_of_tf_serving(length: int) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    inputs = {"x": tf.constant([b"a" * length]), "y": tf.ones((2, 3))}
    expected = PredictionLog()
    request = expected.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "m", "s"
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    assert PredictionLog.FromString(encode_request("m", "s", inputs)) == expected


def test_each_signature_is_warmed_up(exported: Path, photographs: list[bytes]) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    records = tf.data.TFRecordDataset(str(exported / PLACE / FILE)).as_numpy_iterator()
    requests = [PredictionLog.FromString(record).predict_log.request for record in records]
    assert {request.model_spec.name for request in requests} == {"parts"}
    found = {request.model_spec.signature_name: request.inputs for request in requests}
    assert set(found) == {"serving_default", "pixels", "explain"}
    for name in ("serving_default", "explain"):
        assert tf.make_ndarray(found[name]["image_bytes"]).tolist() == [photographs[0]]
    assert tf.make_ndarray(found["pixels"]["pixels"]).shape == (1, 64, 64, 3)


def test_the_command(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(finished_run), "--out", str(tmp_path), "--name", "parts", "--version", "7"])
    assert ended.value.code == 0
    assert "savedmodel: 0 of" in capsys.readouterr().out
    assert (tmp_path / "parts" / "7" / "saved_model.pb").is_file()
