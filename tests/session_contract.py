"""What every CPU session must do, against onnxruntime run plainly and files that lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, pictures, run
from onnx import numpy_helper
from tiny_model import tiny_model, write_tiny

from edgemtl.errors import EdgeMTLError, EngineError, ModelError
from edgemtl.manifest import METADATA_KEY
from edgemtl.records import NetOutputs

_NAMES = {
    "boxes": "boxes_net",
    "scores": "scores",
    "labels": "labels",
    "embeddings": "embeddings",
    "image_probs": "image_probs",
}
PARTIAL: list[dict[str, Any]] = [
    {},
    {"image_classes": ()},
    {"embedding_dim": None},
    {"embedding_dim": None, "image_classes": ()},
    {"classes": (), "embedding_dim": None},
]


def close_to(have: NetOutputs, want: dict[str, np.ndarray], rows: slice) -> None:
    """``have`` is ``want`` cut to ``rows``; tasks that are not wanted are absent or empty."""
    for name, field in _NAMES.items():
        value = getattr(have, field)
        if name not in want:
            assert value is None or value.shape[:2] == (rows.stop - rows.start, 0)
            continue
        assert value.dtype == want[name].dtype
        np.testing.assert_allclose(value, want[name][rows], rtol=1e-4, atol=1e-4)


class SessionContract:
    """Inherited by the tests of each backend, which set ``open``; fixtures are the room's."""

    open: Callable[..., Any]

    def test_facts(self, model: onnx.ModelProto, path: Path) -> None:
        with closing(self.open(path, threads=2, batch=3)) as session:
            assert session.manifest == manifest_of(model)
            assert session.batch == 3
            assert "CPU, 2 threads" in session.backend
            buffer = session.input(session.acquire())
            assert (buffer.shape, buffer.dtype) == ((3, 3, 32, 64), np.int8)

    @pytest.mark.parametrize("kw", PARTIAL, ids=str)
    def test_equals_a_plain_run_for_any_tasks(self, tmp_path: Path, kw: dict[str, Any]) -> None:
        model = tiny_model(**kw)
        images = pictures(manifest_of(model), count=3)
        want = run(model, images)
        with closing(self.open(write_tiny(tmp_path / "m.onnx", **kw), threads=1)) as session:
            for n in range(3):
                close_to(session.infer(images[n : n + 1]), want, slice(n, n + 1))

    @pytest.mark.parametrize("n_valid", [1, 2, 3, 4])
    def test_rows_beyond_the_valid_ones_do_not_matter(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray], n_valid: int
    ) -> None:
        with closing(self.open(path, threads=1, batch=4)) as session:
            for fill in (-128, 127):
                slot = session.acquire()
                session.input(slot)[...] = fill
                session.input(slot)[:n_valid] = images[:n_valid]
                outputs = session.collect(session.submit(slot, n_valid))
                close_to(outputs, want, slice(0, n_valid))

    def test_two_slots_run_ahead_and_answer_by_ticket(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
    ) -> None:
        with closing(self.open(path, threads=1)) as session:
            for first, second in ((0, 1), (1, 0)):
                slots = [session.acquire(), session.acquire()]
                assert slots[0] != slots[1]
                for n, slot in enumerate(slots):
                    session.input(slot)[0] = images[n]
                tickets = [session.submit(slot, 1) for slot in slots]
                for n in (first, second):
                    close_to(session.collect(tickets[n]), want, slice(n, n + 1))

    def test_outputs_are_views_that_live_until_the_slot_returns(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
    ) -> None:
        with closing(self.open(path, threads=1)) as session:
            kept = []
            for n in range(3):
                slot = session.acquire()
                session.input(slot)[0] = images[n]
                kept.append(session.collect(session.submit(slot, 1)))
                if n == 1:
                    close_to(kept[0], want, slice(0, 1))
            close_to(kept[1], want, slice(1, 2))
            assert kept[0].image_probs is not None
            assert np.shares_memory(kept[0].image_probs, kept[2].image_probs)
            np.testing.assert_array_equal(kept[0].image_probs, kept[2].image_probs)

    def test_infer_hands_out_copies(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
    ) -> None:
        with closing(self.open(path, threads=1, batch=2)) as session:
            results = [session.infer(images[n : n + 2]) for n in range(5)]
        for n, result in enumerate(results):
            close_to(result, want, slice(n, n + 2))
            arrays = [getattr(result, f.name) for f in fields(result)]
            assert all(a.flags.owndata for a in arrays if isinstance(a, np.ndarray))

    def test_acquire_waits_for_a_slot(self, path: Path) -> None:
        with closing(self.open(path, threads=1)) as session:
            tickets = [session.submit(session.acquire(), 1) for _ in range(2)]
            got: list[int] = []
            thread = threading.Thread(target=lambda: got.append(session.acquire()))
            thread.start()
            thread.join(0.05)
            assert thread.is_alive()
            assert got == []
            session.collect(tickets[1])
            thread.join(30)
            assert got == [tickets[1]]
            session.collect(tickets[0])

    def test_wrong_use_is_told_and_takes_no_slot(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
    ) -> None:
        session = self.open(path, threads=1, batch=2)
        for _ in range(3):
            for wrong in (images[:3], images[:0], images[:1, :, :16], images[:1].astype("f4")):
                with pytest.raises(ValueError, match="images: expected"):
                    session.infer(wrong)
        slot = session.acquire()
        for n_valid in (0, -1, 3):
            with pytest.raises(ValueError, match="n_valid: expected 1 to 2"):
                session.submit(slot, n_valid)
        ticket = session.submit(slot, 1)
        with pytest.raises(ValueError, match="submitted already"):
            session.submit(slot, 1)
        session.collect(ticket)
        with pytest.raises(ValueError, match="collected already"):
            session.collect(ticket)
        close_to(session.infer(images[:2]), want, slice(0, 2))
        left = session.acquire()
        session.submit(left, 1)
        session.close()
        session.close()
        with pytest.raises(ValueError, match="closed"):
            session.infer(images[:2])
        with pytest.raises(ValueError, match="batch"):
            self.open(path, batch=0)

    @pytest.mark.parametrize("case", ["empty", "text", "cut", "bare", "no_graph", "gone"])
    def test_files_that_are_no_models(self, model: onnx.ModelProto, tmp_path: Path, case: str):
        path = tmp_path / "m.onnx"
        data = model.SerializeToString()
        bare = onnx.ModelProto.FromString(data)
        del bare.metadata_props[:]
        hollow = onnx.ModelProto.FromString(data)
        hollow.ClearField("graph")
        content, word = {
            "empty": (b"", "is empty"),
            "text": (b"import antigravity\n" * 40, r"m\.onnx"),
            "cut": (data[: len(data) // 2], r"m\.onnx"),
            "bare": (bare.SerializeToString(), "without an edgemtl manifest"),
            "no_graph": (hollow.SerializeToString(), r"m\.onnx"),
            "gone": (None, "cannot be read"),
        }[case]
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=word) as caught:
            self.open(path)
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("change", "error", "word"),
        [
            ({"top_k": 9}, ModelError, "boxes"),
            ({"image_classes": ("x", "y", "z")}, ModelError, "image_probs"),
            ({"image_classes": ()}, ModelError, "outputs"),
            ({"embedding_dim": 5}, ModelError, "embeddings"),
            ({"input": {"size_hw": [64, 64]}}, ModelError, "input shape"),
            ({"input": {"size_hw": [32, 64], "dtype": "uint8"}}, ModelError, "uint8"),
            ({"decode": "yolox"}, EngineError, "yolox"),
        ],
    )
    def test_a_manifest_that_disagrees(
        self,
        model: onnx.ModelProto,
        tmp_path: Path,
        change: dict[str, Any],
        error: type[EdgeMTLError],
        word: str,
    ) -> None:
        fields = {**manifest_of(model).model_dump(mode="json"), **change}
        liar = onnx.ModelProto.FromString(model.SerializeToString())
        onnx.helper.set_model_props(
            liar, {METADATA_KEY: type(manifest_of(model)).model_validate(fields).to_json()}
        )
        onnx.save(liar, str(tmp_path / "m.onnx"))
        with pytest.raises(error, match=word) as caught:
            self.open(tmp_path / "m.onnx")
        assert caught.value.hint

    def test_a_graph_of_one_fixed_batch(self, model: onnx.ModelProto, tmp_path: Path) -> None:
        fixed = onnx.ModelProto.FromString(model.SerializeToString())
        for value in (*fixed.graph.input, *fixed.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 2
        onnx.save(fixed, str(tmp_path / "m.onnx"))
        images = pictures(manifest_of(model), count=2)
        want = run(model, images)
        with closing(self.open(tmp_path / "m.onnx", batch=2)) as session:
            assert session.batch == 2
            close_to(session.infer(images), want, slice(0, 2))
            close_to(session.infer(images[:1]), want, slice(0, 1))
        with pytest.raises(EngineError, match="exactly 2 pictures"):
            self.open(tmp_path / "m.onnx", batch=1)


def one_picture_inside(path: Path) -> Path:
    """A graph that promises an open batch, and hands out the first picture's row alone."""
    model = tiny_model(classes=(), embedding_dim=None)
    last = model.graph.node[-1]
    last.output[0] = "all"
    for name, value in (("start", 0), ("stop", 1), ("axis", 0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    names = ["all", "start", "stop", "axis"]
    model.graph.node.append(onnx.helper.make_node("Slice", names, ["image_probs"], name="cut"))
    onnx.save(model, str(path))
    return path
