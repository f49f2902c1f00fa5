"""The data set that most tests of the program train on."""

import pytest

from data_files import write_data_set


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A folder with 667 training images, of which 600 are left to train on, and 200 to test."""
    return write_data_set(tmp_path_factory.mktemp("small_data"), 667, 200)
