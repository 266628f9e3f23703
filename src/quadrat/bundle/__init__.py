"""The bundle: one zip with a trained model that runs anywhere and proves there that it runs as here."""
