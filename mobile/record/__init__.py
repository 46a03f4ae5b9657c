"""Recordings of boards: captured on the device, kept as one archive of plain text, replayed as a tree."""
