"""Where results go. Each output appears under its name only when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import cv2

from edgemtl.drawing import name_of
from edgemtl.errors import OutputError
from edgemtl.files import atomic_path
from edgemtl.manifest import Manifest
from edgemtl.records import F32, U8, Frame, FrameResult
from edgemtl.runtime.capture import Capture, muted
from edgemtl.runtime.overlay import draw
from edgemtl.track_file import mot_lines

_LONGEST_STILL_S = 10.0
_WHOLE = 0.95
"""Of the frames that a container tells: some count them by duration and rate."""
_CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}


class _Output:
    """A temporary file beside ``path``, renamed at close if a frame was written to it.

    An interrupted run keeps what it wrote; a run that failed before its first frame leaves nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._stack = ExitStack()
        self.temporary = self._stack.enter_context(atomic_path(self.path))
        self.used = False

    def close(self) -> None:
        """Rename; or remove where nothing was written."""
        if self.used:
            self._stack.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove."""
        with suppress(_UnusedError), self._stack:
            raise _UnusedError

    def failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write '{self.path}': {error.strerror}", "is the disk full?")


class _UnusedError(Exception):
    """Tells ``atomic_path`` to drop the temporary file."""


class _TextSink:
    """Lines of text, flushed frame by frame so that a killed run can be read."""

    def __init__(self, path: Path) -> None:
        self._output = _Output(path)
        self._file: IO[str] | None = self._output.temporary.open("w", encoding="utf-8")

    def _put(self, text: str) -> None:
        assert self._file is not None
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise self._output.failed(error) from error
        self._output.used = True

    def close(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError as error:  # what an earlier write left in the buffer still does not fit
            self._output.close()
            raise self._output.failed(error) from error
        self._output.close()


class JsonlSink(_TextSink):
    """JSON Lines: one object per frame. Raises OutputError if nothing can be written there."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path)
        self._manifest = manifest

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._put(json.dumps(result_to_dict(result, self._manifest), allow_nan=False) + "\n")


def result_to_dict(result: FrameResult, manifest: Manifest) -> dict[str, Any]:
    """A result in JSON's own types; the schema of the JSON Lines output."""
    found, tracks = result.detections, result.tracks
    scene = None
    if result.scene is not None:
        scene = {
            "label": result.scene.label,
            "name": name_of(manifest.image_classes, result.scene.label),
            "probs": [round(float(p), 5) for p in result.scene.probs],
        }
    entry: dict[str, Any] = {
        "stream": result.stream,
        "index": result.index,
        "pts_ns": result.pts_ns,
        "size_hw": list(result.size_hw),
        "scene": scene,
        "detections": [
            {
                **_object(manifest, found.boxes_src[k], found.scores[k], found.labels[k]),
                **_told(manifest, found.attributes, k),
            }
            for k in range(len(found))
        ],
        "tracks": [
            {
                "id": int(tracks.track_ids[k]),
                **_object(manifest, tracks.boxes_src[k], tracks.scores[k], tracks.labels[k]),
                "det_index": int(tracks.det_index[k]),
                **_told(manifest, tracks.attributes, k),
            }
            for k in range(len(tracks))
        ],
    }
    return entry if result.file is None else {**entry, "file": result.file}


def _object(manifest: Manifest, box: Any, score: Any, label: Any) -> dict[str, Any]:
    return {
        "box_src": [round(float(v), 2) for v in box],
        "score": round(float(score), 5),
        "label": int(label),
        "name": name_of(manifest.classes, int(label)),
    }


def _told(manifest: Manifest, attributes: Mapping[str, F32], k: int) -> dict[str, Any]:
    """The likeliest value of each attribute of object ``k``; nothing for a model without any."""
    values = {a.name: a.values for a in manifest.attributes}
    told = {
        name: {"value": values[name][int(p[k].argmax())], "score": round(float(p[k].max()), 5)}
        for name, p in attributes.items()
    }
    return {"attributes": told} if told else {}


