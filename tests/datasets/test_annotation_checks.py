"""What is wrong is refused, what may be meant is one warning, and the table adds up."""

import json
import logging
from contextlib import redirect_stdout

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from changed import changed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmengine import dist
from mmengine.logging import MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_vild.datasets import OpenVocabularyCocoDataset
from mmdet_vild.datasets.annotation_checks import FARTHEST, CheckedAnnotations
from mmdet_vild.datasets.annotation_masks import check_runs, run_lengths
from mmdet_vild.datasets.open_vocabulary_dataset import from_main_process

pytestmark = pytest.mark.onedl

NAN, INF = float('nan'), float('inf')
WIDTH, HEIGHT = 6, 4
TRIANGLE = [0, 0, 3, 0, 3, 3]
#: As many annotations, of categories in turn.
COUNT = 12


def content(text_ids: bool = False) -> dict:
    """A file without fault; image ids are numbers or texts."""
    images = [
        dict(id=str(i) if text_ids else i, file_name=f'{i}.jpg', height=HEIGHT, width=WIDTH)
        for i in (1, 2, 3)
    ]
    annotations = [
        dict(id=10 + i, image_id=images[i % 3]['id'], category_id=(1, 2, 5)[i % 3], iscrowd=0,
             bbox=[0, 0, 3, 3 + i / 100], area=4.5, segmentation=[TRIANGLE])
        for i in range(COUNT)
    ]  # fmt: skip
    categories = [dict(id=i, name=name) for i, name in ((1, 'cat'), (2, 'dog'), (5, 'owl'))]
    return dict(images=images, annotations=annotations, categories=categories)


@pytest.fixture
def build(tmp_path):
    """A dataset of a file, and what it said at load."""

    def build(data: dict, poly2mask: bool = True, kind=OpenVocabularyCocoDataset, **options):
        path, heard = tmp_path / 'mine.json', []
        path.write_text(json.dumps(data))
        handler = logging.Handler()
        handler.emit = lambda record: heard.append((record.levelname, record.getMessage()))
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            loading = LoadAnnotations(with_mask=True, poly2mask=poly2mask)
            names = dict(novel_classes=('owl',), classes=('cat', 'dog', 'owl'))
            dataset = kind(
                **{'metainfo': names, 'pipeline': [loading], **options},
                ann_file=str(path), data_prefix=dict(img='pictures'),
            )  # fmt: skip
        finally:
            logger.removeHandler(handler)
        told = {level: [text for name, text in heard if name == level] for level, _ in heard}
        return dataset, told.get('INFO', []), told.get('WARNING', [])

    return build


def used(dataset) -> int:
    """How many annotations reach the pipeline's end, and are not ignored there."""
    infos = map(dataset.get_data_info, range(len(dataset)))
    samples = [dataset.pipeline({**info, 'ori_shape': (HEIGHT, WIDTH)}) for info in infos]
    return sum(int((~sample['gt_ignore_flags']).sum()) for sample in samples)


@pytest.mark.parametrize('text_ids', [False, True])
def test_without_fault(build, text_ids):
    dataset, (table,), warnings = build(content(text_ids))
    assert not warnings and used(dataset) == COUNT * 2 // 3
    rows = dict(line.strip().split('  ')[::-1] for line in table.split('\n')[1:])
    counts = {key: int(value) for key, value in rows.items()}
    assert counts == {
        'images': 3, 'annotations': COUNT, 'dropped: of 1 novel categories': COUNT // 3,
        'crowd, not learned': 0, 'used': COUNT * 2 // 3,
    }  # fmt: skip
    assert used(build(content(text_ids), test_mode=True)[0]) == COUNT


def a(key, row=0):
    return ['annotations', row, key]


