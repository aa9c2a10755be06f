"""What it cost, who pays, whether they may: prices, usage, budgets, the ledger."""
