"""A model over annotated data, every task at once; and how far two runs of a network agree."""

from edgemtl.evaluate.model import evaluate_model
from edgemtl.evaluate.options import EvaluateOptions
from edgemtl.evaluate.report import Evaluation, SetScores
from edgemtl.metrics.agreement import Agreement, compare_outputs

__all__ = [
    "Agreement",
    "EvaluateOptions",
    "Evaluation",
    "SetScores",
    "compare_outputs",
    "evaluate_model",
]
