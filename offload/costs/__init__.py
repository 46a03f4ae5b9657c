"""What a model costs on a device, on a server and between them: measured, predicted or assumed, and always which."""