@pytest.mark.parametrize(
    ('path', 'values'),
    [
        (a('iscrowd'), ['0', 'false', '', 2, -1, 0.5, NAN, [0], {}]),
        (a('ignore'), ['0', 2, []]),
        (a('image_id'), ['1', 4, 1.5, NAN, INF, [1], True, 10**30]),
        (a('category_id'), ['1', 0.5, 3, -1, NAN, [1], 10**30]),
        (a('id'), ['10', NAN, [1]]),
        (a('bbox'), [7, 'abcd', {}, [1, 2, 3], ['1', 2, 3, 4], [1, 2, NAN, 4], [1, 2, 1e7, 4],
                     [[1, 2, 3, 4]], [1, 2, 10**400, 4], [1, 2, True, 4]]),
        (a('area'), ['4', NAN, INF, [4], 10**400]),
        (['images', 1, 'id'], ['2', NAN, [2], INF]),
        (['images', 1, 'height'], [0, -1, '6', INF, NAN, True, FARTHEST + 1]),
        (['images', 1, 'width'], [0.0, [6], 10**400]),
        (['images', 1, 'file_name'], [7, '', 'a\0b', '\ud800', 'http://host/a.jpg', ['a.jpg']]),
        (['images', 1, 'neg_category_ids'], ['1', ['1'], {}, [1.5], [True]]),
        (['categories', 1, 'id'], ['2', 2.0, NAN, [2]]),
    ],
)  # fmt: skip
def test_plainly_wrong(build, path, values):
    """In one entry or in all."""
    entries, row, key = path
    for value in [*values, 'null']:
        data = changed(content(), path, value if value != 'null' else [])
        if value == 'null':
            data[entries][row][key] = None
        with pytest.raises(ValueError, match=f'(of|in) .*mine.json.*{key}') as error:
            build(data)
        assert 'expected' in str(error.value)
    for entry in data[entries]:
        entry[key] = values[0]
    with pytest.raises(ValueError, match='mine.json'):
        build(data)


@pytest.mark.parametrize('key', ['id', 'image_id', 'category_id', 'bbox', 'area', 'segmentation'])
def test_fields_that_are_not_there(build, key):
    with pytest.raises(ValueError, match=f'annotation .* of .*mine.json .*{key}'):
        build(changed(content(), a(key, 4)))


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (['images', 1, 'id'], 1, r"has 2 images of the id 1, \['1.jpg', '2.jpg'\]; give each"),
        (a('id', 3), 10, 'has 2 annotations of the id 10; give .*1 have one that is there'),
        (['categories', 1, 'id'], 1, r"has 2 categories of the id 1, \['cat', 'dog'\]"),
        (['categories', 1, 'name'], ' \t', r"the category ' \\t' of .*mine.json is empty"),
        (['categories', 1, 'name'], '\x07', 'has .* with a control character'),
        (['categories', 1, 'name'], 7, 'has a category of the name 7; expected a text'),
        (['images', 1], 7, 'has the images .*; expected a list of objects'),
        (['images'], 7, 'has the images 7; expected a list of objects'),
        (['annotations', 1], 'text', 'has the annotations .*; expected a list of objects'),
        (
            ['annotation'],
            content()['annotations'],
            r"lacks the field 'annotations', but has 'annotation'",
        ),
        (a('image_id', 2), '3', "annotation 12 of .* '3'; expected a number.* 1 of 12 are wrong"),
    ],
)
def test_twice_or_nameless(build, path, value, message):
    data = changed(content(), path, value)
    if path == ['annotation']:
        del data['annotations']
    with pytest.raises(ValueError, match=message):
        build(data, metainfo=dict(novel_classes=('owl',)), test_mode=True)


LINE = [1, 1, 2, 2]
RUN = dict(size=[HEIGHT, WIDTH], counts=[20, 4])
EMPTY = mask_utils.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order='F'))['counts'].decode()
APART = 'have a mask that covers nothing of their box'


