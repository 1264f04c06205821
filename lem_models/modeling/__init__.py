"""What the model is: layers, backbone, heads and the model that joins them."""
