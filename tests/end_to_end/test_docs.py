"""All code in the README and the docs, run as it is printed but for what PAGES says.

LVIS, CLIP's weights, 8 GPUs and Slurm are not at hand: small_world.py makes configs small and gives
random weights the names of CLIP's, docs_code.py has what stands in for programs, and the fixture
``clone`` the data. A new page needs a line in PAGES; a block needs nothing, if it runs.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import authors_network
import cv2
import numpy as np
import pytest
import torch
from docs_code import LANGUAGES, ROOT, Clone, Run, blocks
from mmdet.evaluation import get_classes
from mmengine.config import Config
from stock_world import CATEGORIES, StockWorld

import mmdet_vild
from mmdet_vild.datasets import OpenVocabularyCocoDataset
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = pytest.mark.slow

README = (ROOT / 'README.md').read_text()
SIZE = 64
#: As many categories as the README says, with gaps between their ids.
NAMES = ['red heart', 'zebra', *(f'thing {i}' for i in range(10)), 'striped mug']
IDS = range(5, 5 + 3 * len(NAMES), 3)


@dataclass
class Page:
    """How the code of a page is run.

    Attributes:
        adapted: What is replaced: regular expressions, and their replacements.
        inserted: Python to run where a text begins.
        check: Looks at what was run.
        after_readme: Whether it needs what the README's commands write.
        onedl: Whether to run it on both families of packages.
    """

    adapted: list[tuple[str, str]] = field(default_factory=list)
    inserted: dict[str, str] = field(default_factory=dict)
    check: Callable[[Run, Clone], None] = lambda run, clone: None
    after_readme: bool = True
    onedl: bool = False


#: One epoch in place of 12 or 20, and two processes in place of 8.
EPOCH = (r'/epoch_\d+\.pth', '/epoch_1.pth')
GPUS = (r'(dist_\w+\.sh\s+\S+\s(?:\\\n)?(?:\s*\S+\.pth )?) *8\b', r'\g<1>2')


#: As TensorFlow would have saved it, but in NumPy's format.
AUTHORS = (
    (r'resnet50_vild_ensemble\.tar\.gz', 'resnet50_vild_ensemble.npz'),
    (r'LVISV1Dataset', 'data/lvis_v1/annotations/lvis_v1_val.json'),
)


#: Another vocabulary, of which some words are those of the old one; two are gone.
OTHER = f"""
import json
with open('data/mine/annotations/val.json') as file:
    content = json.load(file)
gone = ('red heart', 'striped mug')
content['categories'] = [c for c in content['categories'] if c['name'] not in gone]
content['annotations'] = [a for a in content['annotations'] if a['category_id'] != {IDS[0]}]
new = ['gnu', *(f'new {{i}}' for i in range(8))]
content['categories'] += [dict(id=99 + i, name=name) for i, name in enumerate(new)]
with open('data/mine/annotations/other.json', 'w') as file:
    json.dump(content, file)
"""


#: The README's data as of somebody who has boxes alone, and has not followed it yet.
WITHOUT_MASKS = """
import json, shutil
for split in ('train', 'val'):
    with open(f'data/mine/annotations/{split}.json') as file:
        content = json.load(file)
    for annotation in content['annotations']:
        del annotation['segmentation']
    with open(f'data/mine/annotations/{split}.json', 'w') as file:
        json.dump(content, file)
