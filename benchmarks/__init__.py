"""Speed: each benchmark prints one table that was measured in one run."""
