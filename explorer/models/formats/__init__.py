"""Weights files of many projects, recognised from their keys and shapes alone."""
