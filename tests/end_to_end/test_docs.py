"""All code in the README and the docs, run as it is printed but for what PAGES says.

LVIS, CLIP's weights, 8 GPUs and Slurm are not at hand: small_world.py makes configs small and gives
random weights the names of CLIP's, docs_code.py has what stands in for programs, and the fixture
``clone`` the data. A new page needs a line in PAGES; a block needs nothing, if it runs.
"""

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import authors_network
import cv2
import does_it_run
import numpy as np
import pytest
import torch
from docs_code import LANGUAGES, ROOT, Clone, Run, blocks
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from official_files import ade20k, context, vipseg, vspw
from picture_files import write_pictures
from stock_world import StockWorld
from tiny_drawings import CATEGORIES

import mmdet_vild
from mmdet_vild.datasets import OpenVocabularyCocoDataset
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow

README = (ROOT / 'README.md').read_text()
#: As many categories as the README says, with gaps between their ids.
NAMES = ['polar bear', 'zebra', *(f'thing {i}' for i in range(10)), 'striped mug']
IDS = range(5, 5 + 3 * len(NAMES), 3)


@dataclass
class Page:
    """How the code of a page is run.

    Attributes:
        adapted: What is replaced: regular expressions, and their replacements.
        says: Text in one block -> what the block prints, among other things.
        check: Looks at what else was made.
        after_readme: Whether it needs what the README's commands write.
        onedl: Whether to run it on both families of packages.
    """

    adapted: list[tuple[str, str]] = field(default_factory=list)
    says: dict[str, list[str]] = field(default_factory=dict)
    check: Callable[[Run, Path], None] = lambda run, folder: None
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
AUTHORS_WEIGHTS = 'Load checkpoint from checkpoints/vild-ensemble_r50_fpn_tf.pth'
#: Before any words are asked for, no teacher is needed; nor is it for words in a checkpoint.
WITHOUT_TEXTS = """import sys
open_clip, sys.modules['open_clip'] = sys.modules['open_clip'], None
detect(picture)
sys.modules['open_clip'] = open_clip
"""
#: As mmdet 3.3's demo/image_demo.py calls it with ``--texts``, for two pictures.
DEMO = """detect.model.roi_head.test_cfg.pop('explain')
detect.model.test_cfg.chunked_size = -1
detect([picture, picture], texts=[('cat', 'sofa'), 'red heart . whale .'], batch_size=2,
       custom_entities=True, tokens_positive=None, show=False, no_save_vis=False,
       no_save_pred=False, print_result=False, pred_score_thr=0.3, out_dir='demo')
sys.modules['open_clip'] = None
"""
#: The README's data as of somebody who has boxes alone, and has not followed it yet.
WITHOUT_MASKS = """import json, shutil
for split in ('train', 'val'):
    with open(f'data/mine/annotations/{split}.json') as file:
        content = json.load(file)
    for annotation in content['annotations']:
        del annotation['segmentation']
    with open(f'data/mine/annotations/{split}.json', 'w') as file:
        json.dump(content, file)
shutil.rmtree('data/mine/vild/regions_vit-b-32')
"""


def check_your_own_data(run: Run, folder: Path) -> None:
    (detected,) = run.calls("'words.npz'")
    assert set(detected['labels']) <= {'zebra', 'thing 3', 'blue whale'}
    example = OpenVocabularyCocoDataset(
        ann_file=str(folder / 'data/mine/annotations/example.json'),
        metainfo=dict(novel_classes=('polar bear',)),
        data_prefix=dict(img=''),
    )
    assert len(example) == 1 and example.metainfo['classes'] == ('zebra', 'polar bear')
    small = Config.fromfile(folder / 'configs/mine/vild_small.py')
    for loader in (small.train_dataloader, small.val_dataloader, small.test_dataloader):
        (resize,) = [t for t in loader.dataset.pipeline if t.type == 'Resize']
        assert resize.scale == (640, 480)
    text, distilled = run.of('$TOOLS/train.py configs/mine/vild_boxes.py').split(
        'embedding_store/images: 4'
    )
    assert 'loss_cls' in text and 'loss_distill' in distilled
    assert 'loss_mask' not in text + distilled and 'coco/novel_ap50: ' in distilled


