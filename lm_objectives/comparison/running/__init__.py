"""A study's runs: their folders, their making on this machine and on a cluster, and what they measured."""
