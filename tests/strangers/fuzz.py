"""Reads many files with something wrong in them; a line of JSON an outcome.

    python tests/strangers/fuzz.py FIRST COUNT [KIND]

Each must be read as what it says, or be refused by an error that names it. The number of a case
decides everything about it. Run by ``test_fuzz.py``, which notices when this process dies.
"""

import faulthandler
import json
import math
import os
import resource
import shutil
import sqlite3
import struct
import sys
import tarfile
import warnings
from collections import defaultdict
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import torch
from mutate import changed_bytes, changed_json, changed_npz, one_of

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / 'tools' / 'model_converters'), str(ROOT / 'tests' / 'helpers')]

from mmdet.registry import DATASETS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from small_store import write as write_store  # noqa: E402
from tf_checkpoint import crc32c, open_checkpoint  # noqa: E402

import mmdet_vild  # noqa: E402, F401
from mmdet_vild.embedding_store import (  # noqa: E402
    DamagedRecordError,  # noqa: E402
    EmbeddingStore,
    MissingRecordError,
)
from mmdet_vild.embedding_store.shard import checksum  # noqa: E402
from mmdet_vild.extraction import load_proposals  # noqa: E402
from mmdet_vild.models import CLIPTextClassifier, vocabulary_state  # noqa: E402
from mmdet_vild.vocabulary import TextEmbeddings, load_categories  # noqa: E402

#: Seconds that a case may take, and bytes that all of them may take beyond what imports took.
LIMIT, MEMORY = 10, 2 * 2**30
#: Errors that are raised on purpose. No subclass of them, such as UnicodeDecodeError.
CLEAR = (ValueError, OSError, FileNotFoundError, DamagedRecordError, MissingRecordError)
HEIGHT, WIDTH = 40, 60
CATEGORIES = [
    dict(id=3, name='cat', synonyms=['cat', 'kitty'], frequency='f'),
    dict(id=7, name='unicorn', synonyms=['unicorn'], frequency='r'),
    dict(id=20, name='spoon', synonyms=['spoon'], frequency='c'),
]


class Wrong(Exception):
    """What was read is not what the file says."""


def require(same: bool, what: object) -> None:
    if not same:
        raise Wrong(what)


# A case: a function that writes a file into a folder, from a random generator, and returns a
# function that reads it and raises Wrong where the result is not what the file says.


def text_embeddings(folder: Path, rng: Random):
    path = folder / 'text.npz'
    values = np.random.default_rng(0).normal(size=(3, 4))
    names = tuple(c['name'] for c in CATEGORIES)
    synonyms = tuple(tuple(c['synonyms']) for c in CATEGORIES)
    text = TextEmbeddings(values, names, np.arange(3) == 1, 'clip@1', synonyms, ('a {}.',))
    text.save(path)
    data = path.read_bytes()
    path.write_bytes(one_of(lambda r: changed_bytes(data, r), lambda r: changed_npz(data, r))(rng))

    def read():
        found = TextEmbeddings.load(str(path))
        with np.load(path, allow_pickle=False) as file:
            require(np.array_equal(found.embeddings, file['embeddings'].astype('f4')), found)
            require(file['names'].dtype.kind == 'U' and file['teacher'].dtype.kind == 'U', found)
            require(found.names == tuple(file['names'].tolist()), found)
            require(np.array_equal(found.novel, file['novel']), found)
            require(found.teacher == str(file['teacher']), found)
            require(found.embeddings.shape == (len(found.names), found.embed_dims), found)
            require(np.isfinite(found.embeddings).all(), found)
            if 'prompts' in file:
                words = [list(words) for words in found.synonyms]
                require(words == json.loads(str(file['prompts']))['synonyms'], found)
        return found.names == names and np.array_equal(found.embeddings, text.embeddings)

    return read