def check_swap_teacher(run: Run, folder: Path) -> None:
    for name, model in (('vit-l-14', 'ViT-L-14-quickgelu'), ('my-clip', 'my-clip')):
        store = EmbeddingStore(folder / f'data/lvis_v1/vild/regions_{name}')
        assert len(store) == 21 and store.teacher.startswith(f'{model}@')


def check_pictures(run: Run, folder: Path) -> None:
    files = sorted((folder / 'work_dirs/pictures').glob('*/show/*.jpg'))
    # 128 pixels, enlarged to 500 or more, annotations beside detections.
    assert [cv2.imread(str(file)).shape for file in files] == [(512, 1024, 3)] * 7
    # Beside the annotations, which fill the left, and with words at the right.
    files = sorted((folder / 'work_dirs/browse').glob('*.jpg'))
    assert len(files) == 8
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape[0] == 512 and picture.shape[1] > 1024 + 100
        column = picture[:, 1024:]
        assert (column > 200).mean() > 0.8 and (column < 80).any()
        assert not np.array_equal(picture[:, :512], picture[:, 512:1024])
    panels = re.search(r'wrote work_dirs/curves.png: (.*)', run.of('plot_logs.py'))[1].split(', ')
    assert {'loss', 'loss_distill', 'lvis/bbox_AP', 'lvis/bbox_APr'} <= set(panels)
    page = (folder / 'work_dirs/confusion.html').read_text()
    assert 'red heart' in page and 'blue circle' in page


def check_benchmarks(run: Run, folder: Path) -> None:
    """All parts of that for a GPU; what is no block has the options that the page names."""
    parts = json.loads((folder / 'gpu_out/results.json').read_text())['parts']
    assert {name: part['ended'] for name, part in parts.items()} == dict.fromkeys(
        (
            *('does it run', 'teacher', 'extraction', 'anchors', 'training step', 'compiled'),
            *('post-processing', 'inference', 'profile', "the teacher's word"),
        ),
        'well',
    )
    report = (folder / 'gpu_out/report.md').read_text()
    assert report.count('| ok |\n') == 2 * len(does_it_run.SYSTEMS)
    assert 'a batch ahead' in report and 'compiled by eager' in report
    assert re.search(r'ways: (0\.999|1\.)\d+ on average, (0\.99|1\.)\d+ at worst', report)
    assert 'aten::convolution' in parts['profile']['markdown']
    text = (ROOT / 'docs/benchmarks.md').read_text()
    commands = re.findall(r'`[^`]*python (tools/benchmarks/\w+\.py)([^`]*)`', text)
    assert len(commands) >= 7
    for tool, options in commands:
        named = set(re.findall(r'--[a-z][\w-]*', options))
        assert named <= options_of(ROOT / tool), tool


def options_of(tool: Path) -> set[str]:
    """The options that a benchmark names, itself or in functions that it takes of another one."""
    tree = ast.parse(tool.read_text())
    parts = [tree]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and (file := tool.with_name(f'{node.module}.py')).exists()
        ):
            taken = {alias.name for alias in node.names}
            functions = ast.parse(file.read_text()).body
            parts += [f for f in functions if isinstance(f, ast.FunctionDef) and f.name in taken]
    strings = [n.value for p in parts for n in ast.walk(p) if isinstance(n, ast.Constant)]
    return {s for s in strings if isinstance(s, str) and s.startswith('--')}


def check_your_own_words(run: Run, folder: Path) -> None:
    own, words = run.calls('return_datasamples=True,\n    out_dir')
    (alone,), (explained,) = run.calls('= False'), run.calls('explain = 3')
    demo, other, every, one = run.calls("'work_dirs/deployed/vild.py'")
    assert set(own['labels']) <= {category['name'] for category in CATEGORIES}
    four = {'fiddle', 'saxophone', 'owl', 'grape'}
    assert all(len(set(c['labels'])) > 1 and set(c['labels']) <= four for c in (words, every))
    assert set(alone['labels']) == set(explained['labels']) == {'fiddle', 'saxophone'}
    assert max(alone['scores']) > max(explained['scores'])
    (pictured,) = run.calls("'this one'")
    assert set(pictured['labels']) == {'owl', 'this one'}
    fields = {'text_scores', 'objectness', 'other_names', 'other_scores'}
    assert fields <= set(explained['keys']) and not fields & set(words['keys'])
    assert set(demo['labels']) == {'cat', 'sofa'} and set(other['labels']) == {'red heart', 'whale'}
    assert (folder / 'work_dirs/words/vis/000000002800.jpg').is_file()
    (saved,) = (folder / 'demo/preds').glob('*.json')
    saved = json.loads(saved.read_text())
    assert set(saved) == {'bboxes', 'labels', 'label_names', 'masks', 'scores'}
    assert saved['label_names'] == other['labels']
    # Without the teacher and all of its files, and with what competes.
    assert every['labels'] == words['labels'] and set(one['labels']) == {'fiddle'}
    assert every['scores'] == pytest.approx(words['scores'], abs=1e-5)
    config = Config.fromfile(folder / 'work_dirs/deployed/vild.py')
    assert 'teacher' not in config.model and '.npz' not in str(config.model)
    checkpoint = torch.load(folder / 'work_dirs/deployed/vild.pth', weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}


