"""The stages: one function each, with the sections, inputs and outputs that ``dvc.yaml`` names."""
