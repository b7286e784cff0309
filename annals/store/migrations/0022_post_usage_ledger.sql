-- The cube of sums tells what the ledger told, also of the past.
DROP TABLE usage_ledger;
