"""What eval shows: tables of scores, and pictures of image, labels, prediction and errors."""
