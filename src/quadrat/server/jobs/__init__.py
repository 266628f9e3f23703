"""Jobs: large predictions in processes of their own."""
