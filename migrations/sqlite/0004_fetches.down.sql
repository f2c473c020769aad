DROP TABLE vendor_budgets;
DROP TABLE vendor_fetches;
