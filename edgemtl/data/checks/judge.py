"""From counts to findings: what a run on these data cannot learn, or cannot show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgemtl.data.checks.report import CheckOptions, DataReport, Finding, SetCensus

_SMALL_SHARE, _BEYOND_SHARE = 0.2, 0.1
_ENOUGH = 1000  # pictures counted, that say something even where time left others out


def judge_counts(
    report: DataReport, classes: Sequence[str], image_classes: Sequence[str], options: CheckOptions
) -> list[Finding]:
    """Findings on the counts of ``report``; ``classes`` and ``image_classes`` are the mix's. Of a
    training set of weight 0 it is only said that it takes no part."""
    idle = [one for one in report.sets if one.split == "train" and one.weight == 0]
    report = replace(report, sets=tuple(one for one in report.sets if one not in idle))
    tasks = {split: _tasks(report, split) for split in ("train", "val")}
    if options.tasks is not None:
        tasks["train"] &= set(options.tasks)
    if options.taught_classes:
        tasks["train"].add("detect")
    found = _classes(report, classes, options) if "detect" in tasks["train"] else []
    if "classify" in tasks["train"] and _told(report, "train"):
        judged = "classify" in tasks["val"] and _told(report, "val")
        found += _image_classes(report, image_classes, judged)
    for task in sorted(tasks["train"] - tasks["val"]):
        found.append(
            Finding("warning", "val", f"no data set labels the task '{task}', which is trained",
                    "add a [[val]] set that does, or its training is not judged")
        )  # fmt: skip
    for one in report.sets:
        found += _set(one, tasks["train"], options.taught_sets)
    for one in idle:
        found.append(Finding("note", f"train '{one.name}'", "weight 0: it takes no part"))
    return found


def _told(report: DataReport, split: str) -> bool:
    """Whether enough of a split was counted to say what it has not."""
    return all(_enough(one) for one in report.sets if one.split == split)


def _enough(one: SetCensus) -> bool:
    return one.counted >= min(one.pictures, _ENOUGH)


def _tasks(report: DataReport, split: str) -> set[str]:
    return {task for one in report.sets if one.split == split for task in one.tasks}


def _classes(report: DataReport, classes: Sequence[str], options: CheckOptions) -> list[Finding]:
    found = []
    have, judged = report.boxes("train"), report.boxes("val")
    complete = all(s.counted == s.pictures for s in report.sets if s.split == "train")
    if not _told(report, "train"):
        return []
    for name in classes:
        if name in options.taught_classes and not have.get(name):
            found.append(Finding("note", "train", f"only a teacher labels the class '{name}'"))
        elif name not in have:
            found.append(
                Finding("warning", "train", f"no data set labels the class '{name}'",
                        "add one that does, or take the class out of the mix")
            )  # fmt: skip
        elif have[name] == 0 and judged.get(name, 0):
            found.append(
                Finding("warning", "train", f"no box of the class '{name}', which validation has "
                        f"{judged[name]} of", "its score will be 0: add pictures of it")
            )  # fmt: skip
        elif have[name] < options.min_boxes and complete:
            found.append(
                Finding("warning", "train", f"only {have[name]} boxes of the class '{name}'",
                        "add pictures of it, or merge it with another (rename)")
            )  # fmt: skip
        if have.get(name) and judged.get(name) == 0 and _told(report, "val"):
            found.append(Finding("note", "val", f"no box of the class '{name}': it is not judged"))
    return found


def _image_classes(report: DataReport, names: Sequence[str], judged: bool) -> list[Finding]:
    found = []
    have, theirs = report.image_classes("train"), report.image_classes("val")
    for name in names:
        if not have.get(name):
            tail = f", which validation has {theirs[name]} of" if theirs.get(name) else ""
            found.append(
                Finding("warning", "train", f"no picture of the image class '{name}'{tail}",
                        "add pictures of it, or take it out of image_classes")
            )  # fmt: skip
        elif judged and not theirs.get(name):
            found.append(
                Finding("note", "val", f"no picture of the image class '{name}': it is not judged")
            )
    return found


def _set(one: SetCensus, trained: set[str], taught: Sequence[str]) -> list[Finding]:
    found = []
    where = f"{one.split} '{one.name}'"
    boxes = sum(one.boxes.values())
    if not one.tasks and not (one.split == "train" and one.name in taught):
        found.append(Finding("warning", where, "it labels no task", "give its tasks, or remove it"))
    if "detect" in trained and one.without_boxes is not None and not boxes and _enough(one):
        found.append(
            Finding("warning", where, f"no boxes in {one.counted} pictures",
                    "check the annotation file, and 'rename' if it has other class names")
        )  # fmt: skip
    alone = not one.repeated_identities and _enough(one)
    if "embed" in trained & set(one.tasks) and one.split == "train" and alone:
        found.append(
            Finding("warning", where, "no identity is in two pictures: embeddings learn nothing",
                    "give sequences with identities, or take 'embed' out of tasks")
        )  # fmt: skip
    if one.below_8px > _SMALL_SHARE:
        found.append(
            Finding("warning", where, f"{one.below_8px:.0%} of the boxes are below 8 px at the "
                    "network's input", "a larger size_hw, or tiles of the pictures")
        )  # fmt: skip
    if one.beyond_input > _BEYOND_SHARE:
        found.append(
            Finding("note", where, f"{one.beyond_input:.0%} of the boxes outgrow the input at the "
                    "largest augmentation", "lower augment.scale")
        )  # fmt: skip
    for what, done in (("annotations counted", one.counted), ("pictures looked at", one.looked_at)):
        if done < one.pictures:
            found.append(
                Finding("note", where, f"{what}: {done} of {one.pictures}, evenly spread",
                        "the rest had no time: raise data_checks.seconds")
            )  # fmt: skip
    return found
