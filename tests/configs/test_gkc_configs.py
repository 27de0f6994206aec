"""Every config of GKC: its pipeline on a small picture, a training step, a prediction."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from config_files import ROOT, SMALL_IMAGES, read
from config_files import SIZE as IMAGE
from label_pictures import blocks, colors_of, write_numbers, write_picture
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from picture_files import write_pictures

from mmdet_vild.datasets import CocoPanoptic133Dataset
from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

NAMES = sorted(path.name for path in (ROOT / 'configs/gkc').glob('*.py'))
#: Those of pictures with instances, and their extractions.
INSTANCES = [name for name in NAMES if name.endswith('-instance.py')]
EXTRACTIONS = [n for n in NAMES if n.startswith('segment-embeddings') and n not in INSTANCES]
TESTS = [name for name in NAMES if name.removesuffix('.py').rpartition('_')[0].endswith('panoptic')]
TRAININGS = [name for name in NAMES if name not in (*EXTRACTIONS, *TESTS, *INSTANCES)]
#: They run on both families of packages.
KINDS = ('gkc_r50-clip_8xb14-50k_coco-panoptic.py', 'gkc-maskformer', 'gkc-feature')
TEACHER, WIDTH, SIZE = 'RN50@0', 8, 64

register_all_modules()


def write_words(path: str, count: int, synonyms: int = 2) -> None:
    rng = np.random.default_rng(0)
    words = [[f'word {c}', *(f'other {c} {i}' for i in range(1, synonyms))] for c in range(count)]
    rows = rng.normal(size=(count * synonyms, WIDTH)).astype(np.float32)
    first = rows.reshape(count, synonyms, WIDTH)[:, 0]
    names = [each[0] for each in words]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    TextEmbeddings(first, names, np.zeros(count, bool), TEACHER, words, ['{}'], rows).save(path)


def write_store(path: str, boxes: np.ndarray, images=(1,), size: int = SIZE) -> None:
    rows = np.random.default_rng(1).normal(size=(len(boxes), WIDTH)).astype(np.float32)
    source = dict(teacher=TEACHER, embed_dims=WIDTH)
    shard = EmbeddingStore.create(path, source, {})
    record = EmbeddingRecord(boxes, np.ones(len(boxes)), rows)
    shard.write([(image, record, (size, size)) for image in images])
    shard.close()


def picture() -> dict:
    """As LoadSemanticSegmentation leaves it: segments 5 and 9 of the labels 3 and 132."""
    rng = np.random.default_rng(0)
    ids = np.zeros((SIZE, SIZE), np.int32)
    ids[:40, :30], ids[:, 30:] = 5, 9
    labels = np.select([ids == 5, ids == 9], [3, 132], 255).astype(np.int32)
    return dict(
        img_id=1, img_path='1.jpg', img=rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8),
        img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), gt_seg_map=labels, gt_segment_ids=ids,
        ignore_index=255, segments_info=[],
    )  # fmt: skip


BOXES = np.array([[0, 0, 30, 40], [30, 0, SIZE, SIZE]], np.float32)


def small(node, root: Path, count: int, write: bool = True):
    """A config with narrow layers, small images, and its data below ``root``, written here."""
    if isinstance(node, dict):
        kind = node.get('type')
        if kind == 'Pretrained':
            return None
        node = node | SMALL_IMAGES.get(kind, {})
        node = {key: small(value, root, count, write) for key, value in node.items()}
        node |= dict(CLIPResNet=dict(arch=((1, 1, 1, 1), 8)), OpenCLIPTeacher=dict(
            model_name='mini-clip', pretrained=None, autocast=None)).get(kind, {})  # fmt: skip
        if kind == 'ResNet':
            node |= dict(depth=18, base_channels=8)
        if kind == 'SwinTransformer':
            node |= dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
        if kind == 'EmbeddingStore' and write:
            write_store(node['path'], BOXES)
        if 'text_embeddings' in node and write:
            write_words(node['text_embeddings'], count)
        narrow = dict(
            feat_channels=16,
            out_channels=16,
            num_queries=6,
            num_feats=8,
            num_groups=4,
            embed_dims=16,
            feedforward_channels=16,
            num_points=4 if kind is None else 64,
        )
        if kind != 'SwinTransformer':
            node |= {key: value for key, value in narrow.items() if key in node}
        if 'layer_cfg' in node:
            node['num_layers'] = min(node['num_layers'], 2)
        if 'num_heads' in node and kind != 'SwinTransformer':
            node['num_heads'] = 2
        return node
    if isinstance(node, list | tuple):
        return type(node)(small(value, root, count, write) for value in node)
    if isinstance(node, str) and node.startswith('data/'):
        return f'{root}/{node}'
    return node


def load(name: str, root: Path, write: bool = True) -> Config:
    config = read(f'gkc/{name}').to_dict()
    config = Config(small(config, root, config.get('num_classes', 133), write))
    model = config.model
    if model.type == 'GKC':
        swin = model.backbone.type == 'SwinTransformer'
        widths = {'CLIPResNet': [32, 64, 128, 256], 'ResNet': [8, 16, 32, 64]}
        head = model.panoptic_head
        head.in_channels = [12, 24, 48, 96] if swin else widths[model.backbone.type]
        model.teacher = None
    return config


@pytest.fixture
def seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=pytest.mark.onedl if n.startswith(KINDS) else ()) for n in TRAININGS],
)
def test_training(name, tmp_path, seeded):
    """Its own pipeline, from where a picture is loaded; a step that changes every parameter."""
    config = load(name, tmp_path)
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    loads = [t.type for t in config.train_pipeline[:2]]
    assert loads == ['LoadImageFromFile', 'LoadSemanticSegmentation']
    pipeline = Compose([TRANSFORMS.build(each) for each in config.train_pipeline[2:]])
    samples = [pipeline(picture()) for _ in range(2)]
    for sample in samples:
        assert set(sample['data_samples'].gt_instances.labels.tolist()) <= {3, 132}
    predicts(trained(config, samples), 133)


def trained(config: Config, samples: list[dict]):
    """The model after a step, in which every parameter has a part."""
    model = MODELS.build(config.model)
    model.init_weights()
    optimizing = copy.deepcopy(config.optim_wrapper)
    assert optimizing.pop('type') == 'AmpOptimWrapper'  # which needs a GPU
    optim_wrapper = build_optim_wrapper(model, dict(optimizing, type='OptimWrapper'))
    batch = model.data_preprocessor(pseudo_collate(samples), training=True)
    total, parts = model.parse_losses(model(**batch, mode='loss'))
    head = model.panoptic_head
    for loss in ('synonym', 'distill'):
        assert (f'loss_{loss}' in parts) == (getattr(head, f'{loss}_loss') is not None)
    assert ('distill_scale' in parts) == (hasattr(head.distill_loss, 'scale'))
    total.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert torch.isfinite(total) and not missing
    kinds = {
        id(p): group for group in optim_wrapper.optimizer.param_groups for p in group['params']
    }
    backbone = kinds[id(next(iter(model.backbone.parameters())))]
    assert backbone['lr'] == pytest.approx(0.1 * kinds[id(head.cls_embed.weight)]['lr'])
    assert kinds[id(head.fc_cls.background)]['weight_decay'] == 0
    optim_wrapper.step()
    return model


@pytest.mark.parametrize('name', TESTS)
def test_testing(name, tmp_path, seeded):
    config = load(name, tmp_path)
    model = MODELS.build(config.model)
    classifier = model.panoptic_head.fc_cls
    assert classifier.synonyms == 'max'  # of the two names that each category has here
    assert len(classifier.text_embeddings) == 2 * len(classifier.names)
    predicts(model, read(f'gkc/{name}').num_classes)


def predicts(model, count: int) -> None:
    packing = TRANSFORMS.build(
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))
    )
    results = {k: v for k, v in picture().items() if not k.startswith('gt_')}
    with torch.no_grad():
        (found,) = model.eval().test_step(pseudo_collate([packing(results)]))
    labels = found.pred_sem_seg.sem_seg
    assert labels.shape == (1, SIZE, SIZE) and labels.min() >= 0 and labels.max() < count
    assert len(found.pred_sem_seg.label_names) == count
    assert 'pred_instances' not in found


@pytest.mark.parametrize('name', EXTRACTIONS)
def test_extraction(name, tmp_path, seeded):
    config = load(name, tmp_path)
    model = MODELS.build(config.model)
    loading = [each.type for each in config.test_pipeline[:3]]
    assert loading == ['LoadImageFromFile', 'LoadSemanticSegmentation', 'NumberSegments']
    pipeline = Compose([TRANSFORMS.build(each) for each in config.test_pipeline[2:]])
    (found,) = model.test_step(pseudo_collate([pipeline(picture())]))
    found = found.pred_instances
    np.testing.assert_array_equal(found.bboxes, BOXES)
    assert found.embeddings.shape == (2, model.teacher.embed_dims)
    assert model.masked == ('rn50' in name)
    path = config.test_evaluator.path.removeprefix(f'{tmp_path}/')
    final = read(f'gkc/gkc_r50-clip_8xb14-50k_{name.split("_")[-1]}')  # of the same data
    assert path in {each['store']['path'] for each in final.train_pipeline if 'store' in each}
    assert config.test_dataloader.dataset.type == final.train_dataloader.dataset.type
    assert 'EmbeddingStoreHook' in {hook.type for hook in config.custom_hooks}


#: Folder, files, names, what is in each picture and the novel ones, and figures, of each set.
COCO_NAMES, LVIS_NAMES = CocoDataset.METAINFO['classes'], [f'category {i}' for i in range(1203)]
WITH_INSTANCES = {
    'ov-coco': (
        *('coco', 'instances_{}2017', '{}2017/', COCO_NAMES, ('person', 'car', 'airplane'), ()),
        {'coco/novel_ap50', 'coco/bbox_mAP', 'coco/segm_mAP'},
    ),
    'lvis-v1': (
        *('lvis_v1', 'lvis_v1_{}', '{}2017/', LVIS_NAMES),
        *(('category 0', 'category 9', 'category 1202'), range(1000, 1204)),
        {'lvis/bbox_APr', 'lvis/segm_APr'},
    ),
}


@pytest.mark.onedl
@pytest.mark.parametrize('data', WITH_INSTANCES)
def test_instances(data, tmp_path, seeded):
    """Of annotated masks: an extraction, a training step, and a test with boxes and figures."""
    folder, ann_file, prefix, names, shown, rare, expected = WITH_INSTANCES[data]
    ids = [names.index(name) + 1 for name in shown]
    for split in ('train', 'val'):
        files = tmp_path / 'data' / folder, ann_file.format(split), prefix.format(split)
        write_pictures(*files, dict(enumerate(names, 1)), [ids] * 2, rare, IMAGE)
    extraction = load(f'segment-embeddings_rn50_{data}-instance.py', tmp_path, write=False)
    config = load(f'gkc_r50-clip_8xb14-50k_{data}-instance.py', tmp_path, write=False)
    count = config.num_classes
    for part in ('names', 'synonyms'):
        write_words(f'{config.words}{part}_rn50.npz', count)
    dataset = DATASETS.build(extraction.test_dataloader.dataset)
    assert len(dataset) == 2 and len(dataset.metainfo['classes']) == count
    (found,) = MODELS.build(extraction.model).test_step(pseudo_collate([dataset[0]]))
    boxes = found.pred_instances.bboxes.numpy()  # without the novel one
    np.testing.assert_allclose(boxes, [[4, 10, 40, 70], [34, 10, 70, 70]], atol=1)
    assert extraction.test_evaluator.path == config.store.path
    write_store(config.store.path, boxes, images=(1, 2), size=IMAGE)

    dataset = DATASETS.build(config.train_dataloader.dataset)
    samples = [dataset[0], dataset[1]]
    labels = {dataset.metainfo['classes'].index(name) for name in shown[:2]}
    for sample in samples:
        instances = sample['data_samples'].gt_instances
        assert set(instances.labels.tolist()) <= labels and instances.embeddings.shape[1] == WIDTH
    model = trained(config, samples).eval()
    dataset = DATASETS.build(config.test_dataloader.dataset)
    with torch.no_grad():
        results = model.test_step(pseudo_collate([dataset[0], dataset[1]]))
    for result in results:
        instances = result.pred_instances
        assert instances.masks.shape == (len(instances), IMAGE, IMAGE) and len(instances)
        assert instances.labels.max() < count and 'pred_sem_seg' not in result
    evaluator = Evaluator(METRICS.build(config.test_evaluator))
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process(results)
    assert expected <= set(evaluator.evaluate(2))


@pytest.fixture
def world(tmp_path) -> dict:
    """COCO's files of four pictures, and words; the config of the teacher that encoded these."""
    torch.manual_seed(0)
    path = str(tmp_path / 'teacher.pt')
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), path)
    teacher = dict(model_name='mini-clip', pretrained=path)
    identity = OpenCLIPTeacher(**teacher)
    names, coco = CocoPanoptic133Dataset.METAINFO['classes'], tmp_path / 'data/coco'
    for file in ('names_rn50', 'synonyms_rn50', 'synonyms_vit-b-32'):
        rows = np.random.default_rng(0).normal(size=(266, identity.embed_dims)).astype(np.float32)
        synonyms = [[name, f'{name} too'] for name in names]
        parts = (rows[::2], names, np.zeros(133, bool), identity.identity, synonyms)
        TextEmbeddings(*parts, ['{}'], rows).save(str(coco / f'gkc/{file}.npz'))
    categories = [dict(id=i, name=name, isthing=1) for i, name in enumerate(names)]
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for number in range(1, 5):
            name = f'{number:012d}'
            write_picture(coco / split / f'{name}.jpg', (48, 64), number)
            ids = blocks([0, 300 + number, 70000], (48, 64), np.int32)
            write_numbers(coco / f'annotations/panoptic_{split}/{name}.png', colors_of(ids))
            images.append(dict(id=number, file_name=f'{name}.jpg', height=48, width=64))
            segments = [dict(id=i, category_id=c, iscrowd=0, bbox=[0, 0, 9, 9], area=81)
                        for i, c in ((300 + number, number), (70000, 120))]  # fmt: skip
            annotations.append(
                dict(image_id=number, file_name=f'{name}.png', segments_info=segments)
            )
        content = dict(images=images, annotations=annotations, categories=categories)
        (coco / f'annotations/panoptic_{split}.json').write_text(json.dumps(content))
    return teacher


