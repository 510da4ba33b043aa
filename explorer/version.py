"""The version of this software, for files that say what made them."""

VERSION = "0.1.0"
