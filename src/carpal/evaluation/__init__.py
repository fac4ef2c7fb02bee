"""How good the readings are: ages, regions, plots, the model card. Works on tables of predictions; needs no torch."""
