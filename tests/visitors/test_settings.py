"""What the host decides in the environment."""

import pytest

from explorer.errors import SettingsError
from explorer.visitors.settings import Settings, settings


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("VISITORS", "DEMO", "ADMINS", "ADMIN_TOKEN", "VISITORS_DAYS", "VISITORS_DISK"):
        monkeypatch.delenv(f"EXPLORER_{name}", raising=False)


def test_by_default_the_app_is_one_person_s():
    assert settings() == Settings() and not settings().visitors and not settings().demo


def test_everything_is_read(monkeypatch):
    given = {"VISITORS": "1", "DEMO": "yes", "ADMINS": " Ann@example.org,bob@example.org,", "VISITORS_DAYS": "2.5"}
    for name, value in given.items():
        monkeypatch.setenv(f"EXPLORER_{name}", value)
    found = settings()
    assert found.visitors and found.demo and found.days == 2.5
    assert found.admins == {"ann@example.org", "bob@example.org"}


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf"])
def test_a_number_that_is_none_is_an_error(monkeypatch, value):
    monkeypatch.setenv("EXPLORER_VISITORS_DISK", value)
    with pytest.raises(SettingsError, match="EXPLORER_VISITORS_DISK"):
        settings()


def test_a_token_that_can_be_guessed_is_an_error(monkeypatch):
    monkeypatch.setenv("EXPLORER_ADMIN_TOKEN", "secret")
    with pytest.raises(SettingsError, match="16 characters"):
        settings()