@pytest.mark.onedl
def test_from_files_to_figures(world, tmp_path, seeded):
    """Both extractions, a training and its test, by MMEngine's runner, from COCO's own files."""

    def runner(name: str) -> Runner:
        config = load(name, tmp_path, write=False)
        if config.model.type == 'GKC':
            config.model.panoptic_head.num_queries = 6
        else:
            config.model.teacher.update(world)
        config.optim_wrapper.type = 'OptimWrapper'
        config.train_cfg.update(max_iters=2, val_interval=2)
        for part in ('train', 'val', 'test'):
            config[f'{part}_dataloader'].update(
                batch_size=2, num_workers=0, persistent_workers=False
            )
        config.update(work_dir=str(tmp_path / 'work' / name), experiment_name=name)
        object.__setattr__(config, '_format_python_code', False)  # which takes a second each time
        return Runner.from_cfg(config)

    for name in EXTRACTIONS:
        figures = runner(name).test()
        assert figures['embedding_store/images'] == 4 and not figures['embedding_store/missing']
    training = runner('gkc_r50-clip_8xb14-50k_coco-panoptic.py')
    training.train()
    logged = training.message_hub.log_scalars
    assert logged['train/distill_scale'].current() == pytest.approx(1, abs=0.01)
    assert {'train/loss_synonym', 'train/loss_text_distill'} < set(logged)
    figures = training.test()
    assert 0 <= figures['sem_seg/mIoU'] <= 100


