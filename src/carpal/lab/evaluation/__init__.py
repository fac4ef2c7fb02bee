"""Errors of ages and regions, intervals, thresholds, stress."""
