"""Radiographs, ages and regions to stores that training reads."""
