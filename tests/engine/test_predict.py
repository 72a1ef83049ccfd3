"""One picture in, everything out: against letterbox, network and decoding done by hand."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from graph_tools import manifest_of, run
from tiny_model import tiny_model, write_tiny

from edgemtl.engine.ort import OrtSession
from edgemtl.engine.predict import Predictor, read_scene
from edgemtl.records import NetOutputs


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _letterboxed(picture: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """int8 [1, 3, 32, 64] RGB around its middle, the scale, left and top pads, by OpenCV."""
    height, width = picture.shape[:2]
    scale = min(32 / height, 64 / width)
    size = round(width * scale), round(height * scale)
    left, top = (64 - size[0]) // 2, (32 - size[1]) // 2
    canvas = np.full((32, 64, 3), 128, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size)
    planes = canvas[:, :, ::-1].transpose(2, 0, 1).astype(np.int16) - 128
    return planes[None].astype(np.int8), scale, left, top


@pytest.mark.parametrize("size", [(32, 64), (128, 256), (160, 160), (64, 256)])
def test_equals_the_steps_by_hand(tmp_path: Path, size: tuple[int, int]) -> None:
    model = tiny_model()
    picture = _picture(*size)
    network_input, scale, left, top = _letterboxed(picture)
    want = {name: value[0] for name, value in run(model, network_input).items()}
    boxes = (want["boxes"] - [left, top, left, top]) / scale
    boxes = np.clip(boxes, 0, [size[1], size[0]] * 2)
    good = want["scores"] >= 0.2
    good &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx"), threads=1)) as session:
        scene, found = Predictor(session, min_score=0.2).predict(picture)
    assert good.sum() > 0
    # one grey level of rounding in the resize moves a random network's outputs this much
    np.testing.assert_allclose(found.scores, want["scores"][good], atol=0.02)
    np.testing.assert_allclose(found.boxes_src, boxes[good], atol=0.05 * max(size))
    np.testing.assert_array_equal(found.labels, want["labels"][good])
    assert found.embeddings is not None
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-4)
    assert scene is not None
    assert scene.label == want["image_probs"].argmax()
    np.testing.assert_allclose(scene.probs, want["image_probs"], atol=0.01)


def test_the_score_threshold_is_the_models_unless_given(tmp_path: Path) -> None:
    picture = _picture(64, 128)
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx"), threads=1)) as session:
        everything = Predictor(session, min_score=0.0).predict(picture)[1].scores
        default = Predictor(session)
        assert default.min_score == manifest_of(tiny_model()).min_score == 0.3
        np.testing.assert_array_equal(default.predict(picture)[1].scores, everything)
        found = Predictor(session, min_score=0.5).predict(picture)[1].scores
        np.testing.assert_array_equal(found, everything[everything >= 0.5])
        assert 0 < len(found) < len(everything)


def test_results_outlive_the_slot(tmp_path: Path) -> None:
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx"), threads=1)) as session:
        predictor = Predictor(session, min_score=0.0)
        scene, found = predictor.predict(_picture(64, 128))
        assert scene is not None
        before = scene.probs.copy(), found.boxes_src.copy()
        for seed in range(1, 4):
            predictor.predict(_picture(64, 128, seed))
        np.testing.assert_array_equal(scene.probs, before[0])
        np.testing.assert_array_equal(found.boxes_src, before[1])


@pytest.mark.parametrize(
    "kw", [{"image_classes": ()}, {"classes": (), "embedding_dim": None}, {"embedding_dim": None}]
)
def test_any_tasks(tmp_path: Path, kw: dict[str, object]) -> None:
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx", **kw), threads=1)) as session:
        scene, found = Predictor(session, min_score=0.0).predict(_picture(64, 128))
    assert (scene is None) == (kw.get("image_classes") == ())
    assert (len(found) == 0) == (kw.get("classes") == ())
    assert (found.embeddings is None) == ("embedding_dim" in kw)


def test_arrays_that_are_no_pictures_take_no_slot(tmp_path: Path) -> None:
    """More of them than slots: the next good picture must not wait for ever."""
    wrong = [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ]
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx"), threads=1)) as session:
        predictor = Predictor(session)
        for picture in wrong:
            with pytest.raises((TypeError, ValueError)):
                predictor.predict(picture)
        assert predictor.predict(_picture(64, 128))[0] is not None


def test_read_scene() -> None:
    none = np.zeros((2, 0), np.float32)
    probs = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
    outputs = NetOutputs(np.zeros((2, 0, 4), np.float32), none, none.astype(np.int32), None, probs)
    for n, label in ((0, 1), (1, 0)):
        scene = read_scene(outputs, n)
        assert scene is not None
        assert scene.label == label
        assert not np.shares_memory(scene.probs, probs)
    assert read_scene(NetOutputs(outputs.boxes_net, none, outputs.labels), 0) is None
