"""Goes on with an extraction where an earlier run stopped."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import broadcast_object_list, get_dist_info, is_main_process
from mmengine.logging import MMLogger
from torch.utils.data import Dataset, Sampler

from mmdet_vild.embedding_store import EmbeddingStore


@DATA_SAMPLERS.register_module()
class UnfinishedSampler(Sampler):
    """The images of a dataset in order, but for those that an embedding store has already.

    Each process of a distributed run takes every ``world_size``-th of them; no image is given
    twice to make the shares even. :class:`EmbeddingStoreHook` tells which store.

    Args:
        dataset: The dataset.
        seed: Not used; mmengine gives it to every sampler.
    """

    def __init__(self, dataset: Dataset, seed: int | None = None) -> None:
        self.dataset = dataset
        self._share(range(len(dataset)))

    def leave_out(self, store: str) -> None:
        """Leave out the images that have a record in a store, if there is one already."""
        left = [None]
        if is_main_process():  # which alone looks, for others may write already
            left = [self._unfinished(store)]
        broadcast_object_list(left)
        self._share(left[0])
        if done := len(self.dataset) - len(left[0]):
            MMLogger.get_current_instance().info(
                '%d of %d images are in %s already; %d are left',
                *(done, len(self.dataset), store, len(left[0])),
            )

    def _share(self, indices: Sequence[int]) -> None:
        rank, world_size = get_dist_info()
        self.indices = indices[rank::world_size]

    def _unfinished(self, store: str) -> list[int]:
        done = set()
        with suppress(FileNotFoundError):
            done.update(EmbeddingStore(store).img_ids())
        images = map(self.dataset.get_data_info, range(len(self.dataset)))
        return [i for i, image in enumerate(images) if image['img_id'] not in done]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
