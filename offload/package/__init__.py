"""Split packages: written whole or not at all, and proven to give what the whole model gives."""