def check_ezsd(run: Run, folder: Path) -> None:
    """The store is the tuned teacher's, the words are the raw one's."""
    store = EmbeddingStore(folder / 'data/coco/ezsd/regions_clip-anchors_vit-b-32')
    words = TextEmbeddings.load(str(folder / 'data/coco/vild/text_vit-b-32.npz'))
    assert store.teacher.startswith(f'{words.teacher}+')
    record = store.read(dict(img_id=1, ori_shape=(96, 96)))
    assert record.annotated.sum() == 2 and (record.weights[record.annotated] == 1).all()
    others = ~record.annotated
    assert store.header['clip_proposals']['novel_words'].startswith('17@')
    assert (record.weights[others] <= 1).all()


EXTRACTION = 'bash $TOOLS/dist_test.sh configs/vild/region-embeddings_r50_fpn_lvis-v1.py'
VILD_TEXT = 'work_dirs/vild-text_r50_fpn_20e_lvis-v1/epoch_1.pth'
PAGES = {
    'README.md': Page(
        adapted=[
            *(EPOCH, GPUS, *AUTHORS),
            (r'^git clone ADDRESS mmdet_vild && cd mmdet_vild\n', ''),  # where it is run
            (r'weights=config\.load_from', "weights='weights/nothing.pth'"),
        ],
        says={
            'coco-proposals': ['"toy elephant"', '"striped mug"'],
            "weights='checkpoints/vild-ensemble": ['"toy elephant"', '"striped mug"'],
            'vild-text_r50_fpn': [
                *('5 categories (2 novel)', 'embedding_store/images: 21', 'lvis/bbox_APr: ')
            ],
            'configs/mine/vild-text.py': [
                *('13 categories (3 novel)', ' 4  dropped: of 3 novel categories\n'),
                *('LR is set based on batch', 'embedding_store/images: 4', 'loss_distill'),
                *('coco/bbox_mAP: ', 'coco/base_ap50: ', 'coco/novel_ap50: '),
            ],
        },
    ),
    'docs/install.md': Page(
        adapted=[
            (r'\bCONFIG\b', 'configs/mini_lvis/vild_lite0_fpn_mini-lvis.py'),
            (r'\bCHECKPOINT\b', 'work_dirs/mini_lvis/vild/iter_700.pth'),
            (r'\bGPUS\b', '2'),
        ],
        says={
            'mmdet_vild.__version__': [mmdet_vild.__version__],
            'config_path': ['mini_lvis/vild_lite0_fpn_mini-lvis.py'],
            'mmcv._ext': ['mmcv'],
            '$TOOLS/test.py': ['Checkpoints will be saved', 'lvis/bbox_APr: '],
        },
    ),
    'docs/configs.md': Page(says={'OVCocoDataset': ['65 categories (17 novel)']}),
    # Weights of CLIP's RN50 are not at hand; tests/configs/test_gkc_configs.py goes the whole way.
    'docs/gkc.md': Page(
        adapted=[
            (r'(?s)^from mmdet.*', 'pass'),
            (
                r'(?s)^TRAIN=.*',
                'python tools/diversify_vocabulary.py CocoPanoptic133Dataset --only-own '
                '--out names.json',
            ),
            # The words and the store of segments are made by tests/end_to_end/test_demo_gkc.py.
            (r'(?s)^python tools/mini_lvis/true_masks.*', 'true'),
            (r'(?s)^export MINI_LVIS=.*', 'true'),
        ],
        says={'--only-own': ['133 categories, 133 names; 133 have one name alone']},
        after_readme=False,
    ),
    'docs/vild_plus.md': Page(
        adapted=[('--best 0 28 50', '--best 0 --images 2')],
        says={'choose.py': ['The best, of 2 pictures: ']},
    ),
    'docs/teacher.md': Page(
        adapted=[
            *(EPOCH, GPUS, (r'\bVOCABULARY\b', 'data/lvis_v1/annotations/lvis_v1_val.json')),
            # Somewhere else, since nothing is left to do where the README's commands have been.
            (
                r'^--cfg-options',
                f'{EXTRACTION} {VILD_TEXT} 1 --cfg-options test_evaluator.path=data/skipping',
            ),
        ],
        says={
            'encode_vocabulary': ['5 categories (2 novel)'],
            f'{VILD_TEXT} 2': ['21 of 21 images are in'],
            'LoadImageOrSkip': ['embedding_store/images: 21'],
            'embedding_store.py': ['21 images', '0 damages found'],
        },
    ),
    'docs/ezsd.md': Page(
        adapted=[
            *(EPOCH, GPUS, (r'tuned\.pt 8', 'tuned.pt 2')),
            # Its steps are those of tests/end_to_end/test_demo_ezsd.py.
            (r'(?s)^make demo-ezsd.*', 'true'),
        ],
        says={
            'tune-teacher': [
                *('65 categories (17 novel)', 'crops/novel_accuracy: ', 'loss_crops: '),
                *('numbers were tuned', 'embedding_store/images: 4', 'loss_distill: '),
                'coco/novel_ap50: ',
            ]
        },
        check=check_ezsd,
        after_readme=False,
    ),
    'docs/authors_weights.md': Page(
        adapted=[
            *(GPUS, *AUTHORS),
            (r'\bvild_r50_fpn_tf', 'vild-ensemble_r50_fpn_tf'),  # which has been converted before
            (r'(max_iters|val_interval)=10000', r'\1=1'),
        ],
        says={
            'vild_tf_to_mmdet.py': ['lvis/segm_APr: '],
            'authors_words.py': ['5 categories (2 novel)'],
            'load_from=': [AUTHORS_WEIGHTS, 'loss_distill'],
        },
    ),
    'docs/your_own_data.md': Page(
        adapted=[
            *(EPOCH, (r'iter_2000', 'iter_2')),
            (
                r'^python \$TOOLS/test.py CONFIG CHECKPOINT',
                'python tools/encode_vocabulary.py data/mine/annotations/other.json'
                ' --novel zebra gnu --model ViT-B-32-quickgelu --pretrained openai'
                ' --out data/mine/vild/other.npz\n'
                'python $TOOLS/test.py configs/mine/vild.py work_dirs/vild/epoch_1.pth',
            ),
            (r'^sed s/vild.py/vild_boxes', r'python without_masks.py\n\g<0>'),
        ],
        says={
            'words.txt': ['3 categories (2 novel)'],
            'data_prefix.img=val/': ['task/s'],
            'print_config.py': ['OpenVocabularyCocoDataset'],
            'finetune.py checkpoints/vild-ensemble_r50_fpn_tf.pth': [
                *(AUTHORS_WEIGHTS, 'embedding_store/images: 4', 'loss_distill', 'coco/novel_ap50: ')
            ],
            'average_checkpoints.py': ['averaged.pth: 0.5 of work_dirs/finetune/iter_2.pth'],
            'finetune/averaged.pth': ['Load checkpoint from work_dirs/finetune/averaged.pth'],
            'finetune_boxes.py': ['coco/novel_ap50: '],
            'novel_classes="[zebra,gnu]"': ['20 categories (2 novel)', 'coco/novel_ap50: '],
        },
        check=check_your_own_data,
    ),
    'docs/gkc_data.md': Page(
        says={
            'pascal_context.py': ['1 pictures, 459 and 59 classes'],
            'ade20k_full.py': ['2 classes', 'warning: papers test on 847 classes', '1 pictures'],
            'vspw.py': ['train_base.frames.txt: 1 frames', 'val.frames.txt: 2 frames'],
            'PascalVOC20Dataset': ['20 categories (4 novel)', '2 categories (0 novel)'],
        },
        after_readme=False,
    ),
    'docs/your_own_words.md': Page(
        adapted=[
            (r'--images 300 --words 20 60', '--images 2 --words 2'),  # of five categories
            # It serves a page until it is stopped; tests/end_to_end/test_web_page.py runs it.
            (
                r'python tools/web_demo\.py \\\n(?:.*\n)*.*--examples .*',
                'true',
            ),
            (r"^result = detect\(\n    picture,\n    texts='fiddle", WITHOUT_TEXTS + r'\g<0>'),
            (r"^detect = DetInferencer\('work_dirs/deployed", DEMO + r'\g<0>'),
        ],
        check=check_your_own_words,
        after_readme=False,
        onedl=True,
    ),
    'docs/swap_backbone.md': Page(
        adapted=[*(EPOCH, GPUS), (r'torchvision://resnet101', 'weights/nothing.pth')],
        says={
            'zeros(': ['[96, 192, 432, 1008]'],
            'regnetx-3.2gf/epoch': ['lvis/bbox_APr: '],
            'vild_r101': ['depth=101', 'loss_distill'],
        },
    ),
    'docs/swap_teacher.md': Page(
        adapted=[EPOCH, GPUS],
        says={
            'teacher.temperature': ['my-clip@', ' 64 (48, 48) 0.07'],
            'vild_r50_fpn_vit-l-14_20e': ['loss_distill'],
            'vild_my-clip/epoch': ['lvis/bbox_APr: '],
        },
        check=check_swap_teacher,
    ),
    'docs/many_gpus.md': Page(
        adapted=[
            *(EPOCH, GPUS, (r'(dist_train\.sh \S+) 4', r'\1 2')),
            (r'MASTER_ADDR=10\.0\.0\.1 PORT=29500', 'MASTER_ADDR=127.0.0.1 PORT=$PORT'),
            # Both machines at once.
            (r'^(NNODES=2 .*\n.*) 2 (--auto-scale-lr)$', r'\1 1 \2 & machines+=($!)'),
            # One after the other: `wait -n` forgets a second that ends with the first.
            (
                r'(# on the second\n(?:.*\n)+.*)',
                r'\1\nfor machine in "${machines[@]}"; do wait $machine; done',
            ),
            (r'GPUS=16 GPUS_PER_NODE=8', 'GPUS=2 GPUS_PER_NODE=1'),
            (
                r'^GPUS=.*slurm_test.sh gpu regions',
                r'rm -r data/lvis_v1/vild/regions_vit-b-32\n\g<0>',
            ),
        ],
        says={
            '--resume': ['resumed epoch: 1'],
            'NODE_RANK=1': ['the current batch size is 4'],  # 2 images a machine
            'slurm_train.sh': [
                *('--ntasks=2 --ntasks-per-node=1 --cpus-per-task=8', '--kill-on-bad-exit=1'),
                *('--time=3-00:00:00 --mem=200G', 'the current batch size is 4'),
                'lvis/bbox_APr: ',
            ],
            'slurm_test.sh gpu regions': [
                *('shard-00000.sqlite: 11 images', 'shard-00001.sqlite: 10')
            ],
        },
    ),
    'docs/pictures.md': Page(
        # The same test, by the first command of the page.
        adapted=[('work_dirs/mini_lvis/vild-test', 'work_dirs/pictures')],
        check=check_pictures,
    ),
    'docs/mini_lvis.md': Page(
        adapted=[(r'iter_700', 'iter_2')],
        says={'SETTINGS=': ['loss_distill', 'lvis/bbox_APr: ']},
    ),
    'docs/licenses.md': Page(),
    'docs/benchmarks.md': Page(
        adapted=[
            ('--minutes 8 --out gpu_out', r'\g<0> --device cpu --tiny'),
            (
                '--device cuda --batch-size 2 --image-size 1024',
                '--device cpu --batch-size 1 --image-size 64 --rounds 1 --warm-up 1 --rois 8'
                ' --regions 4 --heads 2fc',
            ),
        ],
        says={'train_step.py': ['8 sampled and 4 distillation RoIs', '| ViLD-ensemble |']},
        check=check_benchmarks,
    ),
    'docs/how_it_works.md': Page(),
    'docs/troubleshooting.md': Page(),
}


