"""Where scripts of version 0.1 find what evaluates a model."""

import pytest

from explorer.evaluation import predict
from explorer.training import classify


@pytest.mark.parametrize("name", classify.__all__)
def test_the_old_address_leads_to_the_same_thing(name):
    assert getattr(classify, name) is getattr(predict, name)
