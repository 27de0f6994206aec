"""The vocabulary of VSPW, and lists of its frames; its label files stay as they are.

    python tools/dataset_converters/vspw.py data/VSPW_480p

Written are ``categories.json`` and ``train.frames.txt`` and ``val.frames.txt``: of each frame its
picture and its label file in ``data/``, without suffixes and with a tab between them.
"""

import argparse
import json
from pathlib import Path


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'root', type=Path, help='the folder with data/, label_num_dic_final.json and the lists'
    )
    root = parser.parse_args().root

    for name in ('label_num_dic_final.json', 'train.txt', 'val.txt'):
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"there is no {name} in {root}; name the folder of VSPW's files"
            )
    content = json.loads((root / 'label_num_dic_final.json').read_text())
    numbers = {int(number): name for name, number in content.items() if int(number) not in (0, 255)}
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise ValueError(
            f'{root}/label_num_dic_final.json does not number its categories from 1 on: '
            f'{sorted(numbers)[:5]}...'
        )
    categories = [
        dict(id=i, name=numbers[i], synonyms=[numbers[i].replace('_', ' ')])
        for i in sorted(numbers)
    ]
    (root / 'categories.json').write_text(json.dumps(categories, indent=1))
    for split in ('train', 'val'):
        lines, missing = [], []
        videos = (root / f'{split}.txt').read_text().split()
        for video in videos:
            paths = sorted((root / 'data' / video / 'mask').glob('*.png'))
            lines += [f'{video}/origin/{p.stem}\t{video}/mask/{p.stem}\n' for p in paths]
            if not paths:
                missing.append(video)
        if not lines:
            raise FileNotFoundError(f'there are no frames of {root}/{split}.txt in {root}/data')
        (root / f'{split}.frames.txt').write_text(''.join(lines))
        print(f'{split}.frames.txt: {len(lines)} frames')
        if missing:
            print(
                f'warning: {len(missing)} of the {len(videos)} videos of {split}.txt have no mask '
                f'in data and are left out, such as {missing[0]}'
            )


if __name__ == '__main__':
    main()