def vocabulary(folder: Path, rng: Random):
    path = folder / rng.choice(('words.json', 'words.json', 'words.txt', 'lvis.json'))
    text = '\n'.join(c['name'] for c in CATEGORIES) + '\n'
    content = CATEGORIES if path.stem == 'words' else dict(images=[], categories=CATEGORIES)
    data = text if path.suffix == '.txt' else json.dumps(content)
    makers = [lambda r: changed_bytes(data.encode(), r)]
    if path.suffix == '.json':
        makers += [lambda r: changed_json(content, r)] * 2
    path.write_bytes(one_of(*makers)(rng))

    def read():
        found = load_categories(str(path))
        text = path.read_text(encoding='utf-8-sig')
        if path.suffix == '.txt':
            expected = [{'name': line.strip()} for line in text.splitlines() if line.strip()]
        else:
            expected = json.loads(text)
            expected = expected['categories'] if isinstance(expected, dict) else expected
        require([c['name'] for c in found] == [c['name'] for c in expected], found)
        for category, said in zip(found, expected, strict=True):
            require(isinstance(category['name'], str) and category['name'].strip(), category)
            require(category['frequency'] == said.get('frequency'), category)
            require(category['synonyms'] == (said.get('synonyms') or [said['name']]), category)
            json.dumps(category).encode()
            category['name'].encode()
        require(len({c['name'] for c in found}) == len(found), found)
        return [c['name'] for c in found] == [c['name'] for c in CATEGORIES]

    return read


def baked(folder: Path, rng: Random):
    """A checkpoint with its vocabulary; all of it is tensors, and should be."""
    path = folder / 'baked.pth'
    names = tuple(c['name'] for c in CATEGORIES)
    text = TextEmbeddings(
        np.random.default_rng(0).normal(size=(3, 4)), names, np.arange(3) == 1, 'clip@1'
    )
    given = vocabulary_state(text, 2)
    state = CLIPTextClassifier(5, 3, None, embed_dims=4).state_dict() | given
    key = rng.choice(('vocabulary_json', 'vocabulary_json', *given, 'teacher_digest'))
    if key == 'vocabulary_json':
        content = bytes(state[key].tolist())
        makers = [
            lambda r: changed_bytes(content, r),
            lambda r: changed_json(json.loads(content), r),
            lambda r: content,
        ]
        state[key] = torch.tensor(list(one_of(*makers)(rng)), dtype=torch.uint8)
    else:
        odd = [None, 'text', 7, [1.0], torch.tensor(1.0), torch.zeros(0), torch.ones(3, 4, 1)]
        odd += [state[key].double(), state[key] != 0, state[key][:-1], state[key] + math.nan]
        state[key] = rng.choice([*odd, state[key].to(torch.complex64), state[key]])
    torch.save(state, path)

    def read():
        classifier = CLIPTextClassifier(5, 3, None, embed_dims=4).eval()
        try:
            classifier.load_state_dict(torch.load(path, weights_only=True))
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        found = classifier.vocabulary
        said = json.loads(bytes(torch.load(path)['vocabulary_json'].tolist()))
        require(list(found.names) == list(map(str, said['names'])), found)
        require(classifier.names == found.names[:2] and said['count'] == 2, classifier.names)
        require(classifier(torch.ones(2, 5)).isfinite().all(), found)
        return found.names == names and np.allclose(
            classifier.text_embeddings, given['text_embeddings']
        )

    return read


def store(folder: Path, rng: Random):
    path = folder / 'store'
    write_store(path, [1, 2, 'a/b'])
    write_store(path, [4], shard=1)
    expected = {key: _record(path, key) for key in (1, 2, 'a/b', 4)}
    file = path / 'shard-00000.sqlite'
    if rng.random() < 0.5:
        file.write_bytes(changed_bytes(file.read_bytes(), rng))
        untouched = True  # checksums: a record is what it was or is refused
    else:
        untouched = _change_database(file, rng)
    (path / 'shard-00000.sqlite.lock').unlink(missing_ok=True)

    def read():
        opened = EmbeddingStore(path)
        require(isinstance(opened.teacher, str) and opened.embed_dims > 0, opened.header)
        found, same = opened.img_ids(), True
        require(all(isinstance(key, (int, float, str)) for key in found), found)
        for key in {*found, *expected}:
            try:
                record = opened.read(dict(img_id=key, ori_shape=(60, 70)))
            except (DamagedRecordError, MissingRecordError, ValueError):
                same = False
                continue
            require(record.embeddings.shape == (len(record), opened.embed_dims), key)
            if untouched:
                require(record.to_bytes() == expected[key], key)
        return same and found == list(expected)

    return read


