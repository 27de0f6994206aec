"""Teacher embeddings of image regions on disk: a folder of shards, one record an image."""

import hashlib
from pathlib import Path
from typing import Any

from mmdet.registry import TASK_UTILS
from mmengine import fileio

from mmdet_vild.options import check_option

from .record import EmbeddingRecord
from .shard import EmbeddingShard, img_id_of, key_of, reporting


class MissingRecordError(FileNotFoundError):
    """A store has no record of an image."""


@TASK_UTILS.register_module()
class EmbeddingStore:
    """The teacher's embeddings of the regions of a dataset's images.

    A folder with a shard for each process that wrote into it; see :class:`EmbeddingShard`. It may
    be read while it is written, from any number of processes.

    Args:
        path: A folder that an :class:`mmdet_vild.extraction.EmbeddingStoreWriter` made.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another format, damaged, or a mixture of different ones; or ``path`` is
            none.
    """

    FORMAT = 'mmdet_vild.embedding_store'
    #: What is written is of the last one; version 1 has no weights, and neither 1 nor 2 says what
    #: is annotated.
    VERSIONS = (1, 2, 3)

    def __init__(self, path: str | Path) -> None:
        check_option(str(path) if isinstance(path, Path) else path, str, 'path of EmbeddingStore')
        self.path = Path(path)
        files = shard_files(path)
        if not files:
            raise FileNotFoundError(
                f'there is no embedding store at {path} (no shard-*.sqlite); make one by testing '
                'a region-embedding extractor with EmbeddingStoreWriter as its evaluator'
            )
        self.shards = [EmbeddingShard(file) for file in files]
        self._shard_of: dict[str, EmbeddingShard] = {}
        #: dict: What the embeddings are; see :meth:`create`.
        self.header = self.shards[0].header
        self.teacher: str = self.header['teacher']
        self.embed_dims: int = self.header['embed_dims']
        for shard in self.shards:
            form, version = shard.header.get('format'), shard.header['version']
            if form != self.FORMAT or version not in self.VERSIONS:
                raise ValueError(
                    f'{shard.path} has format {form!r} version {version!r}, but this release '
                    f'reads {self.FORMAT!r} of the versions {self.VERSIONS}; extract the '
                    'embeddings again'
                )
            if differences := header_differences(self.header, shard.header):
                raise ValueError(
                    f'{shard.path.name} in {path} is of another store than {files[0].name}: '
                    f'{differences}; move it elsewhere'
                )

    @classmethod
    def create(
        cls, path: str | Path, source: dict[str, Any], dataset: dict[str, Any], shard: int = 0
    ) -> EmbeddingShard:
        """Open a shard for writing.

        Args:
            path: The folder. It may hold what an earlier run wrote, whose version is kept.
            source: How the embeddings come about: ``teacher`` (its identity), ``embed_dims``,
                and whatever else must be the same throughout a store, as JSON can hold it.
            dataset: Which images they are of; see :func:`dataset_fingerprint`.
            shard: Number of the shard, the rank of the process.

        Raises:
            BlockingIOError: Another process writes to this shard.
            ValueError: The folder holds embeddings that came about otherwise.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        header = {'format': cls.FORMAT, 'version': cls.VERSIONS[-1], 'dtype': 'float16', **source}
        header['dataset'] = dataset
        if shard_files(folder):
            begun = cls(folder).header
            header['version'] = begun['version']
            if differences := header_differences(begun, header):
                raise ValueError(
                    f'the embedding store at {path} was begun differently: {differences}; choose '
                    'another folder or delete this one'
                )
        return EmbeddingShard.create(folder / f'shard-{shard:05d}.sqlite', header)

    def read(self, results: dict) -> EmbeddingRecord:
        """Read the record of an image, in descending order of the scores.

        Args:
            results: The dict that a data pipeline passes on, with ``img_id`` and ``ori_shape``.

        Raises:
            MissingRecordError: The store lacks the image.
            ValueError: The record is damaged or belongs to an image of another size.
        """
        img_id, size = results['img_id'], tuple(results['ori_shape'][:2])
        record, image_size = self._find(key_of(img_id))
        if record is None:
            raise MissingRecordError(
                f'the embedding store at {self.path} has no record of image {img_id!r} '
                f'({results.get("img_path")}); extract the embeddings of every training image'
            )
        if image_size != size:
            raise ValueError(
                f'the embeddings of image {img_id!r} in {self.path} were computed on an image of '
                f'(height, width) {image_size}, but here it has {size}; does the store '
                'belong to other images? Extract the embeddings again'
            )
        return record

    def _find(self, key: str) -> tuple[EmbeddingRecord | None, tuple[int, int] | None]:
        """The record of an image and the image's size, from the first shard that has one."""
        shard_of = self._shard_of or self.shard_of()  # asking every shard takes longer
        if key in shard_of:
            return shard_of[key].read(key, listed=True)
        for shard in self.shards:  # written since, or not at all
            if (found := shard.read(key)) is not None:
                shard_of[key] = shard
                return found
        return None, None

    def shard_of(self, check: bool = False) -> dict[str, EmbeddingShard]:
        """The :meth:`EmbeddingShard.keys` of all shards, and where the record of each is."""
        shard_of = {}
        for shard in self.shards:
            for key in shard.keys(check):
                shard_of.setdefault(key, shard)
        self._shard_of = shard_of
        return shard_of

    def img_ids(self) -> list[int | str]:
        """The images that have a record, each once."""
        return [_img_id_in(shard, key) for key, shard in self.shard_of().items()]

    def without_regions(self) -> list[int | str]:
        """The images of which the record has no region.

        How long that takes: :meth:`EmbeddingShard.keys_without_regions`.
        """
        shard_of = self.shard_of()
        return [
            _img_id_in(shard, key)
            for shard in self.shards
            for key in shard.keys_without_regions()
            if shard_of.get(key) is shard
        ]

    def has_regions(self) -> bool:
        """Whether any image has a region."""
        return any(shard.has_regions() for shard in self.shards)

    def __len__(self) -> int:
        return len(self.shard_of())

    def check_dataset(self, ann_file: str, backend_args: dict | None = None) -> None:
        """Raise a ValueError for another annotation file than the embeddings were made for."""
        found = dataset_fingerprint(ann_file, backend_args)
        if differences := header_differences(self.header['dataset'], found):
            raise ValueError(
                f'the embedding store at {self.path} was made for another annotation file than '
                f'{ann_file}: {differences}; extract the embeddings for this one'
            )


