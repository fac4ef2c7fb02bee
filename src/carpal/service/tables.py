"""The tables of the queue's database. A new version adds tables and columns with a default, and changes none."""

from __future__ import annotations

from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, source TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, meta TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, interrupted INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL, lease_until REAL, worker TEXT,
    code TEXT, message TEXT, result TEXT, created REAL NOT NULL, updated REAL NOT NULL,
    pruned INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, kind, due);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id), name TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, lease_until REAL,
    message TEXT, created REAL NOT NULL, updated REAL NOT NULL, UNIQUE (job, name, destination));
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, due);
CREATE TABLE IF NOT EXISTS commitments (
    transaction_uid TEXT NOT NULL, delivery INTEGER NOT NULL REFERENCES deliveries (id), instance TEXT NOT NULL,
    PRIMARY KEY (transaction_uid, delivery));
CREATE INDEX IF NOT EXISTS commitments_by_delivery ON commitments (delivery);
"""