@pytest.fixture(scope='module')
def clone(
    world: StockWorld, vild: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clone]:
    """A clone with what the pages begin with."""
    clone = Clone(tmp_path_factory.mktemp('clone'))
    folder = clone.folder
    write_demo(folder, world, vild)
    (folder / 'data/lvis_v1').mkdir()
    for name in ('annotations', 'train2017', 'val2017'):  # the same pictures as LVIS has them
        (folder / 'data/lvis_v1' / name).symlink_to(world.data / name)
    write_mine(folder / 'data/mine')
    write_coco(folder / 'data/coco')
    (folder / 'without_masks.py').write_text(WITHOUT_MASKS)
    write_authors(folder)
    write_segmented(folder / 'data')
    # A teacher that open_clip has no name for.
    configs = Path(mmdet_vild.__file__).parent / 'teacher' / 'model_configs'
    shutil.copy(configs / 'mini-clip.json', folder / 'my-clip.json')
    (folder / 'checkpoints').mkdir()
    torch.manual_seed(7)
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), folder / 'checkpoints/my-clip.pt')
    (folder / 'words.txt').write_text('zebra\nthing 3\nblue whale\n')
    for block in blocks('docs/your_own_data.md'):  # configs, of which the README gives commands
        if block.file:
            file = folder / block.file
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.code)
    yield clone
    clone.python.stop()


