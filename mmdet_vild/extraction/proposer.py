"""What proposers of regions have in common."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn


class Proposer(ABC):
    """Says which regions of an image the teacher looks at.

    One that is registered in mmdet's ``TASK_UTILS`` can be named in ``proposers`` of
    :class:`RegionEmbeddingExtractor`, which is the ``model`` here: a detector with a ``teacher``
    and, once a test begins, the ``dataset_meta`` of the images.
    """

    @abstractmethod
    def source(self, model: nn.Module) -> dict:
        """What decides the regions of an image, as JSON can hold it, for the header of the store.

        It is asked for before the first image, and may raise a ValueError.
        """

    @abstractmethod
    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Propose regions for ``batch_inputs`` (b, 3, H, W), as the data preprocessor returns them.

        Returns:
            For each sample ``bboxes`` (n, 4) in pixels of the original image, ``scores`` (n,), and
            perhaps ``weights`` (n,) in the distillation loss, 1 where no proposer gives any;
            ``annotated`` (n,) bool, false where none does; and ``embeddings`` (n, D), where it has
            had the teacher look at them already.
        """


def digest(parts: Iterable[str | np.ndarray | Tensor]) -> str:
    """16 hex digits that depend on all of the parts."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().float().numpy()
        found.update(part.encode() if isinstance(part, str) else part.tobytes())
    return found.hexdigest()[:16]
