"""Datasets and transforms, out of what wraps them."""

from collections.abc import Iterable, Iterator, Sequence

from torch.utils.data import Dataset


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


def flatten_transforms(transforms: Iterable) -> Iterator:
    """Every transform of a pipeline, and those inside RandomChoice, MultiBranch and the like."""
    for transform in transforms:
        if isinstance(transform, (list, tuple)):
            yield from flatten_transforms(transform)
        else:
            yield transform
            inner = getattr(transform, 'transforms', ())
            yield from flatten_transforms(inner if isinstance(inner, (list, tuple)) else [inner])
            yield from flatten_transforms(getattr(transform, 'branch_pipelines', {}).values())
