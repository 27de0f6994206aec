"""Images of rare categories more often: repeat factor sampling (LVIS, Appendix B)."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset, Sampler

from mmdet_vild.options import Range, checked_options

#: Of the images, above which a category is not rare.
Share = Annotated[float, Range('above 0 and at most 1', above=0, most=1)]


@DATA_SAMPLERS.register_module()
@checked_options
class RepeatFactorSampler(Sampler[int]):
    """The images of mmdet's ``ClassBalancedDataset``, while the dataset stays as it is.

    An image is seen ceil(max(1, sqrt(t / f))) times an epoch, where f is the share of the images
    that have its rarest category. Only annotations that are loaded count, so not those of novel
    categories where these are dropped.

    Args:
        dataset: mmdet's, or a wrapper of them.
        oversample_thr: t.
        **kwargs: As those of MMEngine's ``DefaultSampler``: ``shuffle``, ``seed``, ``round_up``.
    """

    def __init__(self, dataset: Dataset, oversample_thr: Share = 1e-3, **kwargs) -> None:
        self.dataset = dataset
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        labels = [{instance['bbox_label'] for instance in info['instances']} for info in infos]
        images = Counter(label for found in labels for label in found)
        self.repeat_indices = []
        for index, found in enumerate(labels):
            rarest = min((images[label] for label in found), default=len(dataset))
            times = max(1, math.ceil(math.sqrt(oversample_thr * len(dataset) / rarest)))
            self.repeat_indices += times * [index]
        self._order = DefaultSampler(self.repeat_indices, **kwargs)

    def __iter__(self) -> Iterator[int]:
        """Indices of the dataset, those of this process."""
        return (self.repeat_indices[position] for position in self._order)

    def __len__(self) -> int:
        """The number of indices of this process."""
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Another order in each epoch, which all processes share."""
        self._order.set_epoch(epoch)
