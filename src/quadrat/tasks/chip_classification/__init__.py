"""The task chip classification: a class, or several, for every cell of a grid."""
