"""What every reading asks: is it a hand, how sure is the age, does the sex fit."""