shutil.rmtree('data/mine/vild/regions_vit-b-32')
"""


def check_readme(run: Run, clone: Clone) -> None:
    demo, test, *_ = (output for _, output in run.printed)
    assert 'tools/mini_lvis/demo.py --seed 0' in demo and '-m pytest' in test
    lvis = run.of('vild-text_r50_fpn')
    assert '5 categories (2 novel)' in lvis and 'embedding_store/images: 21' in lvis
    assert lvis.count('lvis/bbox_APr: ') == 1
    mine = run.of('configs/mine/vild-text.py')
    assert '13 categories (3 novel)' in mine
    assert re.search(r' 5  dropped: of 3 novel categories\n', mine)
    assert 'LR is set based on batch' in mine
    text, distilled = mine.split('embedding_store/images: 4')
    assert 'loss_cls' in text and 'loss_distill' not in text and 'loss_distill' in distilled
    for name in ('bbox_mAP', 'base_ap50', 'novel_ap50'):
        assert f'coco/{name}: ' in distilled
    (photo,) = run.calls('toy elephant')
    assert set(photo['labels']) == {'toy elephant', 'striped mug'}
    assert (clone.folder / 'work_dirs/photo/vis/picture.jpg').is_file()


def check_install(run: Run, clone: Clone) -> None:
    assert run.of('mmdet_vild.__version__').strip() == mmdet_vild.__version__
    assert 'mini_lvis/vild_r18-mini_fpn_mini-lvis.py' in run.of('config_path')
    assert 'mmcv/_ext' in run.of('mmcv._ext') or 'mmcv_ext.py' in run.of('mmcv._ext')
    stock = run.of('$TOOLS/test.py')
    assert stock.count('Checkpoints will be saved') == 2 and stock.count('lvis/bbox_APr: ') == 2


def check_configs(run: Run, clone: Clone) -> None:
    assert '65 categories (17 novel)' in run.of('OVCocoDataset')


def check_teacher(run: Run, clone: Clone) -> None:
    assert '5 categories (2 novel)' in run.of('encode_vocabulary')
    assert '21 of 21 images are in' in run.of(f'{VILD_TEXT} 2')
    assert 'embedding_store/images: 21' in run.of('LoadImageOrSkip')
    tools = run.of('embedding_store.py')
    assert '21 images' in tools
    assert len(EmbeddingStore(clone.folder / 'NEW').shards) == 1
    assert len(list((clone.folder / 'FOLDER').glob('*.npz'))) == 21


def check_authors_weights(run: Run, clone: Clone) -> None:
    assert 'lvis/segm_APr: ' in run.of('vild_tf_to_mmdet.py')
    assert '5 categories (2 novel)' in run.of('authors_words.py')
    trained = run.of('load_from=')
    assert 'Load checkpoint from checkpoints/vild-ensemble_r50_fpn_tf.pth' in trained
    assert 'loss_distill' in trained


def check_your_own_data(run: Run, clone: Clone) -> None:
    assert '3 categories (2 novel)' in run.of('words.txt')
    (detected,) = run.calls("'words.npz'")
    assert set(detected['labels']) <= {'zebra', 'thing 3', 'blue whale'}
    example = OpenVocabularyCocoDataset(
        ann_file=str(clone.folder / 'data/mine/annotations/example.json'),
        metainfo=dict(novel_classes=('red heart',)),
        data_prefix=dict(img=''),
    )
    assert len(example) == 1 and example.metainfo['classes'] == ('zebra', 'red heart')
    pictures = list((clone.folder / 'work_dirs/browse_mine').glob('*.jpg'))
    assert {cv2.imread(str(picture)).shape[2] for picture in pictures} == {3}
    assert run.of('train_dataloader.dataset.data_prefix.img=val/').count('task/s') > 0
    small = Config.fromfile(clone.folder / 'configs/mine/vild_small.py')
    for loader in (small.train_dataloader, small.val_dataloader, small.test_dataloader):
        (resize,) = [t for t in loader.dataset.pipeline if t.type == 'Resize']
        assert resize.scale == (640, 480)
    assert 'OpenVocabularyCocoDataset' in run.of('print_config.py')
    tuned = run.of('finetune.py checkpoints/vild-ensemble_r50_fpn_tf.pth')
    assert tuned.count('Load checkpoint from checkpoints/vild-ensemble_r50_fpn_tf.pth') >= 2
    assert 'embedding_store/images: 4' in tuned and 'loss_distill' in tuned
    assert tuned.count('coco/novel_ap50: ') == 3
    assert 'coco/novel_ap50: ' in run.of('finetune_boxes.py')
    other = run.of('novel_classes="[zebra,gnu]"')
    assert '20 categories (2 novel)' in other
    assert 'coco/novel_ap50: ' in other and 'mismatch' not in other
    text, distilled = run.of('$TOOLS/train.py configs/mine/vild_boxes.py').split(
        'embedding_store/images: 4'
    )
    assert 'loss_cls' in text and 'loss_distill' in distilled
    assert 'loss_mask' not in text + distilled
    assert 'coco/novel_ap50: ' in distilled


def check_backbone(run: Run, clone: Clone) -> None:
    assert '[96, 192, 432, 1008]' in run.of('zeros(')
    assert run.of('regnetx-3.2gf/epoch').count('lvis/bbox_APr: ') == 1
    deeper = run.of('vild_r101')
    assert 'depth=101' in deeper and 'loss_distill' in deeper


def check_swap_teacher(run: Run, clone: Clone) -> None:
    data = clone.folder / 'data/lvis_v1/vild'
    for name, model in (('vit-l-14', 'ViT-L-14-quickgelu'), ('my-clip', 'my-clip')):
        store = EmbeddingStore(data / f'regions_{name}')
        assert len(store) == 21 and store.teacher.startswith(f'{model}@')
    identity = run.of('teacher.temperature')
    assert identity.startswith('my-clip@') and ' 64 (48, 48) 0.07' in identity
    assert 'loss_distill' in run.of('vild_r50_fpn_vit-l-14_20e')
    assert 'lvis/bbox_APr: ' in run.of('vild_my-clip/epoch')


def check_many_gpus(run: Run, clone: Clone) -> None:
    first, scaled, resumed, machines, _, slurm, again, regions = (
        output for block, output in run.printed if block.language == 'bash'
    )
    assert 'lvis/bbox_APr: ' in first
    assert 'batch size of 16 and the current batch size is 4. Scaling' in scaled
    assert 'resumed epoch: 1' in resumed
    assert 'the current batch size is 4' in machines  # 2 images a machine
    assert '--ntasks=2 --ntasks-per-node=1 --cpus-per-task=8' in slurm
    assert '--time=3-00:00:00 --mem=200G' in slurm and 'the current batch size is 4' in slurm
    assert 'lvis/bbox_APr: ' in slurm
    assert '21 of 21 images are in' in again
    assert 'shard-00000.sqlite: 11 images' in regions and 'shard-00001.sqlite: 10' in regions


def check_pictures(run: Run, clone: Clone) -> None:
    work = clone.folder / 'work_dirs'
    files = sorted((work / 'pictures').glob('*/show/*.jpg'))
    # 128 pixels, enlarged to 500 or more, annotations beside detections.
    assert [cv2.imread(str(file)).shape for file in files] == [(512, 1024, 3)] * 7
    # Beside the annotations, which fill the left, and with words at the right.
    files = sorted((work / 'browse').glob('*.jpg'))
    assert len(files) == 8
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape[0] == 512 and picture.shape[1] > 1024 + 100
        column = picture[:, 1024:]
        assert (column > 200).mean() > 0.8 and (column < 80).any()
        assert not np.array_equal(picture[:, :512], picture[:, 512:1024])
    assert cv2.imread(str(work / 'curves.png')) is not None
    panels = set(
        re.search(r'wrote work_dirs/curves.png: (.*)', run.of('plot_logs.py'))[1].split(', ')
    )
    assert {'loss', 'loss_distill', 'lvis/bbox_AP', 'lvis/bbox_APr'} <= panels
    page = (work / 'confusion.html').read_text()
    assert 'red heart' in page and 'blue circle' in page


def check_mini_lvis(run: Run, clone: Clone) -> None:
    tables = run.of('SETTINGS=')
    assert 'loss_distill' in tables and 'lvis/bbox_APr: ' in tables


def check_benchmarks(run: Run, clone: Clone) -> None:
    printed = run.of('train_step.py')
    assert '8 sampled and 4 distillation RoIs' in printed
    lines = [line for line in printed.splitlines() if line.startswith(('| Mask', '| ViLD'))]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert [row[0] for row in rows] == ['Mask R-CNN', 'ViLD', 'ViLD-ensemble']
    for row in rows:
        low, high = re.fullmatch(r'([\d.]+)-([\d.]+)', row.pop(3)).groups()
        assert all(float(cell) > 0 for cell in [low, high, *row[1:]])
    assert [rows[0][i] for i in (2, 4, 5)] == ['1.00'] * 3
    # Those that are no blocks are run by tests/tools/test_benchmarks.py; their options are there.
    text = (ROOT / 'docs/benchmarks.md').read_text()
    commands = re.findall(r'`[^`]*python (tools/benchmarks/\w+\.py)([^`]*)`', text)
    assert len(commands) >= 7
    for tool, options in commands:
        source = (ROOT / tool).read_text()
        assert all(f"'{option}'" in source for option in re.findall(r'--[\w-]+', options)), tool


#: Before any words are asked for, no teacher is needed.
WITHOUT_TEXTS = """
import sys
open_clip, sys.modules['open_clip'] = sys.modules['open_clip'], None
detect(picture)
sys.modules['open_clip'] = open_clip
"""
#: As mmdet 3.3's demo/image_demo.py calls it with ``--texts '$: voc'``, for two pictures. What
#: follows in the docs needs no teacher.
DEMO = """
from mmdet.evaluation import get_classes
detect.model.roi_head.test_cfg.pop('explain')
detect.model.test_cfg.chunked_size = -1
detect([picture, picture], texts=[tuple(get_classes('voc')), 'red heart . whale .'], batch_size=2,
       custom_entities=True, tokens_positive=None, show=False, no_save_vis=False,
       no_save_pred=False, print_result=False, pred_score_thr=0.3, out_dir='demo')
