"""The page of keys is the config classes, and nothing is left unsaid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edgemtl.train.config import TrainConfig
from edgemtl.train.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training_keys.md"


def test_the_page_is_up_to_date() -> None:
    found = PAGE.read_text(encoding="utf-8")
    assert found == reference(), "python -m edgemtl.train.reference > docs/training_keys.md"


def test_every_key_is_there_and_explained() -> None:
    page = reference()
    for name, field in TrainConfig.model_fields.items():
        assert re.search(rf"[`\[]{field.alias or name}[`\]]", page), name
    unsaid = [
        line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")
    ]
    assert unsaid == []


def test_types_and_limits_as_toml_has_them() -> None:
    page = reference()
    assert "| `batch` | integer, >= 1 | `8` |" in page
    assert "| `rename` | { text = text } | `{}` |" in page
    assert '| `task` | `"detect"` or `"embed"` | `"detect"` |' in page
