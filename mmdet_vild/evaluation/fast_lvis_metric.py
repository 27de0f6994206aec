"""LVIS's metric, without what does not count."""

from collections.abc import Sequence
from tempfile import TemporaryDirectory

import numpy as np
from lvis import LVISEval, LVISResults
from mmdet.evaluation import LVISMetric
from mmdet.registry import METRICS
from mmengine.logging import MMLogger

from mmdet_vild.options import checked_options

#: Detections of an image that count, in LVIS.
MAX_DETECTIONS = 300
ITEMS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf')


class SparseLVISEval(LVISEval):
    """lvis', which visits only the categories of an image that are annotated or detected there."""

    def evaluate(self) -> None:
        """Fill ``eval_imgs`` as :meth:`lvis.LVISEval.evaluate` does."""
        params = self.params
        params.img_ids = list(np.unique(params.img_ids))
        self._prepare()
        rows = {category_id: row for row, category_id in enumerate(params.cat_ids)}
        columns = {img_id: column for column, img_id in enumerate(params.img_ids)}
        # Category by category, area range by area range, image by image.
        self.eval_imgs = [None] * (len(rows) * len(params.area_rng) * len(columns))
        for img_id, category_id in {**self._gts, **self._dts}:
            self.ious[img_id, category_id] = self.compute_iou(img_id, category_id)
            for area, area_range in enumerate(params.area_rng):
                index = rows[category_id] * len(params.area_rng) + area
                index = index * len(columns) + columns[img_id]
                self.eval_imgs[index] = self.evaluate_img(img_id, category_id, area_range)


@METRICS.register_module()
@checked_options
class FastLVISMetric(LVISMetric):
    """mmdet's LVIS metric, with the same results in a fraction of its time and memory.

    Detections of categories that are neither annotated in an image nor known to be absent do not
    count; they are left out at once, unless ``outfile_prefix`` asks for a file of all. What is
    left goes through :class:`SparseLVISEval`.

    ``APr``, ``APc`` and ``APf`` are of the frequencies in the annotation file. Where the dataset's
    ``novel_classes`` are others than those of frequency ``'r'``, ``novel_AP`` and ``base_AP`` are
    added: the means of AP over its novel categories, and over the others.

    Args:
        **kwargs: As :class:`mmdet.evaluation.LVISMetric`, which it is for ``classwise``, and for
            the metrics ``'proposal'`` and ``'proposal_fast'``.

    Raises:
        FileNotFoundError: There is no annotation file.
        ValueError: It lacks what LVIS's figures need, or an image that is tested.
    """

    def __init__(self, **kwargs) -> None:
        try:
            super().__init__(**kwargs)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'there is no annotation file at {kwargs["ann_file"]}, which FastLVISMetric reads; '
                'check ann_file of val_evaluator and test_evaluator'
            ) from error
        api = self._lvis_api
        self._as_mmdet = self.classwise or api is None or not set(self.metrics) <= {'bbox', 'segm'}
        #: Image id -> the labels that are annotated in it, or known to be absent.
        self._counting: dict[int, np.ndarray] = {}
        if api is not None and not self.format_only:
            self._check_fields()
            label_of = {category_id: i for i, category_id in enumerate(api.get_cat_ids())}
            for img_id, image in api.imgs.items():
                ids = {annotation['category_id'] for annotation in api.img_ann_map[img_id]}
                ids |= set(image['neg_category_ids'])
                # A part of LVIS may say that categories are absent which it does not have.
                self._counting[img_id] = np.array([label_of[i] for i in label_of.keys() & ids], int)

    def _check_fields(self) -> None:
        lists = ('neg_category_ids', 'not_exhaustive_category_ids')
        wrong = [
            f'the category {category["name"]!r} has the frequency {category.get("frequency")!r}'
            for category in self._lvis_api.cats.values()
            if category.get('frequency') not in ('r', 'c', 'f')
        ] + [
            f'image {image["id"]!r} has the {key} {image.get(key)!r}'
            for image in self._lvis_api.imgs.values()
            for key in lists
            if not isinstance(image.get(key), list)
        ]
        if wrong:
            raise ValueError(
                f'{wrong[0]} in the annotation file of FastLVISMetric; it needs the frequency "r", '
                f'"c" or "f" of each category, and of each image two lists of category ids, '
                f'{" and ".join(lists)}; where every object in every image is annotated, use '
                'CocoMetric or OVCocoMetric'
            )

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store one batch of predictions; see :meth:`mmdet.evaluation.LVISMetric.process`."""
        if not self._as_mmdet and self.outfile_prefix is None:
            data_samples = [self._that_count(sample) for sample in data_samples]
        super().process(data_batch, data_samples)

    def _that_count(self, sample: dict) -> dict:
        predicted = sample['pred_instances']
        scores = predicted['scores'].detach().cpu().numpy()
        order = np.argsort(-scores, kind='stable')[:MAX_DETECTIONS]
        labels = predicted['labels'].cpu().numpy()[order]
        if sample['img_id'] not in self._counting:
            raise ValueError(
                f'the image {sample["img_id"]} was tested, but is not in the annotation file of '
                'the metric; test_dataloader.dataset.ann_file and test_evaluator.ann_file must '
                'name the same file'
            )
        keep = np.isin(labels, self._counting[sample['img_id']])
        # One that does not count tells an image without detections from a metric without results.
        keep[:1] = True
        kept = order[keep]
        # Names of labels and the like are lists.
        chosen = {
            key: [value[i] for i in kept] if isinstance(value, list) else value[kept]
            for key, value in predicted.items()
        }
        return {**sample, 'pred_instances': chosen}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As :meth:`mmdet.evaluation.LVISMetric.compute_metrics`."""
        if self._as_mmdet or self.format_only:
            return super().compute_metrics(results)
        logger = MMLogger.get_current_instance()
        self.cat_ids = self._lvis_api.get_cat_ids()
        figures = {}
        with TemporaryDirectory() as folder:
            _, predicted = zip(*results, strict=True)
            files = self.results2json(predicted, self.outfile_prefix or f'{folder}/results')
            for metric in self.metrics:
                logger.info(f'Evaluating {metric}...')
                try:
                    detections = LVISResults(self._lvis_api, files[metric], MAX_DETECTIONS)
                except IndexError:
                    logger.info('The testing results of the whole dataset is empty.')
                    break
                evaluation = SparseLVISEval(self._lvis_api, detections, metric)
                evaluation.run()
                evaluation.print_results()
                items = self.metric_items or ITEMS
                found = {k: v for k, v in evaluation.get_results().items() if k in items}
                for name, rows in self._split().items():
                    evaluation.freq_groups.append(rows)
                    group = len(evaluation.freq_groups) - 1
                    found[name] = evaluation._summarize('ap', freq_group_idx=group)
                figures |= {f'{metric}_{name}': float(f'{v:.3f}') for name, v in found.items()}
        return figures

    def _split(self) -> dict[str, list[int]]:
        """Rows of the novel and the base categories, if those are others than LVIS's rare ones."""
        categories = [self._lvis_api.cats[category_id] for category_id in sorted(self.cat_ids)]
        novel = set(self.dataset_meta.get('novel_classes') or ())
        if not novel or novel == {c['name'] for c in categories if c['frequency'] == 'r'}:
            return {}
        are_novel = np.array([category['name'] in novel for category in categories])
        rows = {'novel_AP': are_novel, 'base_AP': ~are_novel}
        return {name: np.flatnonzero(which).tolist() for name, which in rows.items()}
