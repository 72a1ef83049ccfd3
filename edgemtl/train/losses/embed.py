"""The loss of the embeddings: near for one identity, far for two; or as a teacher sees it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import EmbeddingHead, GridEmbeddingHead
from edgemtl.train.distributed import gather_rows, rank, widest
from edgemtl.train.losses.part import Part, counted_once, mean_of
from edgemtl.train.losses.step import Step, rank_within

_TEACHER_SHARPNESS = 0.5  # a teacher is followed in what it ranks first
_FAR = 1e4

AnyEmbeddingHead = EmbeddingHead | GridEmbeddingHead
"""What gives embeddings, from points or from boxes."""


def embedding_loss(head: AnyEmbeddingHead, step: Step) -> tuple[Part, Part] | None:
    """Contrastive over objects with known identity; a teacher's likeness over those it has seen."""
    if step.assigned is None:
        return None
    identities = step.batch.identities[step.assigned.usable]
    looks = step.batch.appearance[step.assigned.usable]
    # a share that no teacher has seen does not know how much teachers say
    looks = functional.pad(looks, (0, widest(looks.shape[1]) - looks.shape[1]), value=torch.nan)
    asked = looks.shape[1] > 0
    told = ~looks.isnan().any(1) if asked else torch.zeros_like(identities, dtype=torch.bool)
    vectors, owner = object_vectors(head, step, (identities >= 0) | told)
    # each process compares all with all, and sends gradient to its own points alone
    vectors = gather_rows(vectors)
    found, seen = gather_rows(identities[owner]), gather_rows(looks[owner])
    owner = gather_rows(owner + (rank() << 32))
    named, shown = found >= 0, ~seen.isnan().any(1) & (seen.shape[1] > 0)
    temperature = step.config.temperature
    nothing = Part(0.0 * vectors.sum(), vectors.new_zeros(()), labelled=False)
    pairs = contrastive(vectors[named], found[named], owner[named], temperature) or nothing
    alike = likeness(vectors[shown], seen[shown], owner[shown], temperature) or nothing
    return counted_once(pairs), counted_once(replace(alike, factor=step.config.distil))


def object_vectors(head: AnyEmbeddingHead, step: Step, known: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings f32 [P, D] of the objects that are ``known`` bool [U], and their owner i64 [P]."""
    if isinstance(head, EmbeddingHead):
        features, owner = step.object_points(known)
        return head(features), owner
    frame, boxes, owner = step.object_boxes(known)
    fine: Tensor = step.outputs.raw[head.name]
    # the head takes as many boxes of each picture: room for those of the fullest one
    place = rank_within(frame, torch.zeros_like(frame))
    room = int(place.max()) + 1 if len(place) else 1
    padded = boxes.new_zeros((len(fine), room, 4))
    padded[frame, place] = boxes
    return head(fine, padded)[frame, place], owner


def contrastive(
    vectors: Tensor, identities: Tensor, owner: Tensor, temperature: float
) -> Part | None:
    """Supervised contrastive loss (arXiv 2004.11362, eq. 2); None without any pair.

    Positives: the same identity at another object (another frame).

    vectors f32 [P, D] unit length; identities, owner i64 [P]. Points of one object are neither
    positive (that would be free) nor negative to each other. An identity counts as one class of
    its data set: identities of different sets are never compared, a person may be in both.
    """
    if len(owner) < 2:
        return None
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
    return mean_of(-(log_share.sum(1)[valid] / count[valid]))


def likeness(vectors: Tensor, seen: Tensor, owner: Tensor, temperature: float) -> Part | None:
    """How far the student's ranking of other objects is from the teacher's; None if too few.

    vectors f32 [P, D] and the teacher's seen f32 [P, E], both of unit length, owner i64 [P]. Each
    object asks which others resemble it, a softmax over cosines; the value is the mean Kullback-
    Leibler divergence from the teacher's answer, as in SEED (arXiv 2101.04731, eq. 6) within the
    batch. Widths may differ, since only likenesses are compared.
    """
    other = owner[:, None] != owner[None]
    valid = other.sum(1) > 1
    if not bool(valid.any()):
        return None
    sharp = temperature * _TEACHER_SHARPNESS
    ours = (vectors @ vectors.T / temperature).masked_fill(~other, -_FAR).log_softmax(1)
    theirs = (seen @ seen.T / sharp).masked_fill(~other, -_FAR).log_softmax(1)
    divergence = (theirs.exp() * (theirs - ours)).sum(1)
    return mean_of(divergence[valid])
