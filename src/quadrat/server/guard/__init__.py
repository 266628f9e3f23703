"""What is refused: foreign hosts and origins, missing tokens, large and slow bodies."""