def _record(path: Path, key: int | str) -> bytes:
    return EmbeddingStore(path).read(dict(img_id=key, ori_shape=(60, 70))).to_bytes()


def _change_database(file: Path, rng: Random) -> bool:
    """Change what is in a shard, its checksums too; returns whether its records are as before."""
    odd = (None, 'x', '', -1, 0, 2**62, 1.5, b'', b'x' * 100, '1', '[1]', '{}', '7')
    with sqlite3.connect(file) as db:
        kind = rng.randrange(6)
        if kind == 0:  # the header
            header = json.loads(db.execute('SELECT content FROM header').fetchone()[0])
            content = changed_json(header, rng).decode()
            row = (content, checksum(content))
            db.execute('UPDATE header SET content = ?, checksum = ?', row)
            return True
        if kind == 1:  # a field of a record
            field = rng.choice(('image', 'regions', 'height', 'width', 'data', 'checksum'))
            db.execute(f'UPDATE OR IGNORE records SET {field} = ? WHERE number = 2',
                       (rng.choice(odd[1:]),))  # fmt: skip
        elif kind == 2:  # a whole record
            key = rng.choice(('true', '[1]', '{}', 'null', '1.5', 'x', '"../x"', '9' * 5000))
            if rng.random() < 0.3:
                key = '[' * 100_000
            regions, height = rng.choice((0, 1, -1, 2**62)), rng.choice((60, 0, -1))
            data = bytes(rng.choice((0, 40, 39)))
            values = (key, regions, height, 70, checksum(key, data, regions, height, 70), data)
            db.execute('INSERT INTO records (image, regions, height, width, checksum, data) '
                       'VALUES (?, ?, ?, ?, ?, ?)', values)  # fmt: skip
            return False
        elif kind == 3:
            table = rng.choice(('header', 'records'))
            db.execute(f'DELETE FROM {table}' if rng.random() < 0.5 else f'DROP TABLE {table}')
        elif kind == 4:  # what is read is a query that never ends, or takes all memory
            table = rng.choice(('header', 'records'))
            db.execute(f'DROP TABLE {table}')
            value = rng.choice(('n', 'hex(zeroblob(500000000))'))
            db.execute(
                f'CREATE VIEW {table} AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 '
                f'FROM c) SELECT {value} AS content, n AS checksum, n AS image, n AS number, '
                'n AS regions, n AS height, n AS width, n AS data FROM c'
            )
        else:
            db.execute(f'ALTER TABLE records RENAME COLUMN {rng.choice(("image", "data"))} TO x')
    return True


def _annotations(lvis: bool) -> dict:
    images, annotations = [], []
    for img_id, labels in {11: (3, 7, 20), 12: (7, 20), 13: (20, 20), 14: (), 15: (3,)}.items():
        url = 'http://images.cocodataset.org/picture.jpg' if lvis else None
        images.append(
            {
                'id': img_id,
                **({'coco_url': url} if lvis else {'file_name': 'picture.jpg'}),
                'height': HEIGHT,
                'width': WIDTH,
                'neg_category_ids': [],
                'not_exhaustive_category_ids': [],
            }
        )
        for i, category in enumerate(labels):
            x, y, w, h = 5 + 15 * i, 4 + i, 12, 20
            mask = [[x, y, x + w, y, x + w, y + h]]
            if img_id == 13:  # run lengths, as a list and as a text
                counts = [x * HEIGHT, 500, (WIDTH - x) * HEIGHT - 500]
                mask = {'size': [HEIGHT, WIDTH], 'counts': counts}
                if i:
                    mask = mask_utils.frPyObjects(mask, HEIGHT, WIDTH)
                    mask['counts'] = mask['counts'].decode()
            annotations.append(
                dict(id=len(annotations) + 1, image_id=img_id, category_id=category,
                     bbox=[x, y, w, h], area=w * h, iscrowd=0, segmentation=mask)
            )  # fmt: skip
    return dict(images=images, annotations=annotations, categories=CATEGORIES)


