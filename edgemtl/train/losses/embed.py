"""The loss of the embeddings: near for one identity, far for two."""

from __future__ import annotations

import torch
from torch import Tensor

from edgemtl.nn.heads import EmbeddingHead
from edgemtl.train.distributed import gather_rows, rank, whole
from edgemtl.train.losses.step import Step


def embedding_loss(head: EmbeddingHead, step: Step) -> Tensor | None:
    """Supervised contrastive loss (arXiv 2004.11362, eq. 2) over objects with known identity."""
    assert step.assigned is not None
    identities = step.batch.identities[step.assigned.usable]
    features, owner = step.object_points(identities >= 0)
    # each process compares all with all, and sends gradient to its own points alone
    vectors = gather_rows(head(features))
    found = gather_rows(identities[owner])
    owner = gather_rows(owner + (rank() << 32))
    if len(owner) < 2:
        return None
    value = contrastive(vectors, found, owner, step.config.temperature)
    return None if value is None else whole(value, shared=True)


def contrastive(
    vectors: Tensor, identities: Tensor, owner: Tensor, temperature: float
) -> Tensor | None:
    """Positives: the same identity at another object (another frame). None if there are none.

    vectors f32 [P, D] unit length; identities, owner i64 [P]. Points of one object are neither
    positive (that would be free) nor negative to each other. An identity counts as one class of
    its data set: identities of different sets are never compared, a person may be in both.
    """
    similarity = vectors @ vectors.T / temperature
    other = owner[:, None] != owner[None]
    comparable = other & ((identities[:, None] >> 32) == (identities[None] >> 32))
    same = comparable & (identities[:, None] == identities[None])
    log_all = similarity.masked_fill(~comparable, -torch.inf).logsumexp(1, keepdim=True)
    log_share = torch.where(same, similarity - log_all, 0.0)
    count = same.sum(1)
    valid = count > 0
    if not bool(valid.any()):
        return None
    mean: Tensor = -(log_share.sum(1)[valid] / count[valid]).mean()
    return mean
