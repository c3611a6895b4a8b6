"""From trials to statements: the fairness ledger, statistics and verdicts. Never imports torch."""
