import logging

import pytest
from mmengine.logging import MMLogger
from small_detector import SmallDetector


@pytest.fixture(scope='session')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    """A region extractor of random weights, and a picture of 100x80 pixels."""
    return SmallDetector(tmp_path_factory.mktemp('extractor'), 'region-embeddings')


@pytest.fixture
def messages():
    """Warnings and errors that are logged."""
    found, logger = [], MMLogger.get_current_instance()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