sys.modules['open_clip'] = None
"""


def check_your_own_words(run: Run, clone: Clone) -> None:
    (own,), (voc, other) = run.calls(WITHOUT_TEXTS), run.calls(DEMO)
    (words,), (alone,) = run.calls('return_datasamples=True,\n    out_dir'), run.calls('= False')
    (explained,), (every, one) = run.calls('explain = 3'), run.calls("'work_dirs/deployed/vild.py'")
    assert set(own['labels']) <= {category['name'] for category in CATEGORIES}
    four = {'crimson circle', 'blue tree', 'green moon', 'purple hoop'}
    assert all(len(set(c['labels'])) > 1 and set(c['labels']) <= four for c in (words, every))
    assert set(alone['labels']) == set(explained['labels']) == {'blue tree', 'purple hoop'}
    assert max(alone['scores']) > max(explained['scores'])
    fields = {'text_scores', 'objectness', 'other_names', 'other_scores'}
    assert fields <= set(explained['keys']) and 'image_scores' not in explained['keys']
    assert not fields & set(words['keys'])
    folder = clone.folder / 'work_dirs'
    assert (folder / 'words/vis/000000002800.jpg').is_file()
    assert set(voc['labels']) <= set(get_classes('voc')) and len(set(voc['labels'])) > 1
    assert set(other['labels']) == {'red heart', 'whale'}
    (saved,) = (clone.folder / 'demo/preds').glob('*.json')
    saved = json.loads(saved.read_text())
    assert set(saved) == {'bboxes', 'labels', 'label_names', 'masks', 'scores'}
    assert saved['label_names'] == other['labels']
    # Without the teacher and all of its files, and with what competes.
    assert every['labels'] == words['labels']
    assert every['scores'] == pytest.approx(words['scores'], abs=1e-5)
    assert set(one['labels']) == {'blue tree'}
    config = Config.fromfile(folder / 'deployed/vild.py')
    assert 'teacher' not in config.model and '.npz' not in str(config.model)
    checkpoint = torch.load(folder / 'deployed/vild.pth', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}


EXTRACTION = 'bash $TOOLS/dist_test.sh configs/vild/region-embeddings_r50_fpn_lvis-v1.py'
VILD_TEXT = 'work_dirs/vild-text_r50_fpn_20e_lvis-v1/epoch_1.pth'
PAGES = {
    'README.md': Page(
        adapted=[
            EPOCH,
            GPUS,
            *AUTHORS,
            (r'^git clone ADDRESS mmdet_vild && cd mmdet_vild\n', ''),  # where it is run
        ],
        check=check_readme,
    ),
    'docs/install.md': Page(
        adapted=[
            (r'\bCONFIG\b', 'configs/mini_lvis/vild_r18-mini_fpn_mini-lvis.py'),
            (r'\bCHECKPOINT\b', 'work_dirs/mini_lvis/vild/iter_600.pth'),
            (r'\bGPUS\b', '2'),
        ],
        check=check_install,
    ),
    'docs/configs.md': Page(check=check_configs),
    'docs/teacher.md': Page(
        adapted=[
            (r'\bVOCABULARY\b', 'data/lvis_v1/annotations/lvis_v1_val.json'),
            EPOCH,
            GPUS,
            # Somewhere else, since nothing is left to do where the README's commands have been.
            (
                r'^--cfg-options',
                f'{EXTRACTION} {VILD_TEXT} 1 --cfg-options test_evaluator.path=data/skipping',
            ),
        ],
        check=check_teacher,
    ),
    'docs/authors_weights.md': Page(
        adapted=[
            *AUTHORS,
            (r'\bvild_r50_fpn_tf', 'vild-ensemble_r50_fpn_tf'),  # which has been converted before
            (r'(max_iters|val_interval)=10000', r'\1=1'),
            GPUS,
        ],
        check=check_authors_weights,
    ),
    'docs/your_own_data.md': Page(
        adapted=[
            EPOCH,
            (r'iter_2000', 'iter_2'),
            (
                r'^python \$TOOLS/test.py CONFIG CHECKPOINT',
                'python tools/encode_vocabulary.py data/mine/annotations/other.json'
                ' --novel zebra gnu --model ViT-B-32-quickgelu --pretrained openai'
                ' --out data/mine/vild/other.npz\n'
                'python $TOOLS/test.py configs/mine/vild.py work_dirs/vild/epoch_1.pth',
            ),
        ],
        inserted={'python $TOOLS/test.py CONFIG': OTHER, 'sed s/vild.py/vild_boxes': WITHOUT_MASKS},
        check=check_your_own_data,
    ),
    'docs/your_own_words.md': Page(
        adapted=[
            # It serves a page until it is stopped; tests/end_to_end/test_web_page.py runs it.
            (
                r'python tools/web_demo\.py \\\n(?:.*\n)*.*--examples .*',
                'test -f tools/web_demo.py',
            ),
        ],
        inserted={
            "result = detect(\n    picture,\n    texts='crimson": WITHOUT_TEXTS,
            "detect = DetInferencer('work_dirs/deployed": DEMO,
        },
        check=check_your_own_words,
        after_readme=False,
        onedl=True,
    ),
    'docs/swap_backbone.md': Page(
        adapted=[
            EPOCH,
            GPUS,
            (r'torchvision://resnet101', 'weights/nothing.pth'),
        ],
        check=check_backbone,
    ),
    'docs/swap_teacher.md': Page(adapted=[EPOCH, GPUS], check=check_swap_teacher),
    'docs/many_gpus.md': Page(
        adapted=[
            EPOCH,
            GPUS,
            (r'(dist_train\.sh \S+) 4', r'\1 2'),
            (r'MASTER_ADDR=10\.0\.0\.1 PORT=29500', 'MASTER_ADDR=127.0.0.1 PORT=$PORT'),
            # Both machines at once.
            (r'^(NNODES=2 .*\n.*) 2 (--auto-scale-lr)$', r'\1 1 \2 &'),
            (r'(# on the second\n(?:.*\n)+.*)', r'\1\nwait -n && wait -n'),
            (r'GPUS=16 GPUS_PER_NODE=8', 'GPUS=2 GPUS_PER_NODE=1'),
        ],
        inserted={
            'GPUS=16 GPUS_PER_NODE=8 bash $TOOLS/slurm_test.sh gpu regions': """
