"""Train and export an Ultralytics detector from random weights. Runs in its own environment.

One JSON object on standard input: ``model`` (a .yaml of the package), ``data`` (its data file),
``size`` (pixels), ``epochs``, ``fraction`` of the pictures, ``seed``, ``folder``. Writes there
end_to_end.onnx, raw.onnx and trained.json: ``epoch_cpu_s`` of each epoch, ``parameters``,
``version``. All else is the package's default: optimiser, schedule, augmentation, loss.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    import torch
    import ultralytics

    job: dict[str, Any] = json.load(sys.stdin)
    folder = Path(job["folder"])
    model = ultralytics.YOLO(job["model"])
    marks: list[float] = []

    def one_thread(trainer: Any) -> None:
        torch.set_num_threads(1)
        marks.append(time.process_time())

    model.add_callback("on_train_start", one_thread)
    model.add_callback("on_train_epoch_end", lambda trainer: marks.append(time.process_time()))
    model.train(
        data=job["data"], imgsz=job["size"], epochs=job["epochs"], seed=job["seed"],
        fraction=job["fraction"],
        project=str(folder), name="run", exist_ok=True, pretrained=False, device="cpu",
        workers=0, amp=False, val=False, plots=False, verbose=False,
    )  # fmt: skip
    weights = folder / "run" / "weights" / "last.pt"
    # its head without suppression, and the raw one that most of its formats are exported with
    for name, nms in (("end_to_end", False), ("raw", None)):
        made = ultralytics.YOLO(weights).export(format="onnx", imgsz=job["size"], opset=17, nms=nms)
        shutil.move(made, folder / f"{name}.onnx")
    facts = {
        "epoch_cpu_s": [round(b - a, 2) for a, b in zip(marks, marks[1:])],  # noqa: B905, RUF007
        "parameters": sum(p.numel() for p in ultralytics.YOLO(weights).model.parameters()),
        "version": ultralytics.__version__,
    }
    (folder / "trained.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
