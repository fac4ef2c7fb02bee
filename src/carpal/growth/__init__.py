"""What a bone age means: against a reference, for the adult height, over time. Numbers and tables only; months."""