import shutil
shutil.rmtree('data/lvis_v1/vild/regions_vit-b-32')
""",
        },
        check=check_many_gpus,
    ),
    'docs/pictures.md': Page(
        # The same test, by the first command of the page.
        adapted=[('work_dirs/mini_lvis/vild-test', 'work_dirs/pictures')],
        check=check_pictures,
    ),
    'docs/mini_lvis.md': Page(
        adapted=[(r'iter_600', 'iter_2')],
        check=check_mini_lvis,
    ),
    'docs/benchmarks.md': Page(
        adapted=[
            # All of it is run, on a CPU, by tests/tools/test_gpu_benchmark.py.
            ('--minutes 8 --out gpu_out', '--help'),
            (
                '--device cuda --batch-size 2 --image-size 1024',
                '--device cpu --batch-size 1 --image-size 64 --rounds 1 --warm-up 1 --rois 8'
                ' --regions 4 --heads 2fc',
            ),
        ],
        check=check_benchmarks,
    ),
    'docs/how_it_works.md': Page(),
    'docs/troubleshooting.md': Page(),
}


def write_mine(folder: Path, split: str, count: int) -> None:
    """Pictures, and an annotation file as COCO's."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (folder / split).mkdir(parents=True)
    for image_id in range(count):
        name = f'{image_id}.jpg'
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / split / name), pixels)
        images.append(dict(id=image_id, file_name=name, height=SIZE, width=SIZE))
        for category_id in (IDS[0], IDS[2 + image_id], IDS[3 + image_id]):
            x, y = (int(v) for v in rng.integers(0, 30, 2))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=category_id,
                    bbox=[x, y, 30, 30],
                    area=900,
                    iscrowd=0,
                    segmentation=[[x, y, x + 30, y, x + 30, y + 30, x, y + 30]],
                )
            )
    annotations.append(dict(annotations[0], id=len(annotations) + 1, iscrowd=1))
    categories = [dict(id=i, name=name) for i, name in zip(IDS, NAMES, strict=True)]
    file = folder / 'annotations' / f'{split}.json'
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories[::-1]))
    )


