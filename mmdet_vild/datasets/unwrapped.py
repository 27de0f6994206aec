"""Datasets inside their wrappers."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Dataset

from .geometry import flatten_transforms


def unwrapped(dataset: Dataset, after: Sequence = ()) -> Iterator[tuple[Dataset, list]]:
    """The datasets inside wrappers, each with all transforms that its samples go through."""
    pipeline = getattr(dataset, 'pipeline', ())
    transforms = [*flatten_transforms(getattr(pipeline, 'transforms', pipeline)), *after]
    if hasattr(dataset, 'datasets'):
        parts = dataset.datasets
    elif hasattr(dataset, 'dataset'):
        parts = [dataset.dataset]
    else:
        yield dataset, transforms
        return
    for part in parts:
        yield from unwrapped(part, transforms)
