"""What drives the tape: seeds, Hypothesis, systematic exploration; and what makes it shorter."""