@pytest.fixture(scope='module')
def clone(
    world: StockWorld, vild: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    """A clone with what the pages begin with."""
    clone = Clone(tmp_path_factory.mktemp('clone'))
    write_demo(clone.folder, world, vild)
    write_lvis(clone.folder / 'data' / 'lvis_v1', world)
    for split, count in (('train', 4), ('val', 2)):
        write_mine(clone.folder / 'data' / 'mine', split, count)
    write_authors(clone.folder)
    write_my_clip(clone.folder)
    shutil.copy(clone.folder / 'data/mine/val/0.jpg', clone.folder / 'picture.jpg')
    (clone.folder / 'words.txt').write_text('zebra\nthing 3\nblue whale\n')
    for block in blocks('docs/your_own_data.md'):  # configs, of which the README gives commands
        if block.file:
            file = clone.folder / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code)
    yield clone
    clone.stop()


def write_demo(folder: Path, world: StockWorld, vild: Path) -> None:
    """What ``make demo`` leaves, of another size."""
    data, work = folder / 'data/mini_lvis', folder / 'work_dirs/mini_lvis/vild'
    data.mkdir(parents=True)
    for name in ('annotations', 'train2017', 'vild'):
        (data / name).symlink_to(world.data / name)
    shutil.copytree(world.data / 'val2017', data / 'val2017')
    shutil.copy(next((data / 'val2017').iterdir()), data / 'val2017/000000002800.jpg')
    shutil.copytree(vild.parent, work)
    (work / vild.name).rename(work / 'iter_600.pth')
    (config,) = work.glob('*.py')
    config.write_text(config.read_text().replace(str(vild.parent), 'work_dirs/mini_lvis/vild'))
    (folder / 'data/mini_lvis_seed1').symlink_to(data)


