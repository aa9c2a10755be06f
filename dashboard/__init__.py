"""Reads the ledger through billing.reports; decides nothing."""
