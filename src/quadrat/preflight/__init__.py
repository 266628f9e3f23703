"""What is known of scenes before anything is trained: surveys, counts of labels, faults and warnings."""