def built_store(store: Any, owner: str) -> Any:
    """What has the embeddings of images: a store, or one built of its config.

    Raises:
        ValueError: It is neither; the message names the owner.
    """
    built = TASK_UTILS.build(store) if isinstance(store, dict) else store
    if not callable(getattr(built, 'read', None)):
        raise ValueError(
            f'store of {owner} must be an embedding store or its config, such as '
            f"dict(type='EmbeddingStore', path='data/lvis/embeddings'), found {store!r}"
        )
    return built


def _img_id_in(shard: EmbeddingShard, key: str) -> int | str:
    with reporting(shard.path, 'its list of images'):
        return img_id_of(key)


def shard_files(path: str | Path) -> list[Path]:
    """The files of the store in a folder; they need not be readable."""
    return sorted(Path(path).glob('shard-*.sqlite'))


def header_differences(expected: dict, found: dict, prefix: str = '') -> str:
    """What differs between two headers, in words; '' if nothing does."""
    differences = []
    for key in sorted({*expected, *found}):
        one, other = expected.get(key), found.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            if nested := header_differences(one, other, f'{prefix}{key}.'):
                differences.append(nested)
        elif one != other:
            differences.append(f'{prefix}{key} is {one!r} in the store and {other!r} here')
    return ', '.join(differences)


def dataset_fingerprint(ann_file: str, backend_args: dict | None = None) -> dict[str, Any]:
    """What tells an annotation file, which mmengine reads, from another: its sha256 and size."""
    content = fileio.get(str(ann_file), backend_args=backend_args)
    return {'sha256': hashlib.sha256(content).hexdigest()[:16], 'bytes': len(content)}