def write_lvis(data: Path, world: StockWorld) -> None:
    """The same pictures as LVIS has them."""
    data.mkdir(parents=True)
    for name in ('annotations', 'train2017', 'val2017'):
        (data / name).symlink_to(world.data / name)


def write_authors(folder: Path) -> None:
    """What the authors released, of a narrow network."""
    values = authors_network.variables(ensemble=True, embed_dims=64)
    authors_network.write_npz(folder / 'resnet50_vild_ensemble.npz', values)
    words = next(value for name, value in values.items() if name.endswith('/class-predict/kernel'))
    np.save(folder / 'clip_synonym_prompt.npy', words)
    novel = [category['frequency'] == 'r' for category in CATEGORIES]
    np.save(folder / 'lvis_rare_masks.npy', np.array([1, *np.logical_not(novel)]))


def write_my_clip(folder: Path) -> None:
    """A teacher that open_clip has no name for."""
    configs = Path(mmdet_vild.__file__).parent / 'teacher' / 'model_configs'
    shutil.copy(configs / 'mini-clip.json', folder / 'my-clip.json')
    (folder / 'checkpoints').mkdir()
    torch.manual_seed(7)
    weights = OpenCLIPTeacher('mini-clip').model.state_dict()
    torch.save(weights, folder / 'checkpoints/my-clip.pt')


def test_every_page_is_listed() -> None:
    """In the README, and here, in the same order."""
    listed = re.findall(r'\]\((docs/\w+\.md)\)', README.split('## Documentation')[1])
    assert list(PAGES) == ['README.md', *listed]
    assert set(listed) == {str(path.relative_to(ROOT)) for path in ROOT.glob('docs/*.md')}


def test_no_block_is_left_out() -> None:
    """Each is in a language that is run, or a config that a command, or another config, names."""
    found = [block for page in PAGES for block in blocks(page)]
    for block in found:
        assert block.language in LANGUAGES, f'{block} is in {block.language or "no language"}'
        if block.file.endswith('.py'):
            names = (block.file, f"'./{Path(block.file).name}'")
            others = [other.code for other in found if other != block]
            assert any(name in code for name in names for code in others), f'nothing runs {block}'


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.onedl if page.onedl else ())
        for name, page in PAGES.items()
    ],
)
def test_page(clone: Clone, name: str) -> None:
    for page in dict.fromkeys(('README.md', name) if PAGES[name].after_readme else (name,)):
        if page not in clone.runs:
            clone.run(page, PAGES[page].adapted, PAGES[page].inserted)
    PAGES[name].check(clone.runs[name], clone)