ABLATIONS = ('plain', 'synonyms', 'synonyms-max', 'synonyms-mean', 'feature', 'text-guided')


@pytest.mark.parametrize('kind', ABLATIONS)
@pytest.mark.parametrize('backbone', ['r50', 'swin-t'])
def test_ablations_on_other_backbones(kind, backbone):
    """Theirs are the losses and the steps of the same on CLIP's, and the rest of the final one."""
    name = f'gkc-{kind}_{{}}_coco-panoptic.py'
    ours = copy.deepcopy(read('gkc/' + name.format(f'{backbone}_8xb2-lsj-50e')))
    clips = read('gkc/' + name.format('r50-clip_8xb14-50k'))
    final = copy.deepcopy(read(f'gkc/gkc_{backbone}_8xb2-lsj-50e_coco-panoptic.py'))
    for loss in ('synonym_loss', 'distill_loss'):
        expected = clips.model.panoptic_head.get(loss)
        assert ours.model.panoptic_head.pop(loss) == expected
        final.model.panoptic_head.pop(loss)
    steps, expected = ours.train_dataloader.dataset.pipeline, clips.train_pipeline
    assert [each.type for each in steps] == [each.type for each in expected]
    attached = ('DrawSynonyms', 'SegmentEmbeddings')
    for one, other in zip(steps, expected, strict=True):
        if one.type in attached:
            assert one == other
    rest = [each for each in final.train_pipeline if each.type not in attached]
    assert [each for each in steps if each.type not in attached] == rest
    for part in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'test_dataloader'):
        assert ours[part] == final[part]


def test_training_without_some_categories():
    """Its training, its validation and its test are of the set that says which are novel."""
    config = read('gkc/gkc_r50-clip_8xb14-50k_ov-coco-panoptic.py')
    for part in ('train', 'val', 'test'):
        assert config[f'{part}_dataloader'].dataset.type == 'OVCocoPanopticDataset'


def test_names_of_configs():
    """All of them are one of these, and none is forgotten."""
    kinds = (TRAININGS, TESTS, EXTRACTIONS, INSTANCES)
    assert len(NAMES) == sum(map(len, kinds)) and len(TESTS) == 10
    assert len(INSTANCES) == 2 * len(WITH_INSTANCES)
