"""Small things that know nothing of clusters."""
