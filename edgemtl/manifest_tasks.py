"""The manifest's words for what is told of objects, and for tasks that others add."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def output_of_attribute(name: str) -> str:
    """The graph's output with the probabilities of an attribute's values."""
    return f"attributes_{name}"


class Attribute(_Frozen):
    """Something that is told of every object beside its class: a name and its possible values."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    values: tuple[str, ...] = Field(min_length=2)

    @property
    def output(self) -> str:
        """The graph's output with the probabilities of the values."""
        return output_of_attribute(self.name)


class FurtherOutput(_Frozen):
    """An output of a further task. A size may be a number, or depend on the model's own: "K" the
    candidates, "h/8" and "w/8" the input's sides by a stride.
    """

    name: str
    dtype: Literal["float32", "int32"] = "float32"
    shape: tuple[int | str, ...] = Field(description="after the batch dimension")

    @field_validator("shape")
    @classmethod
    def _known(cls, shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for size in shape:
            if isinstance(size, str) and not re.fullmatch(r"K|[hw]/[1-9][0-9]*", size):
                raise ValueError(f"a size is a number, 'K', or as 'h/8' and 'w/8'; got '{size}'")
        return shape

    def sizes(self, size_hw: tuple[int, int], top_k: int) -> tuple[int, ...]:
        """The shape of a model with this input and so many candidates."""
        side = {"h": size_hw[0], "w": size_hw[1]}

        def number(size: int | str) -> int:
            if isinstance(size, int):
                return size
            return top_k if size == "K" else side[size[0]] // int(size[2:])

        return tuple(number(size) for size in self.shape)


class FurtherTask(_Frozen):
    """A task that this version of the runtime hands on as arrays, and does not interpret."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    classes: tuple[str, ...] = ()
    outputs: tuple[FurtherOutput, ...] = Field(min_length=1)