def write_demo(folder: Path, world: StockWorld, vild: Path) -> None:
    """What ``make demo`` leaves, of another size."""
    data, work = folder / 'data/mini_lvis', folder / 'work_dirs/mini_lvis/vild'
    data.mkdir(parents=True)
    for name in ('annotations', 'train2017', 'vild'):
        (data / name).symlink_to(world.data / name)
    shutil.copytree(world.data / 'val2017', data / 'val2017')
    picture = next((data / 'val2017').iterdir())
    shutil.copy(picture, data / 'val2017/000000002800.jpg')
    shutil.copy(picture, folder / 'picture.jpg')
    shutil.copytree(vild.parent, work)
    (work / vild.name).rename(work / 'iter_700.pth')
    (config,) = work.glob('*.py')
    config.write_text(config.read_text().replace(str(vild.parent), 'work_dirs/mini_lvis/vild'))
    (folder / 'data/mini_lvis_seed1').symlink_to(data)


def write_mine(folder: Path) -> None:
    """The README's data of one's own, and annotations of other words, two of which it has not."""
    names = dict(zip(IDS, NAMES, strict=True))
    shown = [[IDS[0], IDS[2 + i], IDS[3 + i]] for i in range(4)]
    write_pictures(folder, 'train', 'train/', names, shown)
    write_pictures(folder, 'val', 'val/', names, shown[:2])
    gone = (IDS[0], IDS[-1])
    other = {i: name for i, name in names.items() if i not in gone}
    other |= {99 + i: name for i, name in enumerate(['gnu', *(f'new {i}' for i in range(8))])}
    write_pictures(folder, 'other', 'val/', other, [kinds[1:] for kinds in shown[:2]])


