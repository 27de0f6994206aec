"""Lets the mini world's teacher name true masks: what GKC could reach at best.

    python tools/mini_lvis/true_masks.py data/mini_lvis --splits val [--unmasked]

The teacher sees each segment as in the distillation, its box, grey outside of the mask, and names
it one of the categories; materials of backgrounds, which no caption told it, have their names.
Prints how many it names rightly, and writes to ``--out`` the counts of pixels of such maps.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from scenes import UNNAMED

from mmdet_vild.evaluation.open_vocabulary_seg_metric import pixel_counts, write_counts
from mmdet_vild.models.segmentors.clip_on_masks import box_of
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings


def name_masks(
    teacher: OpenCLIPTeacher,
    text: TextEmbeddings,
    things: int,
    image: np.ndarray,
    truth: np.ndarray,
    masked: bool = True,
) -> dict[int, int]:
    """What the teacher calls each category in a picture.

    Args:
        teacher: The teacher.
        text: The words of all classes.
        things: How many of these, the first, are categories.
        image: (H, W, 3) uint8, BGR.
        truth: (H, W) labels.
        masked: Whether it sees grey outside of a mask.

    Returns:
        Label -> what it is called.
    """
    labels = [label for label in np.unique(truth).tolist() if label < things]
    masks = [truth == label for label in labels]
    boxes = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
    words = text.embeddings[:things]
    words = words / np.linalg.norm(words, axis=1, keepdims=True)
    found = teacher.encode_masks(image, masks, boxes, masked).numpy() @ words.T
    return dict(zip(labels, found.argmax(axis=1).tolist(), strict=True))


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help="the world's folder")
    parser.add_argument('--splits', nargs='+', default=['test', 'unseen'])
    parser.add_argument('--words', default='names', help='names or held_out, of segment_words.py')
    parser.add_argument('--unmasked', action='store_true', help='show what is around, too')
    parser.add_argument('--out', type=Path, help='folder for SPLIT.json')
    args = parser.parse_args(argv)

    teacher = OpenCLIPTeacher('mini-clip-lite0', str(args.data / 'vild' / 'teacher.pt'))
    text = TextEmbeddings.load(str(args.data / 'gkc' / f'{args.words}.npz'))
    things, count = (
        len(json.loads((args.data / f'{name}.json').read_text()))
        for name in ('categories', 'semantic_classes')
    )
    for split in args.splits:
        counts = np.zeros((3, count), np.int64)
        right = {'base': [], 'novel': []}
        for stem in (args.data / 'gkc' / f'{split}.txt').read_text().split():
            image = cv2.imread(str(args.data / 'val2017' / f'{stem}.jpg'))
            path = args.data / 'semantic' / 'val2017' / f'{stem}.png'
            truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            names = name_masks(teacher, text, things, image, truth, not args.unmasked)
            table = np.arange(UNNAMED + 1)
            for label, name in names.items():
                table[label] = name
                right['novel' if text.novel[label] else 'base'].append(label == name)
            named = table[truth]
            counts += pixel_counts(named, truth, count, UNNAMED, UNNAMED, str(path))
        if args.out:
            write_counts(args.out / f'{split}.json', text.names, counts)
        shares = ', '.join(
            f'{100 * np.mean(each):.1f}% of {len(each)} {kind}'
            for kind, each in right.items()
            if each
        )
        print(f'{split}: the teacher names {shares} masks by {args.words}', flush=True)


if __name__ == '__main__':
    main()
