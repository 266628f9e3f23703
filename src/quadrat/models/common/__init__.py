"""What all kinds of model share: the contract, devices, encoders, normalising and ONNX export."""
