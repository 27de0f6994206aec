"""Turn the authors' text embeddings into a text-embedding file.

    python tools/model_converters/authors_words.py clip_synonym_prompt.npy \\
        data/lvis_v1/vild/text_authors.npz \\
        --categories data/lvis_v1/annotations/lvis_v1_val.json --rare-mask lvis_rare_masks.npy

Their ``clip_synonym_prompt.npy`` has a column a category and no names; ``lvis_rare_masks.npy`` has
1 for background, which comes first, and for each base category, 0 for each novel one.
"""

import argparse
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmdet_vild.vocabulary import TextEmbeddings, is_novel, load_categories

#: Who encoded them, with weights of which we have no hash.
TEACHER = 'ViT-B-32-quickgelu'


def authors_words(
    columns: np.ndarray, categories: str, rare_mask: str | None, where: str
) -> TextEmbeddings:
    """Name the authors' text embeddings.

    Args:
        columns: (D, C), one a category.
        categories: What names them, in their order; see
            :func:`mmdet_vild.vocabulary.load_categories`.
        rare_mask: The file of an array (C + 1,), 0 where a category is novel, background first;
            None if those of frequency ``'r'`` are.
        where: What to call ``columns`` in errors.

    Raises:
        ValueError: The numbers of categories differ, or the mask and the frequencies do, or no
            category is novel.
    """
    named = load_categories(categories)
    if columns.ndim != 2 or columns.shape[1] != len(named):
        raise ValueError(
            f'{where} has the shape {columns.shape}; expected (width, {len(named)}), a column for '
            f'each category of {categories}'
        )
    if [category['id'] for category in named] != list(range(1, len(named) + 1)):
        raise ValueError(
            f'the categories of {categories} do not have the ids 1 to {len(named)} in this order, '
            "which is that of the authors' columns; name LVIS's annotation file or LVISV1Dataset"
        )
    novel = np.array([is_novel(category) for category in named])
    if rare_mask is not None:
        mask = read_npy(rare_mask)
        if mask.shape != (len(named) + 1,) or mask[0] != 1 or not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f'{rare_mask} has the shape {mask.shape} and values such as {mask.flat[:5]}; '
                f'expected ({len(named) + 1},), of 0 and 1, the first, of background, 1'
            )
        masked = mask[1:] == 0
        differing = [named[i]['name'] for i in np.flatnonzero(masked != novel)]
        if novel.any() and differing:
            raise ValueError(
                f'{rare_mask} and the frequencies in {categories} differ on {len(differing)} '
                f'categories: {differing[:10]}; is it in the order of the annotation file?'
            )
        novel = masked
    if not novel.any():
        raise ValueError(
            f'no category of {categories} is novel; name an annotation file whose rare categories '
            'have frequency "r", or the authors\' lvis_rare_masks.npy with --rare-mask'
        )
    # Theirs are made of LVIS's synonyms, which a dataset class does not know.
    known = any(len(category['synonyms']) > 1 for category in named)
    return TextEmbeddings(
        embeddings=np.asarray(columns, dtype=np.float32).T,
        names=tuple(category['name'] for category in named),
        novel=novel,
        teacher=TEACHER,
        synonyms=tuple(tuple(category['synonyms']) for category in named) if known else (),
    )


def read_npy(path: str) -> np.ndarray:
    """An array of a ``.npy`` file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of numbers, or damaged.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (EOFError, ValueError, BadZipFile) as error:
        raise ValueError(
            f'{path} is damaged or no .npy file ({error}); download it again'
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'biuf':
        raise ValueError(f'{path} holds no array of numbers; expected the .npy file of the authors')
    return array


def check_words(text: TextEmbeddings, path: str) -> None:
    """Raise a FileExistsError where a file at ``path`` holds other words."""
    if Path(path).exists():
        there = TextEmbeddings.load(path)
        same = there.names == text.names and there.teacher == text.teacher
        if not (
            same
            and np.array_equal(there.novel, text.novel)
            and np.array_equal(there.embeddings, text.embeddings)
            and there.synonyms == text.synonyms
        ):
            raise FileExistsError(
                f'{path} holds other words than these; move it, or name another file (for a '
                "checkpoint's words, text_embeddings in --cfg-options)"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what the columns are."""
    parser.add_argument(
        '--categories',
        required=True,
        help='the annotation file that names the categories, or a dataset class, LVISV1Dataset',
    )
    parser.add_argument('--rare-mask', help='lvis_rare_masks.npy (default: frequency "r" is novel)')


def main() -> None:
    """Parse the command line, read, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('embeddings', help='clip_synonym_prompt.npy')
    parser.add_argument('out', help='the .npz file to write')
    add_arguments(parser)
    args = parser.parse_args()
    columns = read_npy(args.embeddings)
    text = authors_words(columns, args.categories, args.rare_mask, args.embeddings)
    check_words(text, args.out)
    text.save(args.out)
    print(f'{args.out}: {len(text.names)} categories ({int(text.novel.sum())} novel)')


if __name__ == '__main__':
    main()
