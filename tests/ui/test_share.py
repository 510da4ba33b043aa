"""Who is told of the server's folders: a browser on the server's own machine."""

import pytest

from explorer.ui.attention.share import is_here


@pytest.mark.parametrize("host", ["localhost:8501", "127.0.0.1:8501", "[::1]:8501", "localhost"])
def test_a_browser_on_this_machine(host):
    assert is_here({"Host": host}) and is_here({"host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "explorer.example.org"},
        {"Host": "192.168.1.7:8501"},
        {"Host": "localhost:8501", "X-Forwarded-For": "203.0.113.9"},
        {"host": "localhost.example.org"},
    ],
)
def test_a_browser_elsewhere(headers):
    assert not is_here(headers)
