"""Write a vocabulary with synonym sets, for GKC's text diversification.

    python tools/diversify_vocabulary.py CocoPanoptic133Dataset --wordnet /usr/share/wordnet \\
        --out data/coco/gkc/synonyms.json

A category keeps its own synonyms, if it has any, as LVIS's do, and gets WordNet's or those of a
JSON of {"category name": ["synonym", ..]}. Without either, names are only cleaned: "wall" for
"wall-other-merged". The result is a list of categories that people may edit, and that
tools/encode_vocabulary.py encodes:

    python tools/encode_vocabulary.py data/coco/gkc/synonyms.json --template '{}' \\
        --model RN50-quickgelu --pretrained openai --out data/coco/gkc/synonyms_rn50.npz
"""

import argparse
import json
from pathlib import Path

from mmdet_vild.vocabulary import load_categories
from mmdet_vild.vocabulary.synonyms import WordNet, diversified, read_synonyms


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('vocabulary', help='as for tools/encode_vocabulary.py')
    parser.add_argument('--wordnet', help="the folder of WordNet's index.noun and data.noun")
    parser.add_argument('--synonyms', help='a JSON of names by category, in place of other sources')
    parser.add_argument('--senses', type=int, help="only so many of WordNet's first senses")
    parser.add_argument('--only-own', action='store_true', help='only clean the names')
    parser.add_argument('--out', required=True, help='the .json file to write')
    args = parser.parse_args()
    if args.senses is not None and args.senses < 1:
        parser.error(f'--senses must be 1 or more, found {args.senses}')

    categories = load_categories(args.vocabulary)
    if args.only_own:
        categories = [{**category, 'synonyms': category['synonyms'][:1]} for category in categories]
    found = diversified(
        categories,
        WordNet(args.wordnet) if args.wordnet else None,
        read_synonyms(args.synonyms) if args.synonyms else None,
        args.senses,
        args.synonyms or 'the synonyms',
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False), 'utf-8')
    counts = [len(category['synonyms']) for category in found]
    print(
        f'{args.out}: {len(found)} categories, {sum(counts)} names; {counts.count(1)} have one '
        f'name alone, at most {max(counts)}'
    )


if __name__ == '__main__':
    main()
