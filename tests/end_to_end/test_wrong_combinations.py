"""What does not belong together stops before the first iteration, and says why."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from stock_world import OPTIONS, STOCK_TOOLS, StockWorld

from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow

#: Runs the train tool with each of several command lines, in children of one process that has
#: imported what takes seconds to import.
FORKS = """
import json, os, runpy, sys
import mmdet_vild

for argv, output in json.load(sys.stdin):
    child = os.fork()
    if not child:
        for fd, name in ((1, 'stdout'), (2, 'stderr')):
            os.dup2(os.open(f'{output}.{name}', os.O_WRONLY | os.O_CREAT), fd)
        sys.argv = argv
        runpy.run_path(argv[0], run_name='__main__')
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    open(f'{output}.status', 'w').write(str(status))
"""

#: case: what the last line on stderr must say
MESSAGES = {
    'another order': 'ValueError: the dataset has 5 classes and the text embeddings 5 words, and '
    "label 0 is 'red circle' in the one and 'blue circle' in the other; encode the vocabulary",
    'another number of categories': 'four.npz holds 4 categories, but the bbox head has '
    'num_classes=5; set num_classes to 4 or name',
    'another teacher': 'ValueError: the region embeddings come from the teacher mini-clip-lite0@',
    'no store': 'FileNotFoundError: there is no embedding store at nowhere (no '
    'shard-*.sqlite); make one by testing a region-embedding extractor',
    'an empty store': 'has no record of 21 of the 21 images of OpenVocabularyLVISDataset',
    'no images': 'the first of OpenVocabularyLVISDataset (',
    'annotations of other images': 'and none in the annotation file of LVISMetric; the ann_file of '
    'val_evaluator and test_evaluator must be',
    'no regions in the pipeline': "has no CLIPCropEmbedding (found ['LoadImageFromFile', "
    "'LoadAnnotations', 'RandomFlip', 'PackDetInputs']); add CLIPCropEmbedding, and PackViLDInputs",
}


@pytest.fixture(scope='module')
def refused(world: StockWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``CASE.stdout``, ``CASE.stderr`` and ``CASE.status`` of every case."""
    folder = tmp_path_factory.mktemp('refused')
    text = TextEmbeddings.load(str(world.text))
    last_first = dataclasses.replace(
        text, embeddings=text.embeddings[::-1], names=text.names[::-1], novel=text.novel[::-1]
    )
    four = TextEmbeddings(text.embeddings[:4], text.names[:4], text.novel[:4], text.teacher)
    other = dataclasses.replace(text, teacher='ViT-B-32@0123456789abcdef')
    source = EmbeddingStore(world.store).header
    dataset = source.pop('dataset')
    EmbeddingStore.create(folder / 'empty', source, dataset).close()
    without_regions = folder / 'without_regions.py'
    without_regions.write_text(
        f'_base_ = {str(world.config("vild-text"))!r}\n'
        'model = dict(roi_head=dict(distill_loss=dict('
        "_delete_=True, type='ViLDImageDistillLoss')))\n"
    )
    store_path = 'train_dataloader.dataset.pipeline.3.store.path'
    cases = {
        'another order': ('vild', world.add_text('last-first', last_first)),
        'another number of categories': ('vild', world.add_text('four', four)),
        'another teacher': ('vild', world.add_text('other-teacher', other)),
        'no store': ('vild', f'{store_path}=nowhere'),
        'an empty store': ('vild', f'{store_path}={folder / "empty"}'),
        'no images': ('vild', 'train_dataloader.dataset.data_prefix.img=elsewhere/'),
        'annotations of other images': (
            'mask-rcnn',
            f'val_evaluator.ann_file={world.data / "annotations/lvis_v1_train.json"}',
        ),
        'no regions in the pipeline': (str(without_regions),),
    }
    assert set(cases) == set(MESSAGES)
    commands = [
        (
            [
                *(str(STOCK_TOOLS / 'train.py'), str(world.config(config))),
                *('--work-dir', str(folder / case), '--cfg-options', *OPTIONS, *options),
            ],
            str(folder / case),
        )
        for case, (config, *options) in cases.items()
    ]
    world.run(sys.executable, '-c', FORKS, stdin=json.dumps(commands))
    return folder


@pytest.mark.parametrize('case', MESSAGES)
def test_refused(refused: Path, case: str) -> None:
    stderr = (refused / f'{case}.stderr').read_text()
    assert MESSAGES[case] in stderr.strip().splitlines()[-1], stderr
    assert (refused / f'{case}.status').read_text() == '1'
    assert 'Iter(train)' not in (refused / f'{case}.stdout').read_text()
    assert not list((refused / case).glob('*.pth'))