class MotSink(_TextSink):
    """MOTChallenge text of the tracks, frames from 1."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._put("".join(mot_lines(result.index + 1, result.tracks)))


class VideoSink:
    """The annotated video: .webm (plays in browsers), .mp4 (mp4v) or .avi (motion JPEG).

    ``paced``: pictures follow their media times, as those of a camera of which some are dropped:
    a picture stands until the next one's time, ten seconds at most, and one that is early is left
    out. Otherwise each is a frame.
    """

    def __init__(
        self, path: Path, fps: float, manifest: Manifest | None = None, *, paced: bool = False
    ) -> None:
        path = Path(path)
        if path.suffix.lower() not in _CODECS:
            kinds = ", ".join(sorted(_CODECS))
            raise OutputError(
                f"video output: expected {kinds}, got '{path.name}'", "browsers play .webm"
            )
        self._output = _Output(path)
        self._fps, self._manifest, self._paced = round(fps, 2), manifest, paced
        self._written, self._began_ns, self._waited = 0, 0, 0
        self._last: U8 | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: Frame, result: FrameResult) -> None:
        picture = draw(frame, result, self._manifest)
        if self._writer is None:
            self._open(picture.shape[1], picture.shape[0])
            self._began_ns = result.pts_ns
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size).astype(picture.dtype)
        if not self._paced or self._turn(result.pts_ns):
            self._put(picture)

    def _put(self, picture: U8) -> None:
        assert self._writer is not None
        self._writer.write(picture)
        self._written, self._output.used, self._last = self._written + 1, True, picture

    def _turn(self, pts_ns: int) -> bool:
        """Let the last picture stand until it is this one's turn; whether it is not early."""
        due = round((pts_ns - self._began_ns) * self._fps / 1e9) - self._waited
        most = round(_LONGEST_STILL_S * self._fps)
        if due - self._written > most:  # an outage: the time that is left out never comes back
            self._waited += due - self._written - most
            due = self._written + most
        while self._last is not None and self._written < due:
            self._put(self._last)
        return due >= self._written

    def _open(self, width: int, height: int) -> None:
        # video codecs want even sides
        self._size = (width - width % 2 or 2, height - height % 2 or 2)
        code = cv2.VideoWriter.fourcc(*_CODECS[self._output.path.suffix.lower()])
        path = os.fspath(self._output.temporary)
        with muted():
            self._writer = cv2.VideoWriter(path, code, self._fps, self._size)
        if not self._writer.isOpened():
            raise OutputError(
                f"cannot write video '{self._output.path}': OpenCV has no encoder for it",
                "try another suffix: .webm, .mp4 or .avi",
            )

    def close(self) -> None:
        if self._writer is None:
            self._output.close()
            return
        self._writer.release()
        self._writer = None
        there = Capture(os.fspath(self._output.temporary))
        frames = there.frames or 0
        there.release()
        if frames < _WHOLE * self._written - 1:  # OpenCV's writers say nothing of a full disk
            self._output.discard()
            raise OutputError(
                f"cannot write '{self._output.path}': {frames} of {self._written} frames arrived",
                "is the disk full? What was there before is untouched",
            )
        self._output.close()


class ShowSink:
    """A window with the annotated frames; closing it with ``q`` or Escape ends the run."""

    def __init__(self, manifest: Manifest | None = None) -> None:
        self._manifest = manifest
        self._name = "edgemtl"
        no_display = os.name == "posix" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        )
        if no_display and os.uname().sysname == "Linux":
            raise OutputError(
                "--show: this session has no display", "use --video out.webm, or 'ssh -X'"
            )

    def write(self, frame: Frame, result: FrameResult) -> None:
        try:
            cv2.imshow(self._name, draw(frame, result, self._manifest))
            key = cv2.waitKey(1) & 0xFF
        except cv2.error as error:
            raise OutputError(
                "--show: this OpenCV cannot open windows (opencv-python-headless?)",
                "pip install opencv-python, or use --video out.webm",
            ) from error
        if key in (27, ord("q")):
            raise KeyboardInterrupt

    def close(self) -> None:
        try:
            cv2.destroyAllWindows()
        except cv2.error:
            return  # no window was ever opened
