"""What the host of an app for many visitors decides, read from environment variables."""

import os
from dataclasses import dataclass

from explorer.errors import SettingsError

OFF = ("", "0", "false", "no")
SHORTEST_TOKEN = 16  # characters: nobody guesses one of these


@dataclass(frozen=True)
class Settings:
    """EXPLORER_VISITORS (visitors), EXPLORER_DEMO (demo), and with EXPLORER_VISITORS_ before their names the numbers.

    days: without a visit until a workspace goes. disk: GB of a workspace; disk_all: GB of all together. minutes: that a
    training may take. admins: the e-mail addresses in EXPLORER_ADMINS. admin_token: EXPLORER_ADMIN_TOKEN.
    """

    visitors: bool = False
    demo: bool = False
    days: float = 30
    disk: float = 2
    disk_all: float = 50
    minutes: float = 60
    admins: frozenset[str] = frozenset()
    admin_token: str = ""


def settings() -> Settings:
    """The settings of the environment; SettingsError for an invalid number or too short a token."""
    numbers = {name: _number(name) for name in ("days", "disk", "disk_all", "minutes")}
    token = os.environ.get("EXPLORER_ADMIN_TOKEN", "")
    if token and len(token) < SHORTEST_TOKEN:
        raise SettingsError(f"EXPLORER_ADMIN_TOKEN is too short: give one of {SHORTEST_TOKEN} characters or more.")
    return Settings(
        visitors=has_visitors(),
        demo=_is_on("EXPLORER_DEMO"),
        admins=frozenset(filter(None, (mail.strip().lower() for mail in _text("EXPLORER_ADMINS").split(",")))),
        admin_token=token,
        **numbers,
    )


def has_visitors() -> bool:
    """Whether each visitor has a workspace: EXPLORER_VISITORS."""
    return _is_on("EXPLORER_VISITORS")


def _text(variable: str) -> str:
    return os.environ.get(variable, "")


def _is_on(variable: str) -> bool:
    return _text(variable).strip().lower() not in OFF


def _number(name: str) -> float:
    variable = f"EXPLORER_VISITORS_{name.upper()}"
    text = _text(variable)
    try:
        value = float(text) if text else float(getattr(Settings, name))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError(f"{variable} is {text!r}: give a number above 0.")
    return value
