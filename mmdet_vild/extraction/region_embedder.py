"""What models that write down what the teacher sees have in common."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.datasets import original_image
from mmdet_vild.options import Count, check_option

from .proposer import Proposer


class RegionEmbedder:
    """A model whose predictions are regions with the teacher's embeddings.

    Put before a model of mmengine, which sets ``teacher`` and ``proposers``.
    """

    #: The test dataset's ``metainfo``, which ``EmbeddingStoreHook`` tells.
    dataset_meta: dict | None = None
    #: Whether embeddings that a GPU computes may arrive after :meth:`predict` has returned, as the
    #: hook tells, whose writer waits for them.
    ahead = False
    proposers: Sequence[Proposer]
    _stream: torch.cuda.Stream | None = None

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose regions and embed them.

        Returns:
            The samples, with ``pred_instances`` of ``bboxes`` (n, 4) in pixels of the original
            image, ``scores`` (n,), ``labels`` (n,) zero, ``embeddings`` (n, D) and, if a proposer
            gives any, ``weights`` (n,) and ``annotated`` (n,), all on the CPU. A sample that could
            not be read is left as it is. The first one also has ``num_crops``, how many crops of
            the batch the teacher looked at. If :attr:`ahead`, the embeddings are there when the
            ``torch.cuda.Event`` in the meta key ``arrival``, if there is one, has come.

        Raises:
            ValueError: The pipeline passes on no original image; and what proposers raise.
        """
        self.teacher.to(batch_inputs.device)
        readable = [i for i, s in enumerate(batch_data_samples) if not s.get('unreadable')]
        if not readable:
            return batch_data_samples
        samples = [batch_data_samples[i] for i in readable]
        if len(samples) < len(batch_data_samples):
            batch_inputs = batch_inputs[readable]
        images = [original_image(sample) for sample in samples]
        before = getattr(self.teacher, 'encoded', 0)
        proposed = [
            [regions.cpu() for regions in proposer.propose(self, batch_inputs, samples)]
            for proposer in self.proposers
        ]
        embedded = any('embeddings' in regions for each in proposed for regions in each)
        if embedded:  # by a proposer; those of the others go with them
            for each in proposed:
                self._complete(images, each)
        found = [_joined(parts) for parts in zip(*proposed, strict=True)]
        arrival = None if embedded else self._embed(images, found)
        for sample, regions in zip(samples, found, strict=True):
            if arrival is not None:
                # Not by set_metainfo, which copies: a copy of an event was never recorded.
                sample.set_field(arrival, 'arrival', field_type='metainfo')
            sample.pred_instances = regions
        crops = getattr(self.teacher, 'encoded', 0) - before
        batch_data_samples[0].set_field(crops, 'num_crops')
        return batch_data_samples

    def _complete(self, images: list[np.ndarray], proposed: list[InstanceData]) -> None:
        """Embed the regions of a proposer that has not."""
        new = [i for i, regions in enumerate(proposed) if 'embeddings' not in regions]
        if not new:
            return
        boxes = [proposed[i].bboxes for i in new]
        embedded = self.teacher.encode_regions([images[i] for i in new], boxes)
        for i, embeddings in zip(new, embedded, strict=True):
            proposed[i].embeddings = embeddings

    def _embed(
        self, images: list[np.ndarray], found: list[InstanceData]
    ) -> torch.cuda.Event | None:
        """Give regions their embeddings (n, D), on the CPU; the event with which they are there.

        The teacher has a stream of its own on a GPU: while it works, the RPN looks at the next
        images, and what it finds is waited for.
        """
        boxes = [regions.bboxes for regions in found]
        arrival = None
        if self.teacher.device.type == 'cpu':
            embedded = self.teacher.encode_regions(images, boxes)
        else:
            if self._stream is None:
                self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())  # which moved the teacher there
            with torch.cuda.stream(self._stream):
                rows = self.teacher.embed_regions(images, boxes).to('cpu', non_blocking=True)
                arrival = torch.cuda.Event()
                arrival.record()
            if not self.ahead:
                arrival.synchronize()
            embedded = rows.split(list(map(len, boxes)))
        for regions, embeddings in zip(found, embedded, strict=True):
            regions.embeddings = embeddings
        return arrival

    @property
    def source(self) -> dict:
        """dict: what decides the regions of an image and their embeddings, for a store's header."""
        proposed = self.settings()
        for number, proposer in enumerate(self.proposers, 1):
            found = proposer.source(self)
            twice = found.keys() & proposed.keys()
            proposed |= {f'proposer_{number}': found} if twice else found
        return {**self.teacher.crop_source, 'with_gt': False, **proposed}

    def settings(self) -> dict:
        """What of the model itself decides the regions; see :attr:`source`."""
        return {'at_most': self.test_cfg.rpn.max_per_img}


def check_max_per_img(test_cfg: dict) -> None:
    """Raise a ValueError if ``test_cfg.rpn.max_per_img`` is no number above 0, or missing."""
    most = (test_cfg.get('rpn') or {}).get('max_per_img')
    check_option(most, Count, 'max_per_img of test_cfg.rpn')


def _joined(parts: Sequence[InstanceData]) -> InstanceData:
    """What several proposers found in an image, and what all regions have."""
    empty = dict(weights=lambda n: torch.ones(n), annotated=lambda n: torch.zeros(n).bool())
    for key, make in empty.items():
        if any(key in part for part in parts):
            for part in parts:
                if key not in part:
                    part.set_field(make(len(part)), key)
    regions = InstanceData.cat(list(parts))
    regions.labels = torch.zeros(len(regions), dtype=torch.long)
    return regions
