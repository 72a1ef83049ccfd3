"""Scores of detection, classification, tracking and retrieval, equal to the references.

Numpy alone. The references are pycocotools, scikit-learn's formulas and TrackEval; the tests
compare with them.
"""

from edgemtl.metrics.classification import ClassificationScores, classification_scores
from edgemtl.metrics.detection import DetectionMeter, DetectionScores
from edgemtl.metrics.retrieval import (
    RetrievalScores,
    combine_retrieval,
    retrieval_scores,
)
from edgemtl.metrics.tracking import TrackingMeter, TrackingScores, combine

__all__ = [
    "ClassificationScores",
    "DetectionMeter",
    "DetectionScores",
    "RetrievalScores",
    "TrackingMeter",
    "TrackingScores",
    "classification_scores",
    "combine",
    "combine_retrieval",
    "retrieval_scores",
]