def write_segmented(data: Path) -> None:
    """What the authors of data sets of semantic segmentation publish."""
    context(data / 'VOCdevkit/VOC2010', 'wall', 0, 'c thing 3')
    ade20k(data / 'ADE20K_2021_17_01')
    vipseg(data / 'VIPSeg/VIPSeg_720P', a=[1, 0], b=[12], c=[2], d=[79, 1])
    vspw(data / 'VSPW_480p', {'others': '0', 'wall': '1', 'sky': '2', 'road': '3'})


def write_coco(folder: Path) -> None:
    """A person, a car, an airplane, which is novel, and a traffic light, which is neither."""
    names = dict(enumerate(CocoDataset.METAINFO['classes'], 1))
    shown = [[1, 3, 5, 10]] * 4
    for split in ('train2017', 'val2017'):
        write_pictures(folder, f'instances_{split}', f'{split}/', names, shown)


def write_authors(folder: Path) -> None:
    """What the authors released, of a narrow network."""
    values = authors_network.variables(ensemble=True, embed_dims=64)
    authors_network.write_npz(folder / 'resnet50_vild_ensemble.npz', values)
    words = next(value for name, value in values.items() if name.endswith('/class-predict/kernel'))
    np.save(folder / 'clip_synonym_prompt.npy', words)
    novel = [category['frequency'] == 'r' for category in CATEGORIES]
    np.save(folder / 'lvis_rare_masks.npy', np.array([1, *np.logical_not(novel)]))


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
            clone.run(page, PAGES[page].adapted)
    run = clone.runs[name]
    for text, lines in PAGES[name].says.items():
        printed = run.of(text)
        assert not [line for line in lines if line not in printed], printed[-8000:]
    PAGES[name].check(run, clone.folder)
