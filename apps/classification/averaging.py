"""One output from several of the same thing: views of an image, pictures of a subject.

Probabilities are averaged, and the mean is given as logits again, so that loss, figures and predictions need not know.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from ...datasets import Context
from ..task import Head
from ..views import View


class AveragingHead(Head):
    """A head whose outputs for several pictures of the same thing can be averaged."""

    @abstractmethod
    def average(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return logits of the mean of the probabilities that several logits of one shape stand for."""

    def merge_views(self, outputs: Sequence[Tensor], views: Sequence[View], context: Context) -> Tensor:
        """Return the average: a class is where it is, however one looks at the image."""
        return self.average(outputs)


def mean_softmax(outputs: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean softmax of logits ``[B, C]``; its softmax is that mean."""
    return _log_mean(torch.stack([log_softmax(output.float(), dim=1) for output in outputs]))


def mean_sigmoid(outputs: Sequence[Tensor]) -> Tensor:
    """Return the logit of the mean sigmoid of logits of any shape; its sigmoid is that mean."""
    logits = torch.stack([output.float() for output in outputs])
    # the logarithms of p and 1 - p apart: their difference stays finite where p rounds to 1
    return _log_mean(logsigmoid(logits)) - _log_mean(logsigmoid(-logits))


def _log_mean(logarithms: Tensor) -> Tensor:
    """Return the logarithm of the mean over the first axis."""
    return torch.logsumexp(logarithms, dim=0) - math.log(len(logarithms))
