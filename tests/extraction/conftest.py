import pytest
from small_detector import SmallDetector


@pytest.fixture(scope='session')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    """A region extractor of random weights, and a picture of 100x80 pixels."""
    return SmallDetector(tmp_path_factory.mktemp('extractor'), 'region-embeddings')
