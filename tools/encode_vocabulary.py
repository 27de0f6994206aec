"""Write the text-embedding file of a vocabulary.

    python tools/encode_vocabulary.py data/lvis_v1/annotations/lvis_v1_val.json \\
        --model ViT-B-32-quickgelu --pretrained openai --out data/lvis_v1/vild/text_vit-b-32.npz

Categories of frequency "r" are novel: the detector has never learned from them. COCO's categories
and plain words have no frequency; --novel names those that are, or --base a file with those that
are not:

    python tools/encode_vocabulary.py words.txt --model ViT-B-32-quickgelu --pretrained openai \\
        --base data/lvis_v1/annotations/lvis_v1_train.json --out words.npz

A dataset class of MMDetection names its categories, too: VOCDataset, CocoDataset,
Objects365V2Dataset and so on, for testing on that dataset.
"""

import argparse
import sys

from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import VILD_TEMPLATES, load_categories, novel_names


def main() -> None:
    """Parse the command line, encode, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'vocabulary',
        help='an annotation file, a JSON list of categories, a .txt file with a name a line, or '
        'the name of a dataset class',
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        '--novel',
        nargs='+',
        metavar='NAME',
        help='these categories of the vocabulary are novel, and all others base',
    )
    split.add_argument(
        '--base',
        help='a file of any of these forms: the categories in it, except those of frequency "r", '
        'are base, by whichever of their names, and all others novel (default: frequency "r" is '
        'novel, plain words are base)',
    )
    parser.add_argument('--model', required=True, help='an open_clip model name')
    parser.add_argument('--pretrained', required=True, help='an open_clip tag or a weights file')
    parser.add_argument('--model-config', help='a JSON config of the model, if it is your own')
    parser.add_argument('--out', required=True, help='the .npz file to write')
    parser.add_argument(
        '--template',
        action='append',
        metavar='PROMPT',
        help='a prompt, such as "a photo of {}", or "{}" for bare names; may be given several '
        "times (default: ViLD's prompts)",
    )
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()

    categories = load_categories(args.vocabulary)
    novel = args.novel
    if unknown := sorted(set(novel or ()) - {category['name'] for category in categories}):
        parser.error(f'these --novel categories are not in {args.vocabulary}: {unknown}')
    if args.base:
        novel = novel_names(categories, load_categories(args.base))
    if novel is not None:
        categories = [
            {**category, 'frequency': 'r' if category['name'] in novel else 'f'}
            for category in categories
        ]
    try:
        teacher = OpenCLIPTeacher(
            args.model, args.pretrained, args.model_config, device=args.device
        )
    except ConnectionError as error:
        sys.exit(f'{parser.prog}: {error}')
    templates = args.template or VILD_TEMPLATES
    text = teacher.encode_categories(categories, templates)
    text.save(args.out)
    print(
        f'{args.out}: {len(text.names)} categories ({int(text.novel.sum())} novel), '
        f'{text.embed_dims} wide, {len(templates)} prompts a name, by {text.teacher}'
    )


if __name__ == '__main__':
    main()
