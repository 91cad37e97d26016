import logging

import pytest

from pleura.training.log_level import log_level


@pytest.mark.parametrize("name", ["root", "some.package"])
def test_the_level_of_a_logger_is_restored(name):
    logger = logging.root if name == "root" else logging.getLogger(name)
    before = logger.level

    def fail():
        with log_level(name, logging.CRITICAL):
            assert logger.level == logging.CRITICAL
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert logger.level == before
