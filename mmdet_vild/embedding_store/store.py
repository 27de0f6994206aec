"""Teacher embeddings of image regions on disk: a folder of shards, one record an image."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdet.registry import TASK_UTILS
from mmengine import fileio

from .record import EmbeddingRecord
from .shard import REMEDY, DamagedRecordError, EmbeddingShard, img_id_of, key_of, reporting


class MissingRecordError(FileNotFoundError):
    """A store has no record of an image."""


@TASK_UTILS.register_module()
class EmbeddingStore:
    """The teacher's embeddings of the regions of a dataset's images.

    A folder with a shard for each process that wrote into it; see :class:`EmbeddingShard`. It may
    be read while it is written, from any number of processes.

    Args:
        path: A folder made by :meth:`create`, which running the stock test tool with
            :class:`mmdet_vild.extraction.EmbeddingStoreWriter` does.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another format, damaged, or a mixture of different ones.
    """

    FORMAT = 'mmdet_vild.embedding_store'
    VERSION = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        files = shard_files(path)
        if not files:
            raise FileNotFoundError(
                f'there is no embedding store at {path} (no shard-*.sqlite); make one by testing '
                'a region-embedding extractor with EmbeddingStoreWriter as its evaluator'
            )
        self.shards = [EmbeddingShard(file) for file in files]
        self._shard_of: dict[str, EmbeddingShard] | None = None
        #: dict: What the embeddings are; see :meth:`create`.
        self.header = self.shards[0].header
        for shard in self.shards:
            found = (shard.header.get('format'), shard.header.get('version'))
            if found != (self.FORMAT, self.VERSION):
                raise ValueError(
                    f'{shard.path} has format {found[0]!r} version {found[1]!r}, but this release '
                    f'reads {self.FORMAT!r} version {self.VERSION}; extract the embeddings again'
                )
            if differences := header_differences(self.header, shard.header):
                raise ValueError(
                    f'{shard.path.name} in {path} is of another store than {files[0].name}: '
                    f'{differences}; move it elsewhere'
                )

    @property
    def teacher(self) -> str:
        """str: Identity of the teacher, ``name@hash``."""
        return self.header['teacher']

    @property
    def embed_dims(self) -> int:
        """int: Width D of the embeddings."""
        return self.header['embed_dims']

    @classmethod
    def create(
        cls, path: str | Path, source: dict[str, Any], dataset: dict[str, Any], shard: int = 0
    ) -> EmbeddingShard:
        """Open a shard for writing; another process may write another one.

        Args:
            path: The folder. It may hold what an earlier run wrote.
            source: How the embeddings come about: ``teacher`` (its identity), ``embed_dims``,
                and whatever else must be the same throughout a store, as JSON can hold it.
            dataset: Which images they are of, as :func:`dataset_fingerprint` tells it.
            shard: Number of the shard, such as the rank of the process.

        Returns:
            The shard.

        Raises:
            BlockingIOError: Another process writes to this shard.
            ValueError: The folder holds embeddings that came about otherwise.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        form = {'format': cls.FORMAT, 'version': cls.VERSION, 'dtype': 'float16'}
        header = {**form, **source, 'dataset': dataset}
        for file in shard_files(folder):
            if differences := header_differences(EmbeddingShard(file).header, header):
                raise ValueError(
                    f'the embedding store at {path} was begun differently: {differences}; choose '
                    'another folder or delete this one'
                )
        return EmbeddingShard.create(folder / f'shard-{shard:05d}.sqlite', header)

    def read(self, results: dict) -> EmbeddingRecord:
        """Read the record of an image.

        Args:
            results: The dict that a data pipeline passes on, with ``img_id`` and ``ori_shape``.

        Returns:
            The record, in descending order of the scores.

        Raises:
            MissingRecordError: The store lacks the image.
            ValueError: The record is damaged or belongs to an image of another size.
        """
        img_id = results['img_id']
        found = self._find(img_id)
        if found is None:
            raise MissingRecordError(
                f'the embedding store at {self.path} has no record of image {img_id!r} '
                f'({results.get("img_path")}); extract the embeddings of every training image'
            )
        record, image_size = found
        if image_size != tuple(results['ori_shape'][:2]):
            raise ValueError(
                f'the embeddings of image {img_id!r} in {self.path} were computed on an image of '
                f'(height, width) {image_size}, but the one loaded has '
                f'{tuple(results["ori_shape"][:2])}; does the store belong to other images? '
                'Extract the embeddings again'
            )
        return record

    def _find(self, img_id: int | str) -> tuple[EmbeddingRecord, tuple[int, int]] | None:
        """The record of an image and the image's size, from the first shard that has one."""
        key = key_of(img_id)
        shard_of = self._list() if self._shard_of is None else self._shard_of
        if (shard := shard_of.get(key)) is not None:
            if (found := shard.read(img_id)) is None:
                raise DamagedRecordError(
                    f'{shard.path} lists image {img_id!r}, but its record cannot be found; {REMEDY}'
                )
            return found
        for shard in self.shards:  # written since, or not at all
            if (found := shard.read(img_id)) is not None:
                shard_of[key] = shard
                return found
        return None

    def _list(self) -> dict[str, EmbeddingShard]:
        """The key of every image, and where it is: asking every shard takes longer."""
        shard_of = {}
        for shard in self.shards:
            for key in shard.numbers():
                shard_of.setdefault(key, shard)
        self._shard_of = shard_of
        return shard_of

    def records(self) -> Iterator[tuple[int | str, EmbeddingRecord, tuple[int, int]]]:
        """The id, the record and the (height, width) of every image, each once.

        Raises:
            DamagedRecordError: A record is damaged or lost.
        """
        shard_of = self._list()
        for shard in self.shards:
            for img_id, *found in shard.records():
                if shard_of.get(key_of(img_id), shard) is shard:
                    yield (img_id, *found)

    def img_ids(self) -> list[int | str]:
        """The images that have a record, each once.

        Raises:
            DamagedRecordError: A shard is damaged.
        """
        keys = self._list()
        with reporting(self.path, 'its list of images'):
            return list(map(img_id_of, keys))

    def __contains__(self, img_id: int | str) -> bool:
        return any(img_id in shard for shard in self.shards)

    def __len__(self) -> int:
        return len(self._list())

    def check_dataset(self, ann_file: str, backend_args: dict | None = None) -> None:
        """Refuse another annotation file than the one the embeddings were extracted for.

        Raises:
            ValueError: It is another one.
        """
        found = dataset_fingerprint(ann_file, backend_args)
        if differences := header_differences(self.header['dataset'], found):
            raise ValueError(
                f'the embedding store at {self.path} was made for another annotation file than '
                f'{ann_file}: {differences}; extract the embeddings for this one'
            )


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
    """What tells an annotation file from another: 16 hex digits of its sha256, and its size.

    Args:
        ann_file: The file.
        backend_args: Where mmengine reads it from; None for a local file.
    """
    content = fileio.get(str(ann_file), backend_args=backend_args)
    return {'sha256': hashlib.sha256(content).hexdigest()[:16], 'bytes': len(content)}
