"""Turn the authors' text embeddings into a text-embedding file.

    python tools/model_converters/authors_words.py clip_synonym_prompt.npy \\
        data/lvis_v1/vild/text_authors.npz \\
        --categories data/lvis_v1/annotations/lvis_v1_val.json --rare-mask lvis_rare_masks.npy

Their ``clip_synonym_prompt.npy`` has a column a category and no names; ``lvis_rare_masks.npy`` has
1 for background, which comes first, and for each base category, 0 for each novel one.
"""

import argparse

import numpy as np

from mmdet_vild.vocabulary import TextEmbeddings, is_novel, load_categories

#: What a text-embedding file of theirs says of who encoded it.
TEACHER = "the authors' CLIP ViT-B/32"


def authors_words(
    columns: np.ndarray, categories: str, rare_mask: np.ndarray | None = None, where: str = ''
) -> TextEmbeddings:
    """Name the authors' text embeddings.

    Args:
        columns: (D, C), one a category.
        categories: What names them, in their order; see
            :func:`mmdet_vild.vocabulary.load_categories`.
        rare_mask: (C + 1,), 0 where a category is novel, background first; by default those of
            frequency ``'r'`` are.
        where: What to call ``columns`` in errors.

    Raises:
        ValueError: The numbers of categories differ, or the mask and the frequencies do.
    """
    named = load_categories(categories)
    if columns.ndim != 2 or columns.shape[1] != len(named):
        raise ValueError(
            f'{where} has the shape {columns.shape}; expected (width, {len(named)}), a column for '
            f'each category of {categories}'
        )
    novel = np.array([is_novel(category) for category in named])
    if rare_mask is not None:
        if rare_mask.shape != (len(named) + 1,) or not np.isin(rare_mask, (0, 1)).all():
            raise ValueError(
                f'the rare mask has the shape {rare_mask.shape} and values from {rare_mask.min()} '
                f'to {rare_mask.max()}; expected ({len(named) + 1},), of 0 and 1, background first'
            )
        masked = rare_mask[1:] == 0
        differing = [named[i]['name'] for i in np.flatnonzero(masked != novel)]
        if novel.any() and differing:
            raise ValueError(
                f'the rare mask and the frequencies in {categories} differ on {len(differing)} '
                f'categories: {differing[:10]}; is it in the order of the annotation file?'
            )
        novel = masked
    return TextEmbeddings(
        embeddings=np.asarray(columns, dtype=np.float32).T,
        names=tuple(category['name'] for category in named),
        novel=novel,
        teacher=TEACHER,
    )


def main() -> None:
    """Parse the command line, read, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('embeddings', help='clip_synonym_prompt.npy')
    parser.add_argument('out', help='the .npz file to write')
    parser.add_argument(
        '--categories', required=True, help='the annotation file that names the categories'
    )
    parser.add_argument('--rare-mask', help='lvis_rare_masks.npy (default: frequency "r" is novel)')
    args = parser.parse_args()
    mask = None if args.rare_mask is None else np.load(args.rare_mask, allow_pickle=False)
    columns = np.load(args.embeddings, allow_pickle=False)
    text = authors_words(columns, args.categories, mask, args.embeddings)
    text.save(args.out)
    print(f'{args.out}: {len(text.names)} categories ({int(text.novel.sum())} novel)')


if __name__ == '__main__':
    main()
