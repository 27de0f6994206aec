"""What belongs together and what does not."""

import numpy as np
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import HOOKS

from mmdet_vild.datasets import CLIPCropEmbedding, NpzEmbeddingStore
from mmdet_vild.models import CLIPTextClassifier
from mmdet_vild.vocabulary import TextEmbeddings

NAMES = ('cat', 'dog', 'owl')
RESIZE = dict(type='BatchSyncRandomResize', random_size_range=(64, 128))


class Part:
    """Anything with the attributes of the thing it stands for."""

    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)


class Detector(torch.nn.Module):
    def __init__(self, classifier, augment) -> None:
        super().__init__()
        self.classifier = classifier
        augments = [augment] if augment else None
        self.data_preprocessor = DetDataPreprocessor(batch_augments=augments)


@pytest.fixture
def run(tmp_path):
    """Runs the hook's checks on a model and a dataset described by the arguments."""
    path = str(tmp_path / 'text.npz')
    TextEmbeddings(np.eye(3, 4), NAMES, np.array([False, False, True]), 'clip@1').save(path)
    classifier = CLIPTextClassifier(8, 4, path)

    def check(
        classes=NAMES, novel=('owl',), store=None, wrap=lambda d: d, model=None, augment=None
    ) -> None:
        transforms = []
        if store:
            NpzEmbeddingStore.create(str(tmp_path / 'store'), *store)
            store_cfg = dict(type='NpzEmbeddingStore', path=str(tmp_path / 'store'))
            transforms = [CLIPCropEmbedding(store_cfg)]
        dataset = wrap(
            Part(
                metainfo=dict(classes=classes, novel=novel),
                pipeline=Part(transforms=transforms),
            )
        )
        loop = Part(dataloader=Part(dataset=dataset))
        runner = Part(
            model=model or Detector(classifier, augment),
            train_loop=loop,
            val_loop=loop,
            test_loop=loop,
        )
        hook = HOOKS.build(dict(type='VocabularyCheckHook'))
        hook.before_train(runner)
        hook.before_val(runner)
        hook.before_test(runner)

    return check


def test_passes_what_fits(run):
    run()
    run(novel=None)
    run(store=('clip@1', 4))
    run(store=('clip@1', 4), augment=dict(type='BatchFixedSizePad', size=(64, 64)))
    run(augment=RESIZE)
    run(classes=('other',), model=torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(classes=('dog', 'cat', 'owl')), "label 0 is 'dog' in the one and 'cat' in the other"),
        (dict(classes=('cat', 'dog')), 'has 2 classes and the text embeddings 3 words; encode'),
        (dict(novel=('dog',)), r"only in the dataset: \['dog'\].*only in the text.*\['owl'\]"),
        (dict(store=('clip@2', 4)), 'from the teacher clip@2 .* from clip@1'),
        (dict(store=('clip@1', 8)), 'are 8 wide, .* and 4 wide'),
        (dict(store=('clip@1', 4), augment=RESIZE), r"the batch \(\['BatchSyncRandomResize'\]\)"),
    ],
)
@pytest.mark.parametrize(
    'wrap',
    [lambda d: d, lambda d: Part(dataset=d), lambda d: Part(datasets=[Part(dataset=d)])],
    ids=['plain', 'repeated', 'concatenated'],
)
def test_stops_what_does_not(run, arguments, message, wrap):
    with pytest.raises(ValueError, match=message):
        run(**arguments, wrap=wrap)
