"""Calibration recipes: which pictures and options made the range table of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edgemtl.data.config import DataMix, load_data
from edgemtl.errors import ConfigError
from edgemtl.graph.file import load_model
from edgemtl.models import resolve_model
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.budget_report import BudgetReport
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate
from edgemtl.quantize.histogram import ObserverKind
from edgemtl.quantize.report import CalibrationReport
from edgemtl.quantize.within import BudgetOptions, calibrate_within
from edgemtl.records import U8
from edgemtl.settings import read_settings


class Recipe(BaseModel):
    """A recipe file. ``data`` is a DATA.toml, by a path from the recipe, whose training split gives
    the pictures; with ``budget`` (see quantize.budget) its validation split judges the loss, and
    ``allow_overlap`` names sets of it that may share pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    data: Path
    observer: ObserverKind = "percentile"
    percent: float = Field(default=99.999, gt=50, le=100)
    limit: int = Field(default=200, ge=1)
    held_out: int = Field(default=50, ge=0)
    budget: str = ""
    allow_overlap: tuple[str, ...] = ()

    def options(self, name: str) -> CalibrateOptions:
        """``name``: of the recipe's file."""
        return CalibrateOptions(self.observer, self.limit, self.held_out, self.percent, recipe=name)


class MixedPictures:
    """About ``count`` pictures of a data mix: an equal share of each set, evenly spread in it."""

    def __init__(self, mix: DataMix, count: int) -> None:
        share = -(-count // max(len(mix.sets), 1))
        self._places = [
            (data, int(index))
            for data in mix.sets
            for index in np.unique(np.linspace(0, len(data) - 1, min(share, len(data))).round())
        ]

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> U8:
        data, place = self._places[index]
        return data.image(place)

    def file(self, index: int) -> str:
        data, place = self._places[index]
        return data.file(place)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; ``data`` becomes a path from here. Raises ConfigError, naming the key."""
    path = Path(path)
    recipe = read_settings("recipe", path, Recipe, "calibration/recipes")
    return recipe.model_copy(update={"data": path.parent / recipe.data})


def calibrate_recipe(
    recipe: Path,
    out: Path,
    data_root: Path | None = None,
    model: Path | None = None,
    *,
    threads: int = 0,
    allow_slower: bool = False,
) -> CalibrationReport | BudgetReport:
    """Calibrate as a recipe says: :func:`edgemtl.quantize.calibrate.calibrate` or, with a budget,
    :func:`edgemtl.quantize.within.calibrate_within`.

    ``model``: the float file, if not the shipped one; ``threads`` and ``allow_slower`` are of this
    host and in no recipe. Raises ConfigError for a model of another name than the recipe's, and for
    ``allow_slower`` without a budget.
    """
    plan = load_recipe(recipe)
    if allow_slower and not plan.budget:
        raise ConfigError(
            f"allow-slower: has no meaning beside '{recipe}', which has no budget",
            "leave it out, or give the recipe a budget",
        )
    file = resolve_model(plan.model) if model is None else Path(model)
    name = load_model(file)[1].name
    if name != plan.model:
        raise ConfigError(
            f"recipe: '{recipe}' is for the model '{plan.model}', '{file}' is '{name}'",
            "name the model that it is for, or write a recipe for this one",
        )
    mix = load_data(plan.data, "train", data_root)
    pictures = MixedPictures(mix, plan.limit + plan.held_out)
    options = replace(plan.options(Path(recipe).name), threads=threads)
    if not plan.budget:
        return calibrate(file, pictures, out, options)
    wanted = BudgetOptions(
        Budget.parse(plan.budget), allow_slower=allow_slower, allow_overlap=plan.allow_overlap
    )
    judged = load_data(plan.data, "val", data_root)
    return calibrate_within(file, pictures, judged, out, options, wanted)