def annotations(folder: Path, rng: Random):
    lvis = rng.random() < 0.5
    path = folder / 'annotations.json'
    content = _annotations(lvis)
    cv2.imwrite(str(folder / 'picture.jpg'), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    data = json.dumps(content).encode()
    path.write_bytes(
        one_of(lambda r: changed_bytes(data, r), *[lambda r: changed_json(content, r)] * 2)(rng)
    )
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True,
             poly2mask=rng.random() < 0.7),
        dict(type='PackDetInputs'),
    ]  # fmt: skip
    config = dict(
        type='OpenVocabularyLVISDataset' if lvis else 'OpenVocabularyCocoDataset',
        ann_file=str(path),
        data_prefix=dict(img=str(folder)),
        metainfo={} if lvis else dict(novel_classes=('unicorn',)),
        pipeline=pipeline,
    )

    def read():
        dataset = DATASETS.build(config)
        expected, names = _expected(json.loads(path.read_text()))
        require(dataset.metainfo['classes'] == names, dataset.metainfo)
        require(all(isinstance(name, str) for name in names), names)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        found = {
            info['img_id']: [(i['bbox_label'], *i['bbox']) for i in info['instances']]
            for info in infos
        }
        require(found == expected, (found, expected))
        for i in range(len(dataset)):
            sample = dataset[i]
            boxes = sample['data_samples'].gt_instances.bboxes
            boxes = getattr(boxes, 'tensor', boxes)
            require(bool(boxes.isfinite().all()), boxes)
            masks = sample['data_samples'].gt_instances.masks
            require((masks.height, masks.width) == (HEIGHT, WIDTH), masks)
            require(len(masks) == len(boxes) <= len(expected[infos[i]['img_id']]), masks)
        return found == _expected(content)[0]

    return read


def _expected(content: dict) -> tuple[dict, tuple]:
    """Labels and boxes of every image, novel ones left out, and the names of the classes."""
    categories = {c['id']: c for c in content['categories']}
    names = tuple(c['name'] for c in categories.values())
    label = {key: i for i, key in enumerate(categories)}
    images = {image['id']: image for image in content['images']}
    found = {key: [] for key in images}
    by_image = defaultdict(list)
    for a in content['annotations']:
        by_image[a['image_id']].append(a)
    for key, image in images.items():
        for a in by_image[key]:
            category = categories.get(a['category_id'])
            if category is None or category['name'] == 'unicorn':
                continue
            if category.get('frequency') == 'r' or a.get('ignore') or not a['area'] > 0:
                continue
            x, y, w, h = a['bbox']
            across = min(x + w, image['width']) - max(x, 0)
            down = min(y + h, image['height']) - max(y, 0)
            if across > 0 < down and w >= 1 <= h:
                found[key].append((label[a['category_id']], x, y, x + w, y + h))
    return found, names


def proposals(folder: Path, rng: Random):
    path = folder / 'proposals.json'
    rows = [
        dict(image_id=i % 3 + 1, bbox=[i, 2, 5.5, 6], score=(i * 7 % 11) / 11, category_id=1)
        for i in range(8)
    ]
    content = rows
    if rng.random() < 0.5:
        content = dict(images=[dict(id=i) for i in range(1, 6)], annotations=rows)
    data = json.dumps(content).encode()
    path.write_bytes(
        one_of(lambda r: changed_bytes(data, r), *[lambda r: changed_json(content, r)] * 2)(rng)
    )

    def read():
        found = load_proposals(str(path), None)
        said = json.loads(path.read_text())
        rows = said['annotations'] if isinstance(said, dict) else said
        expected = {i['id']: [] for i in said['images']} if isinstance(said, dict) else {}
        for row in rows:
            x, y, w, h = row['bbox']
            expected.setdefault(row['image_id'], []).append((-row['score'], x, y, x + w, y + h))
        require(set(found) == set(expected), found)
        for key, (boxes, scores) in found.items():
            require(np.isfinite(boxes).all() and np.isfinite(scores).all(), key)
            require(boxes.shape == (len(expected[key]), 4) and (np.diff(scores) <= 0).all(), key)
            both = np.column_stack([-scores, boxes]).tolist()
            wanted = np.array(expected[key], np.float32).reshape(-1, 5).tolist()
            require(sorted(both) == sorted(wanted), (both, wanted))
        return said == content

    return read


