"""The routes, by subject; ``maps`` lists all of them."""