@pytest.mark.parametrize(
    ('change', 'options', 'doubt'),
    [
        (dict(segmentation=[LINE]), {}, 'dropped: no mask but a polygon of fewer than 3 points'),
        (dict(segmentation=[[*TRIANGLE, 1]]), {}, 'an odd number of coordinates'),
        (dict(segmentation=[[]]), {}, 'dropped: no mask but a polygon'),
        (dict(segmentation=[LINE, TRIANGLE]), {}, 'lose a polygon of fewer'),
        (dict(segmentation=RUN), dict(poly2mask=False), 'run lengths, which LoadAnnotations'),
        (dict(segmentation=[[4, 0, 6, 0, 6, 3]]), {}, APART),
        (dict(segmentation=[[1, 1, 1, 1, 1, 1]]), {}, APART),
        (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[24])), {}, APART),
        (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=EMPTY)), {}, APART),
        (dict(bbox=[6, 0, 3, 3]), {}, 'outside of the image'),
        (dict(bbox=[0, 0, 0.5, 3]), {}, 'less than a pixel wide or high'),
        (dict(bbox=[3, 3, -3, -3]), {}, 'less than a pixel wide or high'),
        (dict(bbox=[4, 0, 3.5, 3]), {}, 'goes on outside of the image'),
        (dict(area=0), {}, 'of the area 0'),
        (dict(category_id=0), {}, 'of category 0, while ids begin at 1'),
    ],
)
def test_what_may_be_meant(build, change, options, doubt):
    """Is one warning with a number and an example; the table counts what mmdet uses."""
    data = content()
    for row in (3, 4, 6):  # image 1, 2 and 1: 1, 2 and 1 of a cat, a dog and a cat
        data['annotations'][row].update(change)
    dataset, (table,), (warning,) = build(data, **options)
    (line,) = [line for line in warning.split('\n') if doubt in line]
    (field,) = change
    assert (
        line.startswith('- 3 annotations ')
        and f'the first is annotation 13 of {dataset.ann_file}' in line
    )
    assert f'with the {field} {change[field]}' in line
    left = used(dataset)
    assert left in (COUNT * 2 // 3, COUNT * 2 // 3 - 3)
    assert f' {left:,}  used' in table and ('dropped' in line) == (left < COUNT * 2 // 3)


@pytest.mark.parametrize(
    ('box', 'text'), [([3, 1, 6, 4], r'\[x1, y1, x2, y2\]'), ([0.1, 0.1, 0.5, 0.5], 'fractions')]
)
def test_boxes_of_another_form(build, box, text):
    data = content()
    for annotation in data['annotations'][:9]:
        annotation['bbox'] = box
    _, _, (warning,) = build(data)
    assert f'Most boxes of the file look like {text}'.replace('\\', '') in warning


def test_files_and_categories(build):
    """One file of two images, and a base category that nothing is annotated as."""
    data = changed(content(), ['images', 1, 'file_name'], '1.jpg')
    data['categories'].insert(0, dict(id=0, name='parts'))
    for annotation in data['annotations']:
        annotation['iscrowd'] = int(annotation['category_id'] == 2)
    _, (table,), (warning,) = build(data, metainfo=dict(novel_classes=('owl',)))
    assert '1 images have a file that another has' in warning and "2 are '1.jpg'" in warning
    assert "no annotation, or crowds alone: ['parts', 'dog']; list them in novel_classes" in warning
    assert '4  crowd, not learned' in table
    assert not build(content(), test_mode=True)[2]


@pytest.mark.parametrize(
    'other', ['./1.jpg', 'sub/../1.jpg', 'http://images.cocodataset.org/1.jpg']
)
def test_one_file_in_two_spellings(build, other):
    _, _, (warning,) = build(changed(content(), ['images', 1, 'file_name'], other))
    assert '1 images have a file that another has, too: what is' in warning
    assert f"2 are '1.jpg' or '{other}'" in warning


def test_one_object_twice(build):
    """Image, category and box are the same, and ids are not."""
    data = content()
    data['annotations'] += [dict(data['annotations'][i], id=90 + i) for i in (0, 2, 4)]
    _, _, (warning,) = build(data)
    line = '- 3 annotations have image, category and box of another annotation, too'
    assert line in warning and 'the first is annotation 90 of' in warning
    data['annotations'][-1].update(category_id=1), data['annotations'][-2].update(image_id=1)
    assert line.replace('3', '1') in build(data)[2][0]


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
def test_most_are_not_learned(build, key, test_mode):
    """Crowds, or ignored: more than half; a warning says which."""
    kind = {'iscrowd': 'crowds', 'ignore': 'ignored'}[key]
    for count in (COUNT // 2, COUNT // 2 + 1, COUNT):
        data = content()
        for annotation in data['annotations'][:count]:
            annotation[key] = 1
        warnings = build(data, test_mode=test_mode)[2]
        line = f'- {count} annotations are {kind}: of most of the file nothing is learned'
        assert any(line in text for text in warnings) == (count > COUNT // 2)


@pytest.mark.parametrize('wrong', [10**18, 10**18 + 1000, 10**20, -(10**19)])
def test_categories_of_long_ids(build, wrong):
    data = content()
    data['categories'][0]['id'] = wrong
    for annotation in data['annotations'][::3]:
        annotation['category_id'] = wrong
    if wrong == 10**18:
        assert used(build(data, test_mode=True)[0]) == COUNT
        return
    message = f'category {wrong} of .* has the id {wrong}; expected a whole number of 18 digits'
    with pytest.raises(ValueError, match=message):
        build(data)
    with pytest.raises(ValueError, match='expected a number of 18 digits at most, as the other'):
        build(changed(content(), a('image_id'), wrong))


def test_a_name_twice_where_one_has_no_annotation(build):
    """As Roboflow's exports begin, where the project is named as its class."""
    data = content()
    data['categories'].insert(0, dict(id=0, name='cat', supercategory='none'))
    for names in (dict(novel_classes=('owl',)), None):
        options = dict(metainfo=names) if names else {}
        with pytest.raises(
            ValueError, match=r"once: \['cat'\]; nothing is .* ids \[0\]: take them"
        ):
            build(data, **options)
    data['annotations'][0]['category_id'] = 0
    with pytest.raises(ValueError, match=r"more than once: \['cat'\]$"):
        build(data)


def rectangle(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def in_runs(x1, y1, x2, y2):
    mask = np.zeros((480, 640), np.uint8)
    mask[y1:y2, x1:x2] = 1
    encoded = mask_utils.encode(np.asfortranarray(mask))
    return dict(encoded, counts=encoded['counts'].decode())


FORMS = {
    '[x, y, width, height]': lambda x1, y1, x2, y2: [x1, y1, x2 - x1, y2 - y1],
    '[x1, y1, x2, y2]': lambda x1, y1, x2, y2: [x1, y1, x2, y2],
    'x, y is the centre': lambda x1, y1, x2, y2: [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
    '[y, x, height, width]': lambda x1, y1, x2, y2: [y1, x1, y2 - y1, x2 - x1],
    'other': lambda x1, y1, x2, y2: [x1 / 2, y1 / 2, (x2 - x1) / 2, (y2 - y1) / 2],
}


@pytest.mark.parametrize('mask', [rectangle, in_runs])
@pytest.mark.parametrize('form', FORMS)
def test_boxes_that_are_not_around_their_masks(form, mask):
    """Though all of them are in the image."""
    rng, data = np.random.default_rng(0), content()
    for image in data['images']:
        image.update(width=640, height=480)
    corners = rng.integers((60, 5), (150, 60), (60, 2))
    corners = np.c_[corners, corners + rng.integers(40, 90, (60, 2))].tolist()
    data['annotations'] = [
        dict(id=i, image_id=1, category_id=1, area=9, bbox=FORMS[form](*box),
             segmentation=mask(*box))
        for i, box in enumerate(corners, 1)
    ]  # fmt: skip
    doubts = CheckedAnnotations(data, 'F', masks='bitmaps').doubts
    lines = [line for line in doubts if 'their mask' in line or 'of their box' in line]
    if form == '[x, y, width, height]':
        assert not doubts
    elif form == 'other':
        assert lines and not any('look like' in line for line in lines)
    else:
        assert sum(int(line.split()[0]) for line in lines) > 50
        of_which = '[x, y, width, height] of which ' if 'centre' in form else ''
        assert all(f'boxes look like {of_which}{form})' in line for line in lines)


@pytest.mark.parametrize('off', [5, 9, 60])
def test_a_few_boxes_that_are_not(off):
    """Are of no concern, nor are those that a careless annotator drew."""
    for count in (6, 7):
        data = content()
        for image in data['images']:
            image.update(width=640, height=480)
        data['annotations'] = [
            dict(id=i, image_id=1, category_id=1, area=9, segmentation=rectangle(i, 9, 40 + i, 49),
                 bbox=[i, 9, 40 + (i <= count) * off, 40])
            for i in range(1, 61)
        ]  # fmt: skip
        doubts = CheckedAnnotations(data, 'F', masks='bitmaps').doubts
        assert bool(doubts) == (off == 60 and count == 7)


@given(
    st.lists(
        arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)),
               elements=st.integers(0, 1)), min_size=1, max_size=4,
    )
)  # fmt: skip
def test_extents_of_runs(masks):
    """Those of pycocotools' boxes, in both forms."""
    both, expected = [], []
    for mask in masks:
        encoded = mask_utils.encode(np.asfortranarray(mask))
        x, y, width, height = mask_utils.toBbox(encoded).tolist()
        expected += [[x, y, x + width, y + height] if mask.any() else [NAN] * 4] * 2
        flat = mask.ravel(order='F')
        ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
        counts = np.diff([0, *ends, flat.size]).tolist()
        size = list(mask.shape)
        both += [dict(size=size, counts=encoded['counts'].decode()), dict(size=size, counts=counts)]
    sizes = np.array([mask['size'][::-1] for mask in both])
    sound, _, extents = check_runs(both, sizes)
    assert sound.all()
    np.testing.assert_array_equal(extents, expected)


def test_id_0(build):
    """Of an annotation, as exports begin with; the evaluation alone does not see it."""
    data = changed(content(), a('id'), 0)
    _, _, (warning,) = build(data, test_mode=True)
    assert '\n- annotation 0 counts as not found' in warning and not build(data)[2]
    truth, found = COCO(), COCO()
    truth.dataset = data
    detections = [dict(a, id=i, score=1) for i, a in enumerate(data['annotations'], 1)]
    found.dataset = dict(data, annotations=detections)
    with redirect_stdout(None):
        truth.createIndex(), found.createIndex()
        evaluation = COCOeval(truth, found, 'bbox')
        evaluation.evaluate(), evaluation.accumulate()
    assert (evaluation.eval['precision'][0, :, 0, 0, 2] < 1).any()


def test_left_out_by_size(build):
    """Is said, with how many."""
    data = content()
    data['images'][0].update(width=60, height=40)
    _, told, _ = build(data, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert (
        '2 of 3 images of' in told[-1] and "left out by filter_cfg={'filter_empty_gt'" in told[-1]
    )


@given(
    st.lists(
        arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)),
               elements=st.integers(0, 1)), max_size=4,
    )
)  # fmt: skip
def test_run_lengths(masks):
    """Those that pycocotools made, in both of its forms, and none that was cut or changed."""
    texts = [mask_utils.encode(np.asfortranarray(m))['counts'].decode() for m in masks]
    pixels = [mask.size for mask in masks]
    assert run_lengths(texts)[2].tolist() == pixels
    broken = [
        changed for text in texts for changed in (f'{text[:-1]}o', f'{text}\ud800', f'{text}Z')
    ]
    assert not set(run_lengths([*texts, *broken])[2][len(texts) :].tolist()) & {*pixels}
    assert run_lengths([*broken, *texts])[2][len(broken) :].tolist() == pixels


def test_long_runs():
    lengths = [0, 70_000_000, 5, 1_000_000, 3, 2_000_000, 12]
    encoded = mask_utils.frPyObjects(dict(size=[1, sum(lengths)], counts=lengths), 1, sum(lengths))
    assert run_lengths([encoded['counts'].decode()])[2].tolist() == [sum(lengths)]


@pytest.mark.parametrize(
    'mask',
    [
        'o', 7, [7], ['12'], [TRIANGLE, [1, 2, 3, 'x', 5, 6]], [[0, 0, 9, 0, 9, NAN]], TRIANGLE,
        [[0, 0, 1e9, 0, 9, 9]], [[0, 0, 10**30, 0, 9, 9]], [[[0, 0], [9]]], [None],
        [[0] * 5 + [None]],
        {'size': [4, 6]}, {'size': [4, 6], 'counts': [23]}, {'size': [4, 6], 'counts': [30, -6]},
        {'size': [6, 4], 'counts': [24]}, {'size': [4, 6], 'counts': [24.0]},
        {'size': [4, 6], 'counts': None}, {'size': [4, 6], 'counts': []},
        {'size': [4, 6], 'counts': 'ooooooo'}, {'size': [4, 6], 'counts': 'h'},
        {'size': [4, 6], 'counts': ''}, {'size': [4, 6], 'counts': '\ud800'},
    ],
)  # fmt: skip
def test_masks_that_are_refused(mask):
    """And not where masks are not loaded."""
    data = changed(content(), a('segmentation', 3), mask)
    with pytest.raises(ValueError, match='annotation 13 of F has the segmentation .*; expected'):
        CheckedAnnotations(data, 'F', masks='bitmaps')
    assert CheckedAnnotations(data, 'F').used.all()
    assert CheckedAnnotations(data, 'F', class_ids=[2, 5], masks='bitmaps').used.sum() == 8


def test_masks_that_are_not():
    data = content()
    masks = ([[-3, -2.5, 9, 0, 9, 9]], RUN, {'size': [4, 6], 'counts': 'd04'})
    for annotation, mask in zip(data['annotations'], masks, strict=False):
        annotation.update(segmentation=mask, bbox=[0, 0, WIDTH, HEIGHT])
    checked = CheckedAnnotations(data, 'F', masks='bitmaps')
    assert checked.used.all() and not checked.doubts


@pytest.mark.parametrize('first', [20240131235959, 2**59, -9])
def test_ids_of_exports(build, first):
    """Are made of the time, or at random."""
    data = content()
    for entry in (*data['images'], *data['annotations']):
        entry['id'] += first
    for annotation in data['annotations']:
        annotation['image_id'] += first
    dataset, _, warnings = build(data)
    assert not warnings and used(dataset) == COUNT * 2 // 3


def test_as_mmdet_counts():
    """On boxes and areas at random, the annotations that mmdet keeps."""
    rng, data = np.random.default_rng(0), content()
    data['annotations'] = [
        dict(id=i, image_id=1, category_id=1, bbox=rng.integers(-4, 8, 4).tolist(),
             area=int(rng.integers(0, 4)), ignore=int(rng.integers(0, 4) == 0))
        for i in range(300)
    ]  # fmt: skip
    kept = CocoDataset(lazy_init=True, metainfo=dict(classes=('cat',)))
    kept.data_prefix, kept.cat_ids, kept.cat2label = dict(img=''), [1], {1: 0}
    image = dict(data['images'][0], img_id=1)
    parsed = kept.parse_data_info(dict(raw_img_info=image, raw_ann_info=data['annotations']))
    used = CheckedAnnotations(data, 'F').used
    found = [
        annotation['bbox'] for annotation, of in zip(data['annotations'], used, strict=True) if of
    ]
    expected = [[x, y, x2 - x, y2 - y] for x, y, x2, y2 in (i['bbox'] for i in parsed['instances'])]
    assert 20 < len(found) < 200 and found == expected


@pytest.mark.parametrize('error', [None, ValueError('mine.json is wrong')])
def test_one_process_checks_for_all(monkeypatch, error):
    """Its errors stop the others, too; ranks stand in for processes."""

    def check() -> str:
        checked.append(rank)
        if error:
            raise error
        return 'checked'

    def broadcast(said: list) -> None:
        said[:] = sent.setdefault('said', list(said))

    checked, sent, found = [], {}, []
    monkeypatch.setattr(dist, 'broadcast_object_list', broadcast)
    for rank in (0, 1):
        monkeypatch.setattr(dist, 'is_main_process', lambda rank=rank: rank == 0)
        try:
            found.append(from_main_process(check))
        except ValueError as raised:
            found.append(str(raised))
    assert checked == [0] and found == ([str(error)] * 2 if error else ['checked', None])