def tensorflow(folder: Path, rng: Random):
    source = ROOT / 'tests' / 'tools' / 'tf_checkpoint_data'
    expected = {name: np.array(value) for name, value in open_checkpoint(str(source)).items()}
    form = rng.choice(('folder', 'checksums', 'tar.gz', 'npz'))
    path = folder / 'checkpoint'
    if form in ('folder', 'checksums'):
        shutil.copytree(source, path)
        file = rng.choice(sorted(path.iterdir()))
        if form == 'checksums':
            file = path / 'model.ckpt-7.index'
            file.write_bytes(_changed_index(file.read_bytes(), rng))
        else:
            file.write_bytes(changed_bytes(file.read_bytes(), rng))
    elif form == 'tar.gz':
        path = folder / 'checkpoint.tar.gz'
        with tarfile.open(path, 'w:gz') as archive:
            archive.add(source, 'model')
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    else:
        path = folder / 'checkpoint.npz'
        np.savez(path, **{f'var/{name}:0': value for name, value in expected.items()})
        data = path.read_bytes()
        change = one_of(lambda r: changed_bytes(data, r), lambda r: changed_npz(data, r))
        path.write_bytes(change(rng))

    def read():
        found = open_checkpoint(str(path))
        values = {name: np.array(found[name]) for name in found}
        require(all(v.dtype.kind in 'fi' for v in values.values()), values)
        same = set(values) == set(expected) and all(
            np.array_equal(values[name], expected[name]) for name in expected
        )
        require(same or form in ('checksums', 'npz'), values)
        return same

    return read


def _changed_index(data: bytes, rng: Random) -> bytes:
    """An index with something changed in its first block, and the checksum that this has."""
    footer = data[-48:]
    size, position, shift = 0, 0, 0
    numbers = []
    while len(numbers) < 4:  # two handles: offset and size of the last two blocks
        byte = footer[position]
        size |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            numbers.append(size)
            size = shift = 0
    length = numbers[0] - 5  # the block with the entries is the first one, and the footer's next
    block = bytearray(data[:length])
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(length)
        block[place] = rng.choice((block[place] ^ (1 << rng.randrange(8)), 255, 0, 127, 128))
    if rng.random() < 0.1:
        block[20:] = b'\xff' * (length - 20)
    crc = crc32c(bytes(block) + b'\0')
    crc = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return bytes(block) + b'\0' + struct.pack('<I', crc) + data[length + 5 :]


KINDS = (
    *(text_embeddings, vocabulary, baked, store),
    *(annotations, annotations, proposals, tensorflow),
)


def run(number: int, only: str | None) -> dict:
    """One case: what became of it."""
    rng = Random(number)
    kinds = [kind for kind in KINDS if only in (None, kind.__name__)]
    kind = kinds[number % len(kinds)]
    with TemporaryDirectory() as name:
        read = kind(Path(name), rng)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            outcome, detail = 'same' if read() else 'as changed', ''
        except Exception as error:
            clear = type(error) in CLEAR and name in str(error)
            outcome = 'refused' if clear else 'bad'
            detail = f'{type(error).__name__}: {error}'[:600].replace(name, 'FOLDER')
        finally:
            faulthandler.cancel_dump_traceback_later()
    return dict(kind=kind.__name__, outcome=outcome, detail=detail)


def main() -> None:
    first, count = map(int, sys.argv[1:3])
    only = sys.argv[3] if len(sys.argv) > 3 else None
    warnings.simplefilter('ignore')
    register_all_modules()
    faulthandler.enable()
    used = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # pycocotools prints
    for number in range(first, first + count):
        print(json.dumps(dict(number=number)), file=out, flush=True)
        print(json.dumps(run(number, only)), file=out, flush=True)


if __name__ == '__main__':
    main()
