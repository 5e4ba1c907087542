"""Measurements that are kept from run to run, and by what they are known again."""
