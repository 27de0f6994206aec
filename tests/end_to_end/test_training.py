"""MMDetection's train tool: several processes, what it refuses, and its options."""

import json
import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from stock_world import STOCK_TOOLS, StockWorld

from mmdet_vild import config_path
from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore, dataset_fingerprint
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow

STORE_PATH = 'train_dataloader.dataset.pipeline.3.store.path'


@pytest.mark.onedl
def test_a_rank_that_has_nothing_to_learn_from(world: StockWorld) -> None:
    """Every other image, and so all of the second rank, has no annotation and no region."""
    content = world.annotations('train')
    world_store = EmbeddingStore(world.store)
    empty = {image['id'] for image in content['images'][1::2]}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] not in empty]
    source = dict(world_store.header)
    del source['dataset']
    ann_file = world.add_split('half', content)
    dataset = dataset_fingerprint(world.data / ann_file)
    shard = EmbeddingStore.create(world.root / 'half', source, dataset)
    for image in content['images']:
        record = world_store.read(dict(img_id=image['id'], ori_shape=(128, 128)))
        if image['id'] in empty:
            record = EmbeddingRecord(record.boxes[:0], record.scores[:0], record.embeddings[:0])
        shard.write([(image['id'], record, (128, 128))])
    shard.close()
    world.train(
        *('vild', 'distributed', f'train_dataloader.dataset.ann_file={ann_file}'),
        'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
        f'{STORE_PATH}={shard.path.parent}',
        'train_dataloader.sampler.shuffle=False',
        processes=2,
    )
    *iterations, metrics = world.logged('distributed')
    assert len(iterations) == 2
    assert all(math.isfinite(i['loss']) and math.isfinite(i['grad_norm']) for i in iterations)
    assert 'lvis/bbox_AP' in metrics

    # An InfiniteSampler that does not shuffle gives every other sample to the second rank.
    config = Config.fromfile(world.work / 'distributed' / world.config('vild').name)
    init_default_scope('mmdet')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    for i in range(16):
        sample = dataset[i]['data_samples']
        assert (len(sample.gt_instances) > 0) == (i % 2 == 0)
        assert (len(sample.distill_instances) > 0) == (i % 2 == 0)


def test_what_does_not_fit_stops_before_the_first_iteration(world: StockWorld) -> None:
    """With a message at the end; tests/hooks has every combination."""
    text = TextEmbeddings.load(str(world.text))
    four = TextEmbeddings(text.embeddings[:4], text.names[:4], text.novel[:4], text.teacher)
    for option, message in {
        world.add_text('four', four): 'holds 4 categories, but the bbox head has num_classes=5',
        f'{STORE_PATH}=nowhere': 'FileNotFoundError: there is no embedding store at nowhere',
        f'val_evaluator.ann_file={world.data / "annotations/lvis_v1_train.json"}': (
            'but none in it is image '
        ),
    }.items():
        done = world.train('vild', 'refused', option, status=1)
        assert message in done.stderr.strip().splitlines()[-1]
        assert 'Iter(train)' not in done.stdout
    assert not list((world.work / 'refused').glob('*.pth'))


def test_small_data_without_a_store(world: StockWorld) -> None:
    """The teacher runs in the data loader, on regions that some detector's test run left."""
    rows = [
        dict(image_id=image['id'], bbox=[8, 16 * i, 60, 40], score=0.5, category_id=1)
        for image in world.annotations('train')['images']
        for i in range(4)
    ]
    file = world.root / 'regions.json'
    file.write_text(json.dumps(rows))
    teacher = dict(
        type='OpenCLIPTeacher', model_name='mini-clip-lite0', pretrained=str(world.teacher)
    )
    store = dict(type='OnTheFlyEmbeddings', teacher=teacher, proposal_file=str(file))
    config = world.root / 'on_the_fly.py'
    config.write_text(
        f'_base_ = {str(world.config("vild"))!r}\n'
        'train_pipeline = _base_.train_pipeline\n'
        f"train_pipeline[3]['store'] = {store}\n"
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    world.train(str(config), 'on-the-fly')
    *iterations, _ = world.logged('on-the-fly')
    # An untrained detector is as far from the teacher as two random directions.
    assert all(math.isfinite(i['loss']) and i['loss_distill'] > 0.1 for i in iterations)


@pytest.mark.parametrize(
    'amp', [pytest.param([], id='float32'), pytest.param(['--amp'], marks=pytest.mark.gpu)]
)
def test_the_tuning_of_a_teacher_goes_on(vild_text: tuple[StockWorld, Path], amp: list) -> None:
    """What was resumed ends as what was never interrupted; only a GPU has ``--amp``."""
    world, _ = vild_text
    options = {
        'model.teacher.model_name': 'mini-clip-lite0',
        'model.teacher.pretrained': world.teacher,
        'model.text_embeddings': world.text,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.pipeline.2.prob': 0.0,  # flips are not drawn again
        'train_cfg.max_epochs': 2,
        'randomness.seed': 0,
        'default_hooks.logger.interval': 1,
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        options[f'{loader}.dataset.data_root'] = f'{world.data}/'
        options |= {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False}
    config = config_path('ezsd/tune-teacher_vit-b-32_18e_lvis-v1.py')
    folder = world.work / ('tuned-amp' if amp else 'tuned')
    found = []
    for resume in ([], ['--resume', folder / 'epoch_1.pth']):
        work = folder / 'resumed' if resume else folder
        done = world.run(
            *('python', STOCK_TOOLS / 'train.py', config, '--work-dir', work, *amp, *resume),
            *('--cfg-options', *(f'{key}={value}' for key, value in options.items())),
            env={'CUDA_VISIBLE_DEVICES': '0'} if amp else None,
        )
        assert ('resumed epoch: 1' in done.stdout) == bool(resume)
        assert 'crops/novel_accuracy: ' in done.stdout and 'loss_crops: ' in done.stdout
        saved = torch.load(work / 'epoch_2.pth', weights_only=False)  # written just now
        found.append(saved['state_dict'])
    raw, (whole, resumed) = torch.load(world.teacher), found
    key = 'visual.trunk.bn1.weight'
    assert not torch.equal(whole[f'clip.{key}'], raw[key])
    for name, value in whole.items():
        assert torch.isfinite(value).all()
        assert amp or torch.equal(resumed[name], value), name


@pytest.mark.gpu
@pytest.mark.parametrize('option', [['--amp'], ['--cfg-options', 'compile=True']], ids=str)
def test_on_a_gpu(world: StockWorld, option: list[str]) -> None:
    """Mixed precision and compilation, which take minutes on a CPU or do not run there."""
    gpu = {'CUDA_VISIBLE_DEVICES': '0'}
    world.train('vild', 'gpu', 'train_cfg.max_iters=1', arguments=option, env=gpu)
    (iteration, _) = world.logged('gpu')
    assert math.isfinite(iteration['loss']) and 'loss_distill' in iteration
