"""How far a reading can be trusted: its interval, when to refuse it, a hospital's own calibration, stress tests."""
