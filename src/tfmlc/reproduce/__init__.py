"""The paper's tables, and a controlled study on what can be had without its data."""
